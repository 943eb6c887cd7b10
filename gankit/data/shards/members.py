"""What a shard holds: for each sample its key, the place of its image, its label and its caption."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

from gankit.data import captions
from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import MAX_BYTES
from gankit.text import shown

MOST_KEY = 1000  # characters of a key
MOST_TEXT = 2**20  # bytes of a label or a caption
LABELS, TEXTS = ("label", "class", "cls", "category"), ("caption", "text", "captions", "txt", "prompt", "description")


@dataclass
class Members:
    """The samples of a shard; lists have one entry for each.

    Args:
        keys: their names.
        starts, sizes: of their images in the file, in bytes.
        labels: as texts; None for a sample that has none.
        captions: one a line; None for a sample that has none.
        others: what is not read, with its number.
    """

    keys: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    captions: list[str | None] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, start: int, size: int, label: object, caption: object) -> None:
        """Add a sample."""
        self.keys.append(key[:MOST_KEY])
        self.starts.append(start)
        self.sizes.append(size)
        self.labels.append(label_of(label))
        self.captions.append(caption_of(caption))

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode("utf-8", "surrogatepass")


def from_json(data: bytes, size: int) -> Members:
    """The members that `to_json` wrote, of a file of `size` bytes. Raises ValueError if they are damaged."""
    try:
        members = Members(**json.loads(data))
        count = len(members.keys)
        columns = members.keys, members.starts, members.sizes, members.labels, members.captions
        if any(not isinstance(column, list) or len(column) != count for column in columns):
            raise ValueError("columns of different lengths")
        places = zip(members.starts, members.sizes)
        if not all(type(a) is type(b) is int and a >= 0 and 0 <= b <= size - a for a, b in places):
            raise ValueError("a place outside of the shard")
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return members


def label_of(value: object) -> str | None:
    """A label as a text: whole numbers without a point; None for anything that is no number and no text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else None
    return str(value).strip()[:MOST_KEY] or None


def caption_of(value: object) -> str | None:
    """A caption, or several in a list, one a line."""
    if isinstance(value, list):
        value = "\n".join(" ".join(line.split()) for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return None
    return value[:MOST_TEXT].encode("utf-8", "replace").decode() or None


def of_tar(file: BinaryIO, size: int) -> Members:
    """The samples of a tar: files whose names are equal up to the first point, one of them an image.

    Raises:
        ValueError: the tar is damaged or ends early.
    """
    if file.read(2) == b"\x1f\x8b":
        raise ValueError("it is compressed, and samples are read from any place in it: unpack it by gunzip")
    file.seek(0)
    members, others = Members(), Counter[str]()
    key, group = None, dict[str, tarfile.TarInfo]()
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in _regular(archive, others):
                own, ending = _parted(info.name)
                if info.offset_data + info.size > size:
                    raise ValueError(f"it ends early, in {shown(info.name)}")
                if own != key or ending in group:
                    _add_sample(members, file, key or "", group, others)
                    key, group = own, {}
                group[ending] = info
            _add_sample(members, file, key or "", group, others)
            _refuse_rest(file, archive.offset, size)
    except ValueError:
        raise
    except Exception as error:  # untrusted bytes: tarfile raises errors of several kinds
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(f"it is damaged or ends early: {shown(error)}") from error
    members.others = dict(others.most_common(20))
    return members


def _regular(archive: tarfile.TarFile, others: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """The plain files in a tar; links and devices are counted."""
    for info in archive:
        archive.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
        if info.isreg() and not info.issparse():
            yield info
        elif not info.isdir():
            others["links or devices"] += 1


def _parted(name: str) -> tuple[str, str]:
    """The key and the ending of a file in a tar: "a/b.seg.png" is the file "seg.png" of the sample "a/b"."""
    name = name.removeprefix("./")
    found = re.match(r"((?:.*/)?[^/.]+)\.([^/]+)$", name, re.DOTALL)
    return (found[1], found[2].lower()) if found else (name, "")


def _refuse_rest(file: BinaryIO, end: int, size: int) -> None:
    """Check that zeros end a tar, as they do unless it was cut between two files. Raises ValueError."""
    file.seek(end)
    rest = file.read(2**20)
    if len(rest) < 512:
        raise ValueError("it ends early: the zeros that end a tar are missing")
    if rest.strip(b"\0"):
        raise ValueError(f"at byte {end:,} it is damaged, or a second tar begins: pack its files anew")


def _add_sample(
    members: Members, file: BinaryIO, key: str, group: dict[str, tarfile.TarInfo], others: Counter[str]
) -> None:
    """Add the sample of a group of files, if one of them is an image."""
    images = [ending for ending in group if "." + ending in IMAGES]
    if not images:
        if group:
            others["samples without an image"] += 1
        return
    others.update({f"further images of a sample (.{ending})": 1 for ending in images[1:]})
    image, facts = group[images[0]], dict[str, object]()
    if image.size > MAX_BYTES:
        others["samples with an oversized image"] += 1
        return
    for ending in ("json", "cls", "txt"):
        if ending not in group or group[ending].size > MOST_TEXT:
            continue
        file.seek(group[ending].offset_data)
        content = file.read(group[ending].size)
        try:
            facts |= _facts(ending, content)
        except (ValueError, RecursionError):
            others[f".{ending} that cannot be read"] += 1
    members.add(key, image.offset_data, image.size, facts.get("label"), facts.get("caption"))


def _facts(ending: str, content: bytes) -> dict[str, object]:
    """The label and the caption in a file beside an image. Raises ValueError."""
    if ending == "txt":
        return {"caption": captions.text_of(content)}
    if ending == "cls":
        return {"label": content.decode()}
    row = json.loads(content)
    if not isinstance(row, dict):
        return {}
    return facts_of(row)


def facts_of(row: dict[str, object]) -> dict[str, object]:
    """The label and the caption in the columns of a row, by the names that are usual."""
    lower = {str(name).lower(): value for name, value in row.items()}
    return {
        title: next(lower[name] for name in names if lower.get(name) is not None)
        for title, names in (("label", LABELS), ("caption", TEXTS))
        if any(lower.get(name) is not None for name in names)
    }
