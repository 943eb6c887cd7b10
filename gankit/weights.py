"""Published weights: found on this machine or downloaded once, and verified by size and sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gankit.text import aside

if TYPE_CHECKING:
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows: two processes may download the same file, and the last to finish wins
    fcntl = None  # type: ignore[assignment]


class WeightsFile(NamedTuple):
    """A published file of weights: its name on disk, its URL, and how it is verified.

    Args:
        sha256: of the whole file, 64 hexadecimal digits.
        size: in bytes.
        licence: the licence of its publishers.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str


class NotAsked(OSError):
    """A file, not the user, requests a download or the execution of code that is not gankit's."""


_hints: list[str] = []  # of the active `not_asked` contexts of this process
_verified: dict[tuple[str, int, int], str] = {}  # (path, size, mtime) -> sha256, for this process only


def location() -> Path:
    """The folder of downloads: `weights` in gankit's cache, $GANKIT_CACHE or ~/.cache/gankit."""
    return Path(os.environ.get("GANKIT_CACHE") or "~/.cache/gankit").expanduser() / "weights"


@contextmanager
def not_asked(hint: str) -> Iterator[None]:
    """Forbid downloads and code that is not gankit's own, for settings that come from a file and not from the user.

    Weights on this machine that need no code are still used. The context applies to all threads of the process.

    Args:
        hint: what the user types to allow it, for the message.
    """
    _hints.append(hint)
    try:
        yield
    finally:
        _hints.remove(hint)


def refuse_not_asked(what: str) -> None:
    """Raises NotAsked inside of `not_asked`; `what` begins the message, such as "timm:x runs timm's code"."""
    if _hints:
        raise NotAsked(f"{what}, which only a file requests and not the command line. {_hints[-1]}")


def fetch(file: WeightsFile, download: bool = True) -> Path:
    """The path of a verified copy of `file`.

    It is looked for in $GANKIT_WEIGHTS, in gankit's cache and in torch.hub's ($TORCH_HOME/hub/checkpoints), else
    downloaded to gankit's cache, under a lock: several processes make one download. Size and full sha256 are always
    checked (torch.hub itself compares 8 digits or none). GANKIT_OFFLINE=1 forbids downloads, as `download=False` does.
    A download is announced with its size, uses only https, and must fit on the disk.

    Raises:
        ValueError: the file on this machine, or at its URL, differs from the published one; it is not used or replaced.
        NotAsked: it is missing and would be downloaded inside of `not_asked`.
        OSError: it is missing and cannot be downloaded or written.
    """
    for folder in _folders():
        if os.path.isfile(path := folder / file.name):
            return _checked(path, file)
    target = location() / file.name
    if not download or os.environ.get("GANKIT_OFFLINE", "0") not in ("", "0"):
        raise OSError(f"{file.name} is not on this machine and downloads are switched off. {_by_hand(file)}")
    refuse_not_asked(f"{file.name}, {_megabytes(file)}, would be downloaded from {file.url}")
    try:
        with _locked(file.name) as held:
            if os.path.isfile(target):  # another process was first
                return _checked(target, file)
            for leftover in location().glob(f"{file.name}.*.part") if held else ():  # of killed processes
                leftover.unlink()
            part = target.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
            try:
                size, digest = _download(file, part)
                if (size, digest) != (file.size, file.sha256):
                    raise ValueError(
                        f"{file.url} sent {size} bytes with sha256 {digest}; expected {file.size} bytes with "
                        f"sha256 {file.sha256}. Nothing was kept. Try again. {_by_hand(file)}"
                    )
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
    except (OSError, HTTPException) as error:
        raise OSError(f"cannot download {file.name} to {target}: {error}. {_by_hand(file)}") from error
    return target


def here(file: WeightsFile) -> bool:
    """Whether a verified copy is on this machine, so that no download is needed."""
    try:
        fetch(file, download=False)
    except (OSError, ValueError):
        return False
    return True


def tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file or one of torch.save, on the CPU; only tensors are loaded.

    Raises:
        ValueError: the safetensors file is damaged or invalid.
    """
    import torch  # here: finding and fetching files does not need it

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    return torch.load(path, map_location="cpu", weights_only=True)


def sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits; cached in this process by path, size and time."""
    stat = os.stat(path)
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        _verified[key] = digest.hexdigest()
    return _verified[key]


def _folders() -> Iterator[Path]:
    if own := os.environ.get("GANKIT_WEIGHTS"):
        if not os.path.isdir(os.path.expanduser(own)):
            raise ValueError(f"GANKIT_WEIGHTS is {own}, which is not a folder. Set it to the folder of your weights")
        yield Path(own).expanduser()
    yield location()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    yield Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def _checked(path: Path, file: WeightsFile) -> Path:
    size = path.stat().st_size
    if size != file.size or sha256(path) != file.sha256:
        found = f"{size} bytes" if size != file.size else f"sha256 {sha256(path)}"
        raise ValueError(
            f"{path} has {found}; the published {file.name} has {file.size} bytes and sha256 {file.sha256}. It is "
            f"neither used nor changed. Move it away and run again, or replace it by {file.url}"
        )
    return path


def _by_hand(file: WeightsFile) -> str:
    return (
        f"Fetch {file.url} by hand, check that its sha256 is {file.sha256}, and put it at {location() / file.name}, or "
        "set GANKIT_WEIGHTS to the folder that it is in"
    )


@contextmanager
def _locked(name: str) -> Iterator[bool]:
    """A lock across processes for each name, released if the process is killed; yields whether locks work here."""
    location().mkdir(parents=True, exist_ok=True)
    with open(location() / f"{name}.lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            aside(f"gankit: waiting for another process that downloads {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            yield False
            return
        yield True


def _megabytes(file: WeightsFile) -> str:
    return f"{file.size / 1e6:,.0f} MB" if file.size >= 1e6 else f"{file.size:,} bytes"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to secure URLs, and from https only to https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not _secure(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise OSError(f"it is redirected to {newurl}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _secure(url: str) -> bool:
    """Whether a URL is safe from others on the network: https, or http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1"))


def _download(file: WeightsFile, part: Path) -> tuple[int, str]:
    """Write the response, at most one block more than expected, and return its size and sha256."""
    if not _secure(file.url):
        raise OSError("its URL is not https")
    if (free := shutil.disk_usage(part.parent).free) < file.size:
        raise OSError(f"it has {_megabytes(file)}, and {free / 1e6:,.0f} MB of the disk are free")
    aside(f"gankit: downloading {file.name}, {_megabytes(file)}, from {file.url}")
    request = urllib.request.Request(file.url, headers={"User-Agent": "gankit"})
    opener = urllib.request.build_opener(_Redirects)
    digest, size = hashlib.sha256(), 0
    with opener.open(request, timeout=60) as source, open(part, "xb") as out:
        while size <= file.size and (block := source.read(1 << 20)):
            digest.update(block)
            out.write(block)
            size += len(block)
        out.flush()
        os.fsync(out.fileno())
    return size, digest.hexdigest()
