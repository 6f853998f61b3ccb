"""Downloads from a server that fails in the ways servers do."""

import random
from pathlib import Path

import pytest

from runner.core.errors import BackendError, InvalidInput
from runner.tasks.data.download import RetryPolicy, discard, download, validator_file

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
    assert "range" not in server.seen[0]


@pytest.mark.parametrize("style", ["cut 150000", "chunked cut 150000"])
def test_a_cut_connection_is_resumed_where_it_broke(server, part, style):
    server.plan = [style]
    get(server, part)
    assert part.read_bytes() == BODY
    begin = int(server.seen[1]["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 150_000
    assert server.seen[1]["if-range"] == '"one"'


def test_a_later_call_goes_on_from_an_earlier_one(server, part):
    server.plan = ["cut 100000", "cut 50000", "cut 0", "cut 0"]
    with pytest.raises(BackendError, match=r"in 4 attempts.*ended after 150,000 of 400,000 bytes"):
        get(server, part)
    assert part.read_bytes() == BODY[:150_000]
    server.seen.clear()
    told = get(server, part)
    assert part.read_bytes() == BODY
    assert server.seen[0]["range"] == "bytes=150000-"
    assert told[0] == (150_000, len(BODY))


def test_a_date_of_change_serves_where_there_is_no_strong_tag(server, part):
    server.tag, server.date = 'W/"weak"', "Tue, 01 Sep 2020 10:00:00 GMT"
    server.plan = ["cut 100000"]
    get(server, part)
    assert part.read_bytes() == BODY
    assert server.seen[1]["if-range"] == "Tue, 01 Sep 2020 10:00:00 GMT"


def test_without_a_validator_nothing_is_spliced(server, part):
    server.tag = None
    server.plan = ["cut 100000"]
    get(server, part)
    assert part.read_bytes() == BODY
    assert "range" not in server.seen[1]


def test_content_that_changed_in_between_is_taken_anew(server, part):
    server.plan = ["cut 100000"] + ["500"] * 3
    with pytest.raises(BackendError):
        get(server, part)
    server.content, server.tag = BODY[::-1], '"two"'
    get(server, part)
    assert part.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("answer", ["no range", "other range"])
def test_a_server_that_does_not_do_ranges_restarts(server, part, answer):
    server.plan = ["cut 100000", answer]
    get(server, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("status", ["500", "503", "429"])
def test_passing_failures_are_retried(server, part, status):
    server.plan = [status, status]
    get(server, part)
    assert part.read_bytes() == BODY
    assert len(server.seen) == 3


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


def test_a_complete_part_costs_no_bytes(server, part):
    get(server, part)
    server.seen.clear()
    assert get(server, part) == [(len(BODY), len(BODY))]
    assert part.read_bytes() == BODY
    assert len(server.seen) == 1


def test_a_part_longer_than_the_file_begins_anew(server, part):
    get(server, part)
    with part.open("ab") as stream:
        stream.write(b"more")
    get(server, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("kept", [b"not json", b"[]", b'{"url": "http://elsewhere/", "validator": "\\"one\\""}'])
def test_a_part_of_unknown_origin_begins_anew(server, part, kept):
    part.write_bytes(b"x" * 1000)
    validator_file(part).write_bytes(kept)
    get(server, part)
    assert part.read_bytes() == BODY
    assert "range" not in server.seen[0]


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


def test_discard_leaves_nothing(server, part):
    get(server, part)
    discard(part)
    discard(part)
    assert list(part.parent.iterdir()) == []
