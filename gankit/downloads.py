"""Files from the web: downloaded once, continued after a break, and verified by size and sha256."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

from gankit.disk import require_space
from gankit.text import aside, counted

try:
    import fcntl
except ImportError:  # Windows: two processes may download the same file, and the last to finish wins
    fcntl = None  # type: ignore[assignment]

BLOCK = 1 << 20  # bytes that are read at a time
PATIENCE = 60  # seconds without a byte, after which a server counts as stopped


class WebFile(NamedTuple):
    """A published file: its name on disk, its URL, and how it is verified.

    Args:
        sha256: of the whole file, 64 hexadecimal digits.
        size: in bytes.
        licence: the licence of its publishers.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str = ""


class BrokenOff(OSError):
    """A server stopped in the middle; what it sent is kept."""


_verified: dict[tuple[str, int, int], str] = {}  # (path, size, mtime) -> sha256, for this process only


def download(file: WebFile, target: Path, by_hand: str) -> Path:
    """Download a file to `target`, a path with the file's name, and return it.

    A part that an earlier download left is continued, if the server can; a kill or a server that stops leaves a part.
    Only https is used, the file must fit on the disk, and it is announced with its size. Several processes make one
    download. A file that is there already is verified and kept.

    Args:
        by_hand: a sentence on how to get the file otherwise, which ends each error.

    Raises:
        ValueError: the file at the URL, or at `target`, differs from the published one. A wrong download is removed.
        OSError: downloads are switched off, or it cannot be downloaded or written.
    """
    if not target.exists() and offline():
        raise OSError(f"{file.name} is not on this machine and downloads are switched off. {by_hand}")
    try:
        with locked(target) as held:
            if target.exists():  # another process was first
                return verified(target, file)
            part = _beside(target, "part" if held else f"{uuid.uuid4().hex}.part")
            try:
                _complete(file, part, by_hand)
                os.replace(part, target)
            finally:
                if not held:  # nobody can continue it safely
                    part.unlink(missing_ok=True)
    except BrokenOff as error:
        raise OSError(f"{error}. Run the same again to go on from there. {by_hand}") from error
    except (OSError, HTTPException) as error:
        raise OSError(f"cannot download {file.name} to {target}: {error}. {by_hand}") from error
    return target


def offline() -> bool:
    """Whether GANKIT_OFFLINE forbids downloads."""
    return os.environ.get("GANKIT_OFFLINE", "0") not in ("", "0")


def verified(path: Path, file: WebFile) -> Path:
    """The path, if its content is the published file.

    Raises:
        ValueError: its size or sha256 differs.
    """
    size = path.stat().st_size
    if size != file.size or sha256(path) != file.sha256:
        found = f"{size} bytes" if size != file.size else f"sha256 {sha256(path)}"
        source = f", or replace it by {file.url}" if file.url else ""
        raise ValueError(
            f"{path} has {found}; the published {file.name} has {file.size} bytes and sha256 {file.sha256}. It is "
            f"neither used nor changed. Move it away and run again{source}"
        )
    return path


def sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits; cached in this process by path, size and time."""
    stat = os.stat(path)
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        _verified[key] = _digest(path).hexdigest()
    return _verified[key]


def megabytes(size: int) -> str:
    """A file's size for messages."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"


def _beside(target: Path, ending: str) -> Path:
    """A hidden file beside a download, which no reader of the folder takes for data."""
    return target.with_name(f".{target.name}.{ending}")


@contextmanager
def locked(target: Path) -> Iterator[bool]:
    """A lock across processes for each target, released if the process is killed; yields whether locks work here."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(_beside(target, "lock"), "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            aside(f"gankit: waiting for another process that downloads {target.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            yield False
            return
        yield True


def _complete(file: WebFile, part: Path, by_hand: str) -> None:
    """Make `part` the whole file, from what is there already if possible. Raises ValueError if the file is wrong."""
    resumed = part.exists()
    size, digest = _download(file, part)
    if (size, digest) != (file.size, file.sha256) and resumed:
        aside(f"gankit: {file.name} did not fit together with its first part; downloading it anew")
        part.unlink(missing_ok=True)
        size, digest = _download(file, part)
    if (size, digest) != (file.size, file.sha256):
        part.unlink(missing_ok=True)
        raise ValueError(
            f"{file.url} sent {size} bytes with sha256 {digest}; expected {file.size} bytes with "
            f"sha256 {file.sha256}. Nothing was kept. Try again. {by_hand}"
        )


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to secure URLs, and from https only to https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_secure(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise OSError(f"it is redirected to {newurl}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_secure(url: str) -> bool:
    """Whether a URL is safe from others on the network: https, or http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1"))


def _download(file: WebFile, part: Path) -> tuple[int, str]:
    """Complete `part`, at most with one block more than expected, and return its size and sha256.

    Raises:
        BrokenOff: the server stopped before the end.
        OSError: the URL is not https, the disk is too small, or the server cannot be reached.
    """
    if not is_secure(file.url):
        raise OSError("its URL is not https")
    start = part.stat().st_size if part.exists() else 0
    if start == file.size:  # killed just before it got its name
        return start, _digest(part).hexdigest()
    start = start if start < file.size else 0
    require_space(part.parent, file.size - start, "it has" if not start else "the rest has")
    action = f"downloading {file.name}, {megabytes(file.size)}," if not start else f"going on with {file.name}"
    aside(f"gankit: {action} from {file.url}" + (f" at {start / file.size:.0%}" if start else ""))
    with _opened(file, start) as source:
        start = start if source.status == 206 else 0  # 200: the server sends the whole file
        announced = source.headers.get("Content-Length", "")
        size = start
        digest = _digest(part) if start else hashlib.sha256()
        with open(part, "r+b" if start else "wb") as out, counted(file.size, "bytes") as advance:
            out.seek(start)
            advance(start)
            out.truncate(start)
            try:
                while size <= file.size and (block := _read(source)):
                    digest.update(block)
                    out.write(block)
                    out.flush()  # what has arrived outlives a kill
                    size += len(block)
                    advance(len(block))
                if size < file.size and (not announced.isdigit() or size - start < int(announced)):
                    raise BrokenOff("the connection was closed")
            except BrokenOff as error:
                raise BrokenOff(f"{file.url} broke off after {size:,} of {file.size:,} bytes: {error}") from error
            finally:
                os.fsync(out.fileno())
    return size, digest.hexdigest()


def _read(source: HTTPResponse) -> bytes:
    """The next block; none at the end. Raises BrokenOff if the server stopped."""
    try:
        return source.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise BrokenOff(str(error) or type(error).__name__) from error


def open_url(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> HTTPResponse:
    """A server's answer, whose bytes are those of the file; only secure redirects are followed. Raises OSError."""
    plain = {"User-Agent": "gankit", "Accept-Encoding": "identity", **(headers or {})}
    request = urllib.request.Request(url, headers=plain, method=method)
    answer: HTTPResponse = urllib.request.build_opener(Redirects).open(request, timeout=PATIENCE)
    return answer


def _opened(file: WebFile, start: int) -> HTTPResponse:
    """The server's answer, from byte `start` on where it agrees on the size; else from the beginning."""
    if start:
        try:
            source = open_url(file.url, {"Range": f"bytes={start}-"})
        except HTTPError as error:
            if error.code != 416:  # it has no such range: another file than the one that the part is of
                raise
        else:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", source.headers.get("Content-Range", ""))
            wanted = (start, file.size - 1, file.size)
            if source.status == 200 or (source.status == 206 and span and tuple(map(int, span.groups())) == wanted):
                return source
            source.close()
    return open_url(file.url)


def _digest(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest
