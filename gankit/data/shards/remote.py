"""Files on a server: their sizes, and downloads that go on where they stopped."""

from __future__ import annotations

import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import NamedTuple, TypeVar

from gankit.disk import amount
from gankit.downloads import is_secure, offline, open_url
from gankit.text import shown

TRIES = 8  # in a row without a megabyte; about a minute of pauses
PAUSE = 0.5  # seconds before the second try; each later pause is twice as long
BLOCK = 2**20
SMALL = 2**26  # bytes of a list of shards
T = TypeVar("T")


class Remote(NamedTuple):
    """A file on a server: its address, its size in bytes, and its ETag or date, "" if the server states none."""

    url: str
    size: int
    stamp: str


def refuse_unsafe(url: str) -> None:
    """Raises ValueError for an address that others on the network could answer: not https, or http on this machine."""
    if not is_secure(url):
        raise ValueError(f"{shown(url)} is not https, so that others on the network could change it: use https")


def look(url: str) -> Remote:
    """The size and stamp of a file on a server.

    Raises:
        OSError: the server does not answer, has no such file, or does not state its size.
    """

    def headers() -> HTTPMessage:
        try:
            with open_url(url, method="HEAD") as answer:
                return answer.headers
        except urllib.error.HTTPError as error:
            if error.code not in (405, 501):
                raise
        with open_url(url) as answer:
            return answer.headers

    stated = _patiently(url, headers, lambda: 0)
    size = stated.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]{1,15}", size):
        raise OSError(f"{shown(url)}: the server does not state its size, without which it cannot be cached")
    return Remote(url, int(size), _stamp(stated))


def small(url: str) -> bytes:
    """The content of a small file on a server, such as a list of shards. Raises OSError and ValueError."""
    refuse_unsafe(url)

    def content() -> bytes:
        with open_url(url) as answer:
            data = answer.read(SMALL + 1)
            if len(data) < int(answer.headers.get("Content-Length") or 0) <= SMALL:
                raise ConnectionError("the server stopped half way")
            return data

    data = _patiently(url, content, lambda: 0)
    if len(data) > SMALL:
        raise ValueError(f"{shown(url)} holds more than {amount(SMALL)}, which is no list of shards")
    return data


def download(file: Remote, out: Path) -> None:
    """Write a file from a server to `out`, after the bytes that an earlier, interrupted download left there.

    Raises:
        OSError: the server stops again and again, the file on it has changed, or the disk is full.
    """
    if not file.stamp or not out.exists():  # without a stamp, these may be the first bytes of an older file
        out.write_bytes(b"")

    def done() -> int:
        return out.stat().st_size

    def rest() -> None:
        while done() != file.size:
            _append(file, out, done() if done() < file.size else 0)

    _patiently(file.url, rest, done)


def _append(file: Remote, out: Path, begin: int) -> None:
    """Download a file from a byte on; from the first if the server gives no parts of files."""
    wanted = {"Range": f"bytes={begin}-"} if begin else {}
    if begin and file.stamp and not file.stamp.startswith("W/"):  # a weak ETag cannot be asked for
        wanted["If-Range"] = file.stamp
    with open_url(file.url, wanted) as answer, open(out, "r+b") as part:
        size, place = answer.headers.get("Content-Length"), ""
        if answer.status == 206:
            place = answer.headers.get("Content-Range", "")
            size = place.rpartition("/")[2]
            if not place.startswith(f"bytes {begin}-"):
                raise OSError("the server sends another part of the file than the one that was asked for")
        else:
            begin = 0
        stamp = _stamp(answer.headers)
        if (size and size != str(file.size)) or (stamp and file.stamp and stamp != file.stamp):
            raise OSError(f"it was changed on the server: {size} bytes now, {file.size} when it was indexed")
        part.truncate(begin)
        part.seek(begin)
        while begin < file.size and (block := answer.read(min(BLOCK, file.size - begin))):
            part.write(block)
            begin += len(block)
    if begin < file.size:
        raise ConnectionError(f"the server stopped after {begin:,} of {file.size:,} bytes")


def _stamp(headers: HTTPMessage) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def _patiently(url: str, work: Callable[[], T], done: Callable[[], int]) -> T:
    """The result of `work`, repeated after pauses while the server fails; `done` counts bytes that need no repetition.

    Raises:
        OSError: it fails too often in a row, or for a reason that stays.
    """
    if offline():
        raise OSError(f"{shown(url)} is not on this machine and downloads are switched off (GANKIT_OFFLINE)")
    failures = 0
    while True:
        before = done()
        try:
            return work()
        except (OSError, HTTPException) as error:
            failures = 1 if done() >= before + BLOCK else failures + 1
            if _stays(error) or failures == TRIES:
                raise OSError(f"{shown(url)}: {shown(str(error) or type(error).__name__)}") from error
        time.sleep(PAUSE * 2 ** (failures - 1))


def _stays(error: Exception) -> bool:
    """Whether a failure will be the same when the server is asked again."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500 and error.code not in (408, 425, 429)
    if isinstance(error, urllib.error.URLError):
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    return type(error) is OSError  # a full disk, a refused redirect, a changed file; not a connection's errors
