"""A web server on this machine, with the faults that servers have."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Sends `files` by their path.

    Attributes:
        ranges: answers to Range: "yes", "no" for the whole file, "wrong" for another part than the one asked for.
        stop_after: bytes of an answer after which it closes the connection.
        redirects: path to URL.
        asked: (path, Range header or None) of each request.
        go: answers wait for this event after `first` bytes.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = "yes"
        self.stop_after: int | None = None
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.go, self.first = threading.Event(), 0
        self.go.set()
        self.url = ""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append((self.path, asked))
            if to := server.redirects.get(self.path):
                self.send_response(302)
                self.send_header("Location", to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = server.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start, whole = 0, len(body)
            if asked and server.ranges != "no":
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= whole:
                    self.send_error(416)
                    return
                start -= server.ranges == "wrong"
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.send_header("Content-Length", str(whole - start))
            self.end_headers()
            body = body[start:]
            self.wfile.write(body[: server.first])
            self.wfile.flush()
            server.go.wait()
            self.wfile.write(body[server.first : server.stop_after])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that was killed, or has read enough
                super().handle()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("GANKIT_OFFLINE", raising=False)
    with serving() as server:
        yield server
