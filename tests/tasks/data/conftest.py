"""Tasks and datasets in the form of the real ones, and a web server that can be told to misbehave."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runner.config import load_benchmark
from runner.core.benchmark_types import Benchmark, DataFile, ItemFields, Task
from runner.core.resources import benchmark_file

PAIR = Task(
    name="dilemmas",
    description="Which of two?",
    labels=("first", "second"),
    item=ItemFields(
        id="id",
        fields={"first": "actions.0.description", "second": "actions.1.description"},
        votes="gold_annotations",
        panel="human_perf_annotations",
        group=None,
    ),
    without_votes="refuse",
    prompts=(),
    strata=(),
)
FIVE = Task(
    name="anecdotes",
    description="Who?",
    labels=("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO"),
    item=ItemFields(
        id="id", fields={"title": "title", "text": "text"}, votes="label_scores", panel=None, group="post_type"
    ),
    without_votes="skip",
    prompts=(),
    strata=(),
)
BINARY = replace(
    FIVE,
    name="anecdotes-binary",
    labels=("RIGHT", "WRONG"),
    item=replace(FIVE.item, votes="binarized_label_scores"),
)


@pytest.fixture(scope="session")
def tasks() -> dict[str, Task]:
    return {task.name: task for task in (PAIR, FIVE, BINARY)}


Pinned = Callable[..., DataFile]


@pytest.fixture(scope="session")
def pinned() -> Pinned:
    """Pin content (or a file) as it is, with the number of its rows counted by `splitlines` unless given."""

    def pin(
        content: bytes | Path, rows: int | None = None, split: str = "dev", name: str = "data", git: bool = False
    ) -> DataFile:
        data = content.read_bytes() if isinstance(content, Path) else content
        return DataFile(
            dataset=name,
            split=split,
            file=content.name if isinstance(content, Path) else f"{split}.jsonl",
            rows=len(data.splitlines()) if rows is None else rows,
            sha256=None if git else hashlib.sha256(data).hexdigest(),
            git_blob=hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest() if git else None,
        )

    return pin


@pytest.fixture(scope="session")
def released() -> Benchmark:
    """The released benchmark."""
    return load_benchmark(benchmark_file())


@pytest.fixture(scope="session")
def benchmark_of(released: Benchmark) -> Callable[..., Benchmark]:
    """The released benchmark with other datasets."""
    return lambda *datasets: replace(released, datasets={dataset.name: dataset for dataset in datasets})


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; `plan` holds one behaviour for each request to come, `ok` after its end.

    Behaviours: `ok` · a status such as `503` · `cut N` (declares all, closes after N bytes) · `chunked cut N` ·
    `chunked` · `to URL` (redirect) · `no size`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = b""
        self.plan: list[str] = []
        self.seen: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/dilemmas.tar.gz"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        shelf = self.server
        shelf.seen.append({name.lower(): value for name, value in self.headers.items()})
        todo = shelf.plan.pop(0) if shelf.plan else "ok"
        self.close_connection = True
        if todo.isdigit():
            self.send_response(int(todo))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if todo.startswith("to "):
            self.send_response(302)
            self.send_header("Location", todo[3:])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = shelf.content
        self.send_response(200)
        if todo.startswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        elif todo != "no size":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        count = re.search(r"cut (\d+)", todo)
        sent = body[: int(count[1])] if count else body
        if todo.startswith("chunked"):
            self.wfile.write(f"{len(body):x}\r\n".encode() + sent)
            if not count:
                self.wfile.write(b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(sent)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()
