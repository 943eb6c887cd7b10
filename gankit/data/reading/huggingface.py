"""Data sets of the Hugging Face hub by name, hf:NAME[/CONFIG][:SPLIT]: in the cache, or downloaded by `datasets`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading import files
from gankit.data.reading.formats import shard_names
from gankit.disk import amount
from gankit.text import aside, shown

PREFIX = "hf:"
HOW = "Type hf:NAME or hf:OWNER/NAME, with /CONFIG after OWNER/NAME and :SPLIT at the end where they are needed"
READ = ("parquet", "arrow", "imagefolder", "webdataset")  # formats of repositories; others hold no images as files
_typing: list[None] = []  # an item for each active `allow_downloads` of this process


class Name(NamedTuple):
    """A name hf:REPOSITORY/CONFIG:SPLIT in parts; `config` and `split` may be "". `repository` may be a local path."""

    repository: str
    config: str
    split: str

    @property
    def is_path(self) -> bool:
        return self.repository.startswith((".", "/", "~"))


def is_name(name: object) -> bool:
    """Whether a user's text names a data set of the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse(name: str) -> Name:
    """The parts of a name. Raises ValueError if it is none."""
    text, _, split = name.removeprefix(PREFIX).partition(":")
    if text.startswith((".", "/", "~")):
        return Name(text, "", split)
    names = text.split("/")
    if len(names) > 3 or not all(re.fullmatch(r"[\w-][\w.-]*", n, re.ASCII) for n in names) or ".." in text:
        raise ValueError(f"{shown(name)!r} is no name of a data set. {HOW}")
    if split and not re.fullmatch(r"[\w.-]+", split):
        raise ValueError(f"{shown(split)!r} is no split. {HOW}")
    return Name("/".join(names[:2]), "".join(names[2:]), split)


@contextmanager
def allow_downloads() -> Iterator[None]:
    """Allow downloads inside, as the user typed the names of the data; names from a file are only looked up."""
    _typing.append(None)
    try:
        yield
    finally:
        _typing.pop()


def locate(name: str) -> Path:
    """The folder of the data: in the cache of the package datasets, or after a download into it; or the local path.

    Raises:
        ValueError: there is no such data set, it is in a form that is not read, or `datasets` is missing.
        OSError: it cannot be downloaded or read.
    """
    parts = parse(name)
    if parts.is_path:
        path = Path(parts.repository).expanduser()
        if not shard_names.holds_shards(path):
            raise ValueError(f"{shown(path)} holds no Parquet or Arrow files; for other data leave hf: out")
        return path
    return _cached(parts) or _download(parts)


def without_split(name: str) -> str:
    """The name without :SPLIT."""
    head, colon, _ = name.removeprefix(PREFIX).partition(":")
    return f"{PREFIX}{head}" if colon else name


def title(name: str) -> str:
    """A short name of the data set, usable as a folder name."""
    parts = parse(name)
    return Path(parts.repository).expanduser().resolve().name if parts.is_path else parts.repository.rpartition("/")[2]


def home() -> Path:
    """The folder of Hugging Face's caches: $HF_HOME, or huggingface in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{cache}/huggingface").expanduser()


def cache() -> Path:
    """The folder in which the package datasets prepares data."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or home() / "datasets").expanduser()


def in_cache(path: Path) -> bool:
    """Whether a path lies in a cache of Hugging Face's."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or home() / "hub").expanduser()
    there = Path(os.path.normpath(path.absolute()))
    return any(there.is_relative_to(os.path.normpath(root.absolute())) for root in (cache(), hub))


def is_offline() -> bool:
    """Whether the user forbids downloads."""
    variables = "GANKIT_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"
    return any(os.environ.get(name, "0").lower() not in ("", "0", "false", "no", "off") for name in variables)


def _cached(name: Name) -> Path | None:
    """The folder CACHE/OWNER___NAME/CONFIG/VERSION/HASH that `datasets` prepared last; None if there is none.

    Raises:
        ValueError: there are several configurations, and none is named.
    """
    owner, _, short = name.repository.rpartition("/")
    short = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", short).lower()
    top = cache() / "___".join(filter(None, (owner, short)))
    folders: dict[str, list[Path]] = {}
    for info in top.glob("*/*/*/dataset_info.json"):
        config = info.parts[-4]
        try:
            about = json.loads(files.text(info))
        except (ValueError, OSError, RecursionError):
            continue
        # Data that was prepared with more options than a configuration has another name
        if isinstance(about, dict) and about.get("config_name", config) == config and any(info.parent.glob("*.arrow")):
            folders.setdefault(config, []).append(info.parent)
    config = name.config or ("default" if "default" in folders else next(iter(folders), ""))
    if not name.config and len(folders) > 1 and "default" not in folders:
        there, owner = shard_names.quoted(sorted(folders)), "" if "/" in name.repository else "OWNER/"
        raise ValueError(
            f"{name.repository} has several configurations here, {there}: name one, "
            f"{PREFIX}{owner}{name.repository}/{shown(config)}"
        )
    return max(folders.get(config, ()), key=lambda folder: folder.stat().st_mtime, default=None)


def _download(name: Name) -> Path:
    """Prepare a data set with the package datasets, which stores it in Hugging Face's cache."""
    text = f"{PREFIX}{'/'.join(filter(None, name[:2]))}"
    if is_offline():
        raise ValueError(f"{text} is not in {shown(cache())}, and downloads are switched off")
    if not _typing:
        raise ValueError(f"{text} is not on this machine; to download it type: gankit data {text}")
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"{text} is not on this machine; to download it: pip install 'gankit[hub]'") from error
    if int(datasets.__version__.partition(".")[0]) < 4:  # earlier ones can run the code of a data set
        raise ValueError(f"{text} needs the package datasets from 4.0 on: pip install -U 'gankit[hub]'")
    if os.path.isdir(name.repository):  # which the package prefers
        raise ValueError(f"{name.repository} is a folder here: type ./{name.repository} for it, or go elsewhere")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(name.repository, name.config or None)
        form = type(builder).__module__.rpartition(".")[2]
        if form not in (*READ, "cache"):
            raise ValueError(f"it is stored as {form}, and only {', '.join(READ)} hold images that are read")
        licence = f", licence {shown(builder.info.license)[:80]}" if builder.info.license else ""
        aside(f"gankit: downloading {text}{_size(name, builder.info.download_size)}{licence}, to {shown(home())}")
        builder.download_and_prepare()
    except Exception as error:  # of the network, the hub, the files: the package raises its own kinds
        if isinstance(error, OSError) and error.errno:
            raise
        reason = shown(str(error).strip().partition("\n")[0])[:300] or type(error).__name__
        raise ValueError(f"{text} cannot be had: {reason}") from error
    return Path(builder.cache_dir)


def _size(name: Name, size: object) -> str:
    """The size of a download for people; "" if the hub does not tell it."""
    if not isinstance(size, int):
        try:
            from huggingface_hub import HfApi

            info = HfApi().dataset_info(name.repository, files_metadata=True)
            size = sum(file.size or 0 for file in info.siblings or ())
        except Exception:  # without it the download says more
            return ""
    return f", {amount(size)}" if size else ""
