"""Published weights: found where the user already has them, else downloaded once; used only if every byte is right."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows: two processes may then download the same twice, and the last to finish wins
    fcntl = None


class WeightsFile(NamedTuple):
    """A published file of weights: its name on disk, where it is published, and what its bytes must be.

    Args:
        sha256: of the whole file, 64 hexadecimal digits.
        size: in bytes.
        licence: what its publishers say of its use.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str


class NotAsked(OSError):
    """What only a file asks for, and not the user: a download, or code of others."""


_hints: list[str] = []  # of the `not_asked` that this process is in
_verified: dict[tuple[str, int, int], str] = {}  # (path, size, mtime) -> sha256, for this process only


def location() -> Path:
    """Where downloads are kept: `weights` in gankit's cache, $GANKIT_CACHE or ~/.cache/gankit."""
    return Path(os.environ.get("GANKIT_CACHE") or "~/.cache/gankit").expanduser() / "weights"


@contextmanager
def not_asked(hint: str) -> Iterator[None]:
    """Nothing inside downloads, or runs code that gankit does not come with: it was asked for by a file, and not by the user.

    What is on this machine already and needs no code is used as ever. All threads of the process are inside.

    Args:
        hint: what the user types to ask for it, for the message.
    """
    _hints.append(hint)
    try:
        yield
    finally:
        _hints.remove(hint)


def refuse_not_asked(what: str) -> None:
    """Raises NotAsked inside of `not_asked`; `what` is a sentence's beginning, such as "timm:x runs timm's code"."""
    if _hints:
        raise NotAsked(f"{what}, and that was not asked for on the command line, but by a file alone. {_hints[-1]}")


def fetch(file: WeightsFile, download: bool = True) -> Path:
    """The path of a whole and right copy of `file`.

    Looks in the folder $GANKIT_WEIGHTS, in gankit's cache, and where torch.hub keeps what it downloads ($TORCH_HOME/hub/
    checkpoints); else downloads to gankit's cache, under a lock: several processes make one download. Size and full
    sha256 are checked in either case (torch.hub itself compares 8 digits, or none). GANKIT_OFFLINE=1 forbids downloads,
    as `download=False` does. A download is announced with its size, is by https alone, and must fit on the disk.

    Raises:
        ValueError: a file of this name is another file, there or at its source; it is neither used nor replaced.
        NotAsked: it is nowhere, and would be downloaded inside of `not_asked`.
        OSError: it is nowhere, and cannot be downloaded or written.
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
            for left in location().glob(f"{file.name}.*.part") if held else ():  # what kills left
                left.unlink()
            part = target.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
            try:
                found = _download(file, part)
                if found != (file.size, file.sha256):
                    raise ValueError(
                        f"{file.url} sent {found[0]} bytes with sha256 {found[1]}; expected {file.size} bytes with "
                        f"sha256 {file.sha256}. Nothing was kept. Try again. {_by_hand(file)}"
                    )
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
    except (OSError, HTTPException) as error:
        raise OSError(f"cannot download {file.name} to {target}: {error}. {_by_hand(file)}") from error
    return target


def here(file: WeightsFile) -> bool:
    """Whether a right copy is on this machine, so that nothing would be downloaded."""
    try:
        fetch(file, download=False)
    except (OSError, ValueError):
        return False
    return True


def tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file, or one that torch.save wrote, on the CPU, by torch's loader that can build tensors only.

    Raises:
        ValueError: it is no safetensors file, or a damaged one.
    """
    import torch  # here: finding and fetching files needs none of it

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or no safetensors file: {error}") from error
    return torch.load(path, map_location="cpu", weights_only=True)


def sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits; kept within this process while its size and time stay."""
    stat = os.stat(path)
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        digest = hashlib.sha256()
        with open(path, "rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
        _verified[key] = digest.hexdigest()
    return _verified[key]


def _folders() -> Iterator[Path]:
    if own := os.environ.get("GANKIT_WEIGHTS"):
        if not os.path.isdir(os.path.expanduser(own)):
            raise ValueError(f"GANKIT_WEIGHTS is {own}, which is no folder. Set it to the folder of your weights")
        yield Path(own).expanduser()
    yield location()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    yield Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def _checked(path: Path, file: WeightsFile) -> Path:
    size = path.stat().st_size
    if size != file.size or sha256(path) != file.sha256:
        found = f"{size} bytes" if size != file.size else f"sha256 {sha256(path)}"
        raise ValueError(
            f"{path} has {found}; the published {file.name} has {file.size} bytes and sha256 {file.sha256}. It is not "
            f"used, and left as it is. Move it away and run again, or fetch {file.url} in its place"
        )
    return path


def _by_hand(file: WeightsFile) -> str:
    return (
        f"Fetch {file.url} by hand, check that its sha256 is {file.sha256}, and put it at {location() / file.name}, or "
        "set GANKIT_WEIGHTS to the folder that it is in"
    )


@contextmanager
def _locked(name: str) -> Iterator[bool]:
    """One process at a time is inside, for each name; a killed one lets go. Yields whether locks work here."""
    location().mkdir(parents=True, exist_ok=True)
    with open(location() / f"{name}.lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"gankit: waiting for another process that downloads {name}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            yield False
            return
        yield True


def _megabytes(file: WeightsFile) -> str:
    return f"{file.size / 1e6:,.0f} MB" if file.size >= 1e6 else f"{file.size:,} bytes"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where a first request might go, too, and from https to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not _secure(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise OSError(f"it is redirected to {newurl}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _secure(url: str) -> bool:
    """Whether nobody between could read or change what a URL sends: https, or http of this machine itself."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1"))


def _download(file: WeightsFile, part: Path) -> tuple[int, str]:
    """Write what the URL sends, at most one block more than it should; how many bytes, and their sha256."""
    if not _secure(file.url):
        raise OSError("its address is no https")
    if (free := shutil.disk_usage(part.parent).free) < file.size:
        raise OSError(f"it has {_megabytes(file)}, and {free / 1e6:,.0f} MB of the disk are free")
    print(f"gankit: downloading {file.name}, {_megabytes(file)}, from {file.url}", file=sys.stderr)
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
