"""Shards for tests, and a server of a folder that behaves badly on request."""

from __future__ import annotations

import io
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from picture_files import encoded, noise

COUNTS = (7, 5, 9, 4)  # samples of the four shards


def image(number: int) -> bytes:
    """The PNG of a sample."""
    return encoded(noise(8, 8, 3, seed=number))


def tar(path: Path, files: dict[str, bytes]) -> Path:
    """Write a tar of these files, in this order."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sample(number: int) -> dict[str, bytes]:
    """The files of a sample with a label and a caption."""
    return {
        f"{number:04}.cls": str(number % 3).encode(),
        f"{number:04}.png": image(number),
        f"{number:04}.txt": f"picture {number}".encode(),
    }


def shards(folder: Path, counts: tuple[int, ...] = COUNTS) -> str:
    """Write shards 00.tar, 01.tar ... with so many samples each, numbered through; gives back their name."""
    folder.mkdir(exist_ok=True)
    first = 0
    for number, count in enumerate(counts):
        files = [sample(i) for i in range(first, first + count)]
        tar(folder / f"{number:02}.tar", {name: content for each in files for name, content in each.items()})
        first += count
    return f"{folder}/{{00..{len(counts) - 1:02}}}.tar"


class Server(ThreadingHTTPServer):
    """A server of the files in a folder.

    Attributes:
        asked: the method, file and range of each request.
        most: bytes of a body before the server stops, one number for each request; then it stops no more.
        always: bytes of each body before the server stops; None for no limit.
        ranges, head, size, etag: whether it knows them.
        goes: redirects, from path to address.
        broken: statuses to answer with, one for each request.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked = folder, list[tuple[str, str, str]]()
        self.most, self.always, self.broken = list[int](), None, list[int]()
        self.ranges = self.head = self.size = self.etag = True
        self.goes: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        server, name = self.server, self.path.lstrip("/").partition("?")[0]
        server.asked.append((self.command, name, self.headers.get("Range", "")))
        if not with_body and not server.head:
            return self.refuse(405)
        if server.broken and with_body:
            return self.refuse(server.broken.pop(0))
        if self.path in server.goes:
            return self.refuse(302, server.goes[self.path])
        if not (server.folder / name).is_file():
            return self.refuse(404)
        content = (server.folder / name).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranges else None
        begin = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if server.size:
            self.send_header("Content-Length", str(len(content) - begin))
        if server.etag:
            self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        if with_body:
            most = server.most.pop(0) if server.most else server.always
            self.wfile.write(content[begin:][:most])

    def refuse(self, status: int, to: str = "") -> None:
        self.send_response(status)
        if to:
            self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of this folder while the block runs."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
