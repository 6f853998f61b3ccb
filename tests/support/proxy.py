"""A proxy in front of a real service that spoils chosen answers; what it was asked is kept."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = Callable[["Handler"], None]
"""Answers a request instead of the service; `Handler.upstream` asks the service all the same."""


@dataclass
class Proxy:
    """`faults` are used up in the order of requests; None lets one through. Everything sent is in `asked`."""

    url: str = ""
    faults: list[Fault | None] = field(default_factory=list)
    always: Fault | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the acknowledgement of its headers
    proxy: Proxy
    service: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.proxy.lock:
            self.proxy.asked.append(json.loads(body))
            self.proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.proxy.paths.append(self.path)
            self.proxy.under_way += 1
            self.proxy.most_under_way = max(self.proxy.most_under_way, self.proxy.under_way)
            fault = self.proxy.faults.pop(0) if self.proxy.faults else self.proxy.always
        self.body = body
        try:
            if fault is None:
                self.answer(*self.upstream())
            else:
                fault(self)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.proxy.lock:
                self.proxy.under_way -= 1

    def upstream(self) -> tuple[int, bytes]:
        """What the service answers."""
        to = urlsplit(self.service)
        connection = http.client.HTTPConnection(str(to.hostname), to.port, timeout=30)
        try:
            connection.request("POST", self.path, self.body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxied(service: str) -> Iterator[Proxy]:
    """A proxy in front of the service at this address, on a port of this machine."""
    proxy = Proxy()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"proxy": proxy, "service": service}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}{urlsplit(service).path}"
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(number: int, message: str = "not now", code: str | None = None, **headers: str) -> Fault:
    """Answers with an error of the form that the official service gives."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
    return lambda handler: handler.answer(number, body, **headers)


def instead(data: bytes) -> Fault:
    """Answers with these bytes as if all were well."""
    return lambda handler: handler.answer(200, data)


def changed(change: Callable[[dict[str, Any]], None]) -> Fault:
    """Changes the service's answer."""

    def spoil(handler: Handler) -> None:
        code, data = handler.upstream()
        value = json.loads(data)
        change(value)
        handler.answer(code, json.dumps(value).encode())

    return spoil


def cut(handler: Handler) -> None:
    """Breaks off in the middle of the answer."""
    _, data = handler.upstream()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def hung_up(handler: Handler) -> None:
    """Ends the connection without an answer."""
    handler.close_connection = True
