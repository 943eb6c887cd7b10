"""Published weights: found on this machine or downloaded once, and verified by size and sha256."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gankit import downloads
from gankit.downloads import WebFile as WeightsFile
from gankit.downloads import megabytes, sha256, verified

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NotAsked", "WeightsFile", "fetch", "here", "location", "not_asked", "refuse_not_asked", "sha256", "tensors"]


class NotAsked(OSError):
    """A file, not the user, requests a download or the execution of code that is not gankit's."""


_hints: list[str] = []  # of the active `not_asked` contexts of this process


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
    downloaded to gankit's cache by `gankit.downloads.download`. Size and full sha256 are always checked (torch.hub
    itself compares 8 digits or none). GANKIT_OFFLINE=1 forbids downloads, as `download=False` does.

    Raises:
        ValueError: the file on this machine, or at its URL, differs from the published one; it is not used or replaced.
        NotAsked: it is missing and would be downloaded inside of `not_asked`.
        OSError: it is missing and cannot be downloaded or written.
    """
    for folder in _folders():
        if os.path.isfile(path := folder / file.name):
            return verified(path, file)
    if not download or downloads.offline():
        raise OSError(f"{file.name} is not on this machine and downloads are switched off. {_by_hand(file)}")
    refuse_not_asked(f"{file.name}, {megabytes(file.size)}, would be downloaded from {file.url}")
    return downloads.download(file, location() / file.name, _by_hand(file))


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


def _folders() -> Iterator[Path]:
    if own := os.environ.get("GANKIT_WEIGHTS"):
        if not os.path.isdir(os.path.expanduser(own)):
            raise ValueError(f"GANKIT_WEIGHTS is {own}, which is not a folder. Set it to the folder of your weights")
        yield Path(own).expanduser()
    yield location()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    yield Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def _by_hand(file: WeightsFile) -> str:
    return (
        f"Fetch {file.url} by hand, check that its sha256 is {file.sha256}, and put it at {location() / file.name}, or "
        "set GANKIT_WEIGHTS to the folder that it is in"
    )
