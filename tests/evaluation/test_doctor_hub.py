"""What the doctor says of the Hub: online only after an answer, and never later than three seconds."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from runner.evaluation import doctor


class Answer(BaseHTTPRequestHandler):
    """401 to everything, after `delay` seconds: a server is there, whatever it thinks of us."""

    delay = 0.0
    seen: list[str] = []

    def do_HEAD(self):
        self.seen.append(f"{self.command} {self.path}")
        time.sleep(self.delay)
        self.send_response(401)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Answer.seen, Answer.delay = [], 0.0
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield constants.ENDPOINT
    server.shutdown()
    server.server_close()


def test_online_is_said_after_one_request(address):
    found = doctor._hub()
    assert (found.state, found.message) == ("ok", f"online: {address} answered, pinned revisions may be downloaded")
    assert Answer.seen == ["HEAD /"]


def test_a_slow_hub_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr(doctor, "_PATIENCE", 0.2)
    Answer.delay = 1.0
    before = time.monotonic()
    found = doctor._hub()
    assert time.monotonic() - before < 0.9
    assert found.state == "warn"
    assert "was not reached" in found.message
    assert found.hint


def test_nobody_there(address, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    found = doctor._hub()
    assert (found.state, found.message.partition(":")[0]) == ("warn", "http")
    assert "127.0.0.1:9 was not reached" in found.message


def test_offline_is_not_tried(address, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not tried" in doctor._hub().message
    assert Answer.seen == []
