"""From a web server to released names, with everything that can go wrong on the way."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from runner.core.benchmark_types import Benchmark, Dataset
from runner.core.errors import BackendError, Interrupted, InvalidInput, OutputError
from runner.tasks.data import Fetched, Limits, RetryPolicy, check, fetch, find_file, load_items

QUICK = RetryPolicy(attempts=3, wait=0.001, longest_wait=0.001, timeout=5)


def rows(start: int, count: int) -> bytes:
    """JSON lines that do not compress to nothing."""
    return b"".join(
        json.dumps(
            {
                "id": f"{start + i}",
                "actions": [{"description": f"do {i * 7919 % 1009}"}, {"description": f"leave {i * 104729 % 997}"}],
                "gold_annotations": [i % 6, 5 - i % 6],
                "human_perf_annotations": [0, 0],
            }
        ).encode()
        + b"\n"
        for i in range(count)
    )


SPLITS = {"train": rows(0, 2000), "dev": rows(5000, 30), "test": rows(9000, 20)}


def tarball(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


RELEASED = {"dilemmas/README": b"about"} | {f"dilemmas/{split}.jsonl": content for split, content in SPLITS.items()}


@pytest.fixture
def dilemmas(server, pinned) -> Dataset:
    server.content = tarball(RELEASED)
    return Dataset(
        name="d",
        description="",
        synthetic=False,
        url=server.url,
        folder="dilemmas",
        embedded=None,
        # Both kinds of pin, as in the released benchmark.
        splits={
            split: pinned(content, split=split, name="d", git=split == "train") for split, content in SPLITS.items()
        },
    )


@pytest.fixture
def benchmark(dilemmas, benchmark_of: Callable[..., Benchmark]) -> Benchmark:
    return benchmark_of(dilemmas)


def left(folder: Path) -> set[str]:
    """Every file, but for the lock."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".d.lock"}


ALL = {f"dilemmas/{split}.jsonl" for split in SPLITS}


def codes(caught: pytest.ExceptionInfo) -> list[str]:
    return [fault.code for fault in caught.value.faults]


def test_fetch_then_read(benchmark, dilemmas, server, tmp_path, tasks):
    folder = tmp_path / "new" / "data"
    told = []
    fetched = fetch(benchmark, folder, progress=lambda *step: told.append(step))
    assert fetched == [Fetched("d", split, folder / "dilemmas" / f"{split}.jsonl", "fetched") for split in SPLITS]
    assert left(folder) == ALL
    assert told[-1] == ("d", len(server.content), len(server.content))
    for split, content in SPLITS.items():
        path = find_file(dilemmas, dilemmas.splits[split], folder)
        assert path.read_bytes() == content
        assert len(load_items(tasks["dilemmas"], dilemmas.splits[split], path).items) == content.count(b"\n")
    assert [record.state for record in check(benchmark, folder)] == ["ok"] * 3


def test_what_is_there_needs_no_network(benchmark, server, tmp_path):
    fetch(benchmark, tmp_path)
    server.seen.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    assert {done.state for done in fetch(benchmark, tmp_path)} == {"present"}
    assert server.seen == []
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}


def test_a_file_at_the_top_counts_and_a_wrong_one_is_replaced_there(benchmark, tmp_path):
    (tmp_path / "dev.jsonl").write_bytes(SPLITS["dev"])
    (tmp_path / "test.jsonl").write_bytes(b"something else\n")
    fetched = fetch(benchmark, tmp_path)
    assert [done.state for done in fetched] == ["fetched", "present", "replaced"]
    assert left(tmp_path) == {"dilemmas/train.jsonl", "dev.jsonl", "test.jsonl"}
    assert (tmp_path / "test.jsonl").read_bytes() == SPLITS["test"]


def test_a_link_is_replaced_and_not_what_it_leads_to(benchmark, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "dev.jsonl").symlink_to(other)
    fetch(benchmark, tmp_path)
    assert other.read_bytes() == b"mine"
    assert (tmp_path / "dev.jsonl").read_bytes() == SPLITS["dev"]


def test_a_fetch_that_failed_leaves_nothing_and_can_be_repeated(benchmark, server, tmp_path):
    server.plan = ["cut 3000", "500", "500"]
    with pytest.raises(BackendError) as caught:
        fetch(benchmark, tmp_path, patience=QUICK)
    assert codes(caught) == ["DATA_DOWNLOAD"]
    assert left(tmp_path) == set()
    fetch(benchmark, tmp_path, patience=QUICK)
    assert left(tmp_path) == ALL


def test_an_interrupt_leaves_nothing_and_can_be_repeated(benchmark, server, tmp_path):
    def stop(name, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(benchmark, tmp_path, progress=stop)
    assert left(tmp_path) == set()
    fetch(benchmark, tmp_path)
    assert left(tmp_path) == ALL


def test_what_a_killed_fetch_left_is_replaced(benchmark, server, tmp_path):
    (tmp_path / "d.part").write_bytes(b"the beginning of an archive")
    fetch(benchmark, tmp_path)
    assert left(tmp_path) == ALL


def test_a_wrong_member_never_gets_the_released_name(benchmark, server, tmp_path):
    server.content = tarball(RELEASED | {"dilemmas/dev.jsonl": SPLITS["dev"].replace(b"do", b"be")})
    with pytest.raises(InvalidInput) as caught:
        fetch(benchmark, tmp_path)
    assert codes(caught) == ["DATA_DIGEST"]
    assert "dilemmas/dev.jsonl" in str(caught.value)
    assert benchmark.datasets["d"].splits["dev"].sha256 in str(caught.value)
    assert left(tmp_path) == ALL - {"dilemmas/dev.jsonl"}
    server.content = tarball(RELEASED)
    assert [done.state for done in fetch(benchmark, tmp_path)] == ["present", "fetched", "present"]


def test_a_wrong_file_stays_when_the_server_has_no_better(benchmark, server, tmp_path):
    (tmp_path / "dev.jsonl").write_bytes(b"mine\n")
    server.content = tarball(RELEASED | {"dilemmas/dev.jsonl": b"{}\n"})
    with pytest.raises(InvalidInput):
        fetch(benchmark, tmp_path)
    assert (tmp_path / "dev.jsonl").read_bytes() == b"mine\n"


def test_all_that_is_wrong_with_an_archive(benchmark, server, tmp_path):
    link = tarfile.TarInfo("dilemmas/test.jsonl")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    server.content = tarball(
        {"../train.jsonl": SPLITS["train"], "dilemmas/test.jsonl": link, "dilemmas/dev.jsonl": b"{}\n"}
    )
    with pytest.raises(InvalidInput) as caught:
        fetch(benchmark, tmp_path / "data")
    assert codes(caught) == ["DATA_ARCHIVE", "DATA_DIGEST", "DATA_ARCHIVE"]
    assert "not in the archive" in str(caught.value)
    assert "a symbolic link" in str(caught.value)
    assert left(tmp_path / "data") == set()


@pytest.mark.parametrize("content", [b"<html>sign in</html>", b"\x1f\x8b\x08broken"])
def test_what_is_no_archive_is_not_kept(benchmark, server, tmp_path, content):
    server.content = content
    with pytest.raises(InvalidInput) as caught:
        fetch(benchmark, tmp_path)
    assert codes(caught) == ["DATA_ARCHIVE"]
    assert left(tmp_path) == set()


def test_a_bomb_is_not_kept(benchmark, server, tmp_path):
    server.content = tarball({"zeros": bytes(1 << 21)} | RELEASED)
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        fetch(benchmark, tmp_path, limits=Limits(total=1 << 20))
    assert left(tmp_path) == set()


def test_a_dataset_that_fails_does_not_keep_back_the_next(dilemmas, benchmark_of, server, tmp_path):
    broken = replace(dilemmas, name="gone", url="ftp://127.0.0.1/x", folder="gone")
    with pytest.raises(InvalidInput) as caught:
        fetch(benchmark_of(broken, dilemmas), tmp_path)
    assert codes(caught) == ["DATA_URL"]
    assert left(tmp_path) - {".gone.lock"} == ALL


def test_only_the_datasets_asked_for(dilemmas, benchmark_of, tmp_path):
    other = replace(dilemmas, name="other", url="ftp://127.0.0.1/x")
    assert len(fetch(benchmark_of(other, dilemmas), tmp_path, datasets=["d"])) == 3
    with pytest.raises(InvalidInput, match="no dataset 'x'; there are: d") as caught:
        fetch(benchmark_of(dilemmas), tmp_path, datasets=["x", "y"])
    assert codes(caught) == ["DATA_DATASET", "DATA_DATASET"]


def test_embedded_datasets_are_not_fetched(dilemmas, benchmark_of, server, tmp_path):
    embedded = replace(dilemmas, url=None, folder=None, embedded="sample")
    assert {done.state for done in fetch(benchmark_of(embedded), tmp_path)} == {"embedded"}
    assert server.seen == []
    assert left(tmp_path) == set()


def test_two_at_once_do_not_mix(benchmark, server, tmp_path):
    with FileLock(tmp_path / ".d.lock"), pytest.raises(Interrupted) as caught:
        fetch(benchmark, tmp_path)
    assert codes(caught) == ["DATA_LOCKED"]
    assert server.seen == []


def test_a_folder_that_cannot_be_made(benchmark, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        fetch(benchmark, tmp_path / "file" / "data")
    assert codes(caught) == ["DATA_WRITE"]


def test_no_name_leads_out_of_the_folder(dilemmas, benchmark_of, server, tmp_path):
    for name in ("../evil", "/evil", "a\\b", "..", ""):
        with pytest.raises(InvalidInput) as caught:
            fetch(benchmark_of(replace(dilemmas, folder=name)), tmp_path)
        assert codes(caught) == ["DATA_NAME"]
    assert server.seen == []
