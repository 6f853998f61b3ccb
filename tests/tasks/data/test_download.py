"""Downloads from a server that fails in the ways servers do."""

import random
from pathlib import Path

import pytest

from runner.core.errors import BackendError, InvalidInput
from runner.tasks.data.download import download
from runner.tasks.data.retry import RetryPolicy

BODY = random.Random(7).randbytes(400_000)
QUICK = RetryPolicy(attempts=4, wait=0.001, longest_wait=0.002, timeout=5)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "data.part"


@pytest.fixture(autouse=True)
def body(server):
    server.content = BODY


def get(server, part: Path) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    download(server.url, part, QUICK, lambda done, total: told.append((done, total)))
    return told


def test_a_plain_download_tells_its_progress(server, part):
    told = get(server, part)
    assert part.read_bytes() == BODY
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("style", ["cut 150000", "chunked cut 150000"])
def test_a_cut_connection_is_tried_again_from_the_first_byte(server, part, style):
    server.plan = [style]
    get(server, part)
    assert part.read_bytes() == BODY
    assert len(server.seen) == 2


def test_a_connection_that_is_always_cut(server, part):
    server.plan = ["cut 150000"] * 4
    with pytest.raises(BackendError, match=r"in 4 attempts.*ended after 150,000 of 400,000 bytes"):
        get(server, part)


def test_what_was_there_before_is_replaced(server, part):
    part.write_bytes(BODY + b"more")
    get(server, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("status", ["500", "503", "429"])
def test_passing_failures_are_retried(server, part, status):
    server.plan = [status, status]
    get(server, part)
    assert part.read_bytes() == BODY
    assert len(server.seen) == 3


def test_each_attempt_is_told_with_the_reason(server, part):
    server.plan = ["503", "cut 150000"]
    told: list[str] = []
    download(server.url, part, QUICK, lambda done, total: None, told.append)
    assert told == [
        "the server answered 503; attempt 2 of 4 in 0.001 s",
        "the connection ended after 150,000 of 400,000 bytes; attempt 3 of 4 in 0.002 s",
    ]


def test_attempts_are_bounded(server, part):
    server.plan = ["500"] * 100
    with pytest.raises(BackendError, match="the server answered 500") as caught:
        get(server, part)
    assert len(server.seen) == QUICK.attempts
    assert caught.value.faults[0].code == "DATA_DOWNLOAD"


@pytest.mark.parametrize("status", ["404", "403", "401"])
def test_a_refusal_is_not_retried(server, part, status):
    server.plan = [status] * 3
    with pytest.raises(BackendError, match=f"the server answered {status}"):
        get(server, part)
    assert len(server.seen) == 1
    assert not part.exists()


@pytest.mark.parametrize("style", ["chunked", "no size"])
def test_content_of_undeclared_length(server, part, style):
    server.plan = [style]
    told = get(server, part)
    assert part.read_bytes() == BODY
    assert told[-1] == (len(BODY), None)


def test_silence_is_bounded(part, monkeypatch):
    import socket

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/x"
        with pytest.raises(BackendError, match="timed out"):
            download(url, part, RetryPolicy(attempts=2, wait=0.001, timeout=0.05), lambda done, total: None)


def test_nobody_listening(part, monkeypatch):
    import socket

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BackendError, match="refused"):
        download(f"http://127.0.0.1:{port}/", part, QUICK, lambda done, total: None)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "dilemmas.tar.gz", "http://", "http://[::1/", "http://a b/"],
)
def test_only_web_addresses_are_fetched(part, url):
    with pytest.raises(InvalidInput) as caught:
        download(url, part, QUICK, lambda done, total: None)
    assert caught.value.faults[0].code == "DATA_URL"
    assert not part.exists()


def test_a_redirect_is_followed(server, part):
    server.plan = [f"to {server.url}?again"]
    get(server, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("away", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_leads_to_no_other_kind_of_address(server, part, away):
    server.plan = [f"to {away}"] * 4
    with pytest.raises(BackendError, match=r"unknown url type|the server answered 302"):
        get(server, part)
    assert not part.exists()
