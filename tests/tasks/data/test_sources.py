"""Each kind of source that is fetched: to the right counts, and refused where the digest is another."""

import gzip
import hashlib
import io
import json
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.command import Command
from support.own_benchmark import own_benchmark

from runner.config import load_benchmark
from runner.core.benchmark_types import Dataset, VoteSpec
from runner.core.errors import BackendError, InvalidInput
from runner.tasks.data import Limits, RetryPolicy, fetch, find_file, load_items

QUICK = RetryPolicy(attempts=2, wait=0.001, longest_wait=0.001, timeout=5)
TABLE = b"id,text,yes,no\na,to go,4,1\nb,to stay,0,2\n"
COUNTS = {"a": (4, 1), "b": (0, 2)}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def task(tasks):
    """Two columns of counts."""
    pair = tasks["dilemmas"]
    votes = VoteSpec("columns", None, columns={"first": "yes", "second": "no"})
    return replace(pair, item=replace(pair.item, fields={"text": "text"}, votes=votes, panel=None))


@pytest.fixture
def of_url(pinned):
    """A dataset of one split whose file is `TABLE`."""

    def make(url: str, folder: str | None = None) -> Dataset:
        data = replace(pinned(TABLE, rows=2, name="d"), file="votes.csv")
        return Dataset(
            name="d", description="", synthetic=True, url=url, folder=folder, embedded=None, splits={"dev": data}
        )

    return make


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def counts(dataset: Dataset, task, folder: Path) -> dict[str, tuple[int, ...]]:
    data = dataset.splits["dev"]
    return {item.id: item.counts for item in load_items(task, data, find_file(dataset, data, folder)).items}


def refused(benchmark, folder: Path, **more) -> tuple[str, str]:
    """Code and sentence of the one fault with which a fetch ends; nothing is kept."""
    with pytest.raises((InvalidInput, BackendError)) as caught:
        fetch(benchmark, folder, patience=QUICK, **more)
    (fault,) = caught.value.faults
    assert [path.name for path in folder.rglob("*") if path.is_file() and path.name != ".d.lock"] == []
    return fault.code, fault.message


# --- a zip archive --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "member"), [("raw", "raw/votes.csv"), (".", "votes.csv"), (".", "./votes.csv")])
def test_a_zip_archive(folder: str, member: str, server, of_url, benchmark_of, task, tmp_path: Path) -> None:
    server.content = zipped({"README": b"about", member: TABLE})
    dataset = of_url(server.url.replace(".tar.gz", ".zip?download=1"), folder)
    (fetched,) = fetch(benchmark_of(dataset), tmp_path)
    assert fetched.state == "fetched"
    assert counts(dataset, task, tmp_path) == COUNTS
    (again,) = fetch(benchmark_of(dataset), tmp_path)
    assert again.state == "present"
    assert len(server.seen) == 1


def test_a_zip_archive_with_something_else_in_it(server, of_url, benchmark_of, tmp_path: Path) -> None:
    benchmark = benchmark_of(of_url(server.url.replace(".tar.gz", ".zip"), "raw"))
    server.content = zipped({"raw/votes.csv": TABLE.replace(b"4", b"5")})
    code, message = refused(benchmark, tmp_path)
    assert code == "DATA_DIGEST"
    assert hashlib.sha256(TABLE).hexdigest() in message
    server.content = zipped({"votes.csv": TABLE, "../raw/votes.csv": TABLE})
    assert refused(benchmark, tmp_path) == (
        "DATA_ARCHIVE",
        f"{server.url.replace('.tar.gz', '.zip')} does not give raw/votes.csv: it is not in the archive.",
    )
    server.content = zipped({"raw/votes.csv": TABLE})[:-30]
    assert refused(benchmark, tmp_path)[0] == "DATA_ARCHIVE"
    server.content = zipped({"raw/votes.csv": bytes(1 << 21)})
    code, message = refused(benchmark, tmp_path, limits=Limits(member=1 << 20))
    assert (code, "unpacks to more than" in message) == ("DATA_ARCHIVE", True)


def test_a_link_in_a_zip_archive_is_no_file(server, of_url, benchmark_of, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("raw/votes.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    server.content = buffer.getvalue()
    code, message = refused(benchmark_of(of_url(server.url.replace(".tar.gz", ".zip"), "raw")), tmp_path)
    assert (code, "not a regular file" in message) == ("DATA_ARCHIVE", True)


# --- one file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_the_address_of_one_file(packed: bool, server, of_url, benchmark_of, task, tmp_path: Path) -> None:
    """Where the address ends in .gz and the benchmark's file does not, it is unpacked, and then has its digest."""
    server.content = gzip.compress(TABLE) if packed else TABLE
    url = server.url.replace("dilemmas.tar.gz", "votes.csv.gz" if packed else "votes.csv")
    dataset = of_url(url)
    (fetched,) = fetch(benchmark_of(dataset), tmp_path)
    assert (fetched.path, fetched.state) == (tmp_path / "d" / "votes.csv", "fetched")
    assert counts(dataset, task, tmp_path) == COUNTS
    server.content = gzip.compress(TABLE + b"c,more,1,1\n") if packed else TABLE + b"c,more,1,1\n"
    code, message = refused(benchmark_of(dataset), tmp_path / "other")
    assert (code, hashlib.sha256(TABLE).hexdigest() in message) == ("DATA_DIGEST", True)


def test_one_file_that_is_no_gzip_file(server, of_url, benchmark_of, tmp_path: Path) -> None:
    server.content = TABLE
    code, message = refused(benchmark_of(of_url(server.url.replace("dilemmas.tar.gz", "votes.csv.gz"))), tmp_path)
    assert (code, "gzip" in message) == ("DATA_ARCHIVE", True)


def test_a_file_that_is_kept_packed(server, of_url, benchmark_of, task, tmp_path: Path) -> None:
    content = gzip.compress(TABLE, mtime=0)
    server.content = content
    dataset = of_url(server.url.replace("dilemmas.tar.gz", "votes.csv.gz"))
    data = replace(dataset.splits["dev"], file="votes.csv.gz", sha256=hashlib.sha256(content).hexdigest())
    dataset = replace(dataset, splits={"dev": data})
    fetch(benchmark_of(dataset), tmp_path)
    assert counts(dataset, task, tmp_path) == COUNTS


# --- the Hub --------------------------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """Answers as the Hub does for the files of one data repository at one commit."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = files
        self.asked: list[str] = []
        self.failures: list[int | None] = []
        """What the next requests meet: a status, or None for a connection that is dropped without an answer."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        beginning = f"/datasets/owner/name/resolve/{COMMIT}/"
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(path)
        if self.server.failures:
            status = self.server.failures.pop(0)
            self.close_connection = True
            if status is not None:
                self.send_response(status)
                self.send_header("Connection", "close")
                self.send_header("Content-Length", "0")
                self.end_headers()
            return
        content = self.server.files.get(path.removeprefix(beginning)) if path.startswith(beginning) else None
        self.close_connection = True
        if content is None:
            self.send_response(404)
            self.send_header("Connection", "close")
            self.send_header("X-Error-Code", "EntryNotFound" if path.startswith(beginning) else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if path.endswith("/cut.csv") else content)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"data/votes.csv": TABLE}) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def benchmark_file(folder: Path, source: dict, file: str = "votes.csv", **pin: object) -> Path:
    """A benchmark.yaml on `TABLE`, somewhere."""
    item = {"votes": {"columns": {"yes": "yes", "no": "no"}}}
    value = own_benchmark(["yes", "no"], item, source, {"test": {"file": file, **pin}})
    path = folder / "benchmark.yaml"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.slow
def test_a_file_of_the_hub(hub: Hub, command: Command, tmp_path: Path) -> None:
    """By the Hub's own client in the command as installed, which takes the Hub's address from its environment."""
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1"}
    source = {"hub": "owner/name", "revision": COMMIT}
    path = benchmark_file(tmp_path, source, "data/votes.csv")
    folder = tmp_path / "fetched"
    command("data", "pin", path, "--data-dir", folder, env=env)
    assert load_benchmark(path).datasets["rows"].splits["test"].rows == 2
    said = json.loads(command("data", "stats", "--benchmark", path, "--data-dir", folder, "--format", "json").stdout)
    assert said["question (test)"]["items"] == 2
    assert (folder / "rows" / "data" / "votes.csv").read_bytes() == TABLE
    assert command("data", "fetch", "--benchmark", path, "--data-dir", folder).stdout.count("present") == 1

    hub.files["data/votes.csv"] = TABLE + b"c,more,1,1\n"
    other = command("data", "fetch", "--benchmark", path, "--data-dir", tmp_path / "other", code=1, env=env)
    assert "DATA_DIGEST" in other.stderr
    assert hashlib.sha256(TABLE).hexdigest() in other.stderr
    assert not list((tmp_path / "other").rglob("*.csv"))


@pytest.mark.slow
def test_what_the_hub_does_not_give_is_said_of_each_dataset(hub: Hub, command: Command, tmp_path: Path) -> None:
    """One that fails does not keep the others from being fetched."""
    hub.files["cut.csv"] = TABLE
    hub.files["other.csv"] = TABLE + b"c,more,1,1\n"
    pin = {"rows": 2, "sha256": hashlib.sha256(TABLE).hexdigest()}
    path = benchmark_file(tmp_path, {"hub": "owner/name", "revision": COMMIT}, "data/votes.csv", **pin)
    value = json.loads(path.read_bytes())
    rows = value["datasets"]["rows"]
    for name, repository, file in (
        ("gone", "owner/name", "gone.csv"),
        ("nobody", "owner/nobody", "votes.csv"),
        ("cut", "owner/name", "cut.csv"),
        ("other", "owner/name", "other.csv"),
    ):
        source = {"hub": repository, "revision": COMMIT}
        value["datasets"][name] = {**rows, "source": source, "splits": {"test": {"file": file, **pin}}}
    path.write_text(json.dumps(value), encoding="utf-8")
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1"}
    folder = tmp_path / "fetched"
    said = command("data", "fetch", "--benchmark", path, "--data-dir", folder, code=3, env=env).stderr
    assert said.count("DATA_HUB") == 3
    assert said.count("DATA_DIGEST") == 1
    for what in ("gone.csv of owner/name", "votes.csv of owner/nobody", "cut.csv of owner/name", "other.csv in"):
        assert what in " ".join(said.split()), what
    assert {file.name for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock")} == {
        "votes.csv"
    }


@pytest.fixture
def hub_dataset(hub: Hub, of_url, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dataset]:
    """`TABLE` in the Hub's data repository, which is asked in this process."""
    from huggingface_hub import constants, utils

    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    utils.close_session()
    dataset = replace(of_url(""), url=None, hub="owner/name", revision=COMMIT)
    data = replace(dataset.splits["dev"], file="data/votes.csv")
    yield replace(dataset, splits={"dev": data})
    utils.close_session()


def test_a_connection_to_the_hub_that_is_dropped_is_made_again(
    hub: Hub, hub_dataset: Dataset, benchmark_of, task, tmp_path: Path
) -> None:
    hub.failures = [None, None]
    retries: list[str] = []
    patience = replace(QUICK, attempts=3)
    (fetched,) = fetch(benchmark_of(hub_dataset), tmp_path, patience=patience, retrying=retries.append)
    assert fetched.state == "fetched"
    assert counts(hub_dataset, task, tmp_path) == COUNTS
    assert len(hub.asked) == 4, "two that were dropped, the description and the content"
    assert [why.partition("; ")[2] for why in retries] == [f"attempt {n} of 3 in 0.001 s" for n in (2, 3)]
    assert "disconnected" in retries[0]


def test_patience_with_the_hub_ends(hub: Hub, hub_dataset: Dataset, benchmark_of, tmp_path: Path) -> None:
    hub.failures = [None] * 9
    code, message = refused(benchmark_of(hub_dataset), tmp_path)
    assert code == "DATA_HUB"
    assert f"could not be fetched in {QUICK.attempts} attempts; the last one ended so: " in message
    assert len(hub.asked) == QUICK.attempts


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_answer_of_the_hub_is_not_asked_for_twice(
    status: int, hub: Hub, hub_dataset: Dataset, benchmark_of, tmp_path: Path
) -> None:
    hub.failures = [status]
    code, message = refused(benchmark_of(hub_dataset), tmp_path)
    assert (code, "attempts" in message) == ("DATA_HUB", False)
    assert len(hub.asked) == 1


@pytest.mark.slow
def test_without_a_network_the_hub_is_not_asked(hub: Hub, command: Command, tmp_path: Path) -> None:
    path = benchmark_file(tmp_path, {"hub": "owner/name", "revision": COMMIT}, "data/votes.csv")
    said = command("data", "pin", path, "--data-dir", tmp_path / "data", code=3, env={"HF_ENDPOINT": hub.url}).stderr
    assert "DATA_HUB" in said
    assert "HF_HUB_OFFLINE" in said
    assert hub.asked == []
