"""What the user's data is, as far as the choice of a model depends on it."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from gankit import data
from gankit.data import published
from gankit.data.locating import locate
from gankit.data.reading.folder import source_of
from gankit.data.reading.survey import survey
from gankit.data.reading.vectors import is_vectors
from gankit.data.shards.spelling import is_sharded
from gankit.runs.config import Data

PER_CLASS = 20  # images that a class needs on average to be drawn as one
LOOKED_AT = 200  # files whose size is read before a size is chosen
NORMAL = ("good", "normal", "ok", "intact")  # folders of images for anomaly detection, if there is no other
OPENED = 64  # side at which images of several sizes are read, to see what they are


@dataclass(frozen=True)
class Seen:
    """What the data is.

    Args:
        what: a key of CHOICES.
        side: the smaller side of its images, the median.
        count: of its images.
        notes: what the user should know of the choice.
        text: all of it in a line.
        channels: of its images, or of each domain.
    """

    what: str
    side: int
    count: int
    notes: tuple[str, ...]
    text: str
    channels: tuple[int, ...]


def look(name: str, how: data.Reading, most: int = OPENED) -> Seen:
    """What the data is; files are read with a side of `most` at most, as the model will read them.

    Raises:
        ValueError: it is nothing that a model can be chosen for, or cannot be read.
    """
    place = published.located(name)
    path = data.find(place)
    located = None
    if path is not None and not is_vectors(path) and not is_sharded(place, path):
        located = locate(place, path, how.split)
    sides = data.two_sided(place, "", how) if located is None else located.two_sided("", how.pair)
    both = located.domains() if located else data.split(place)
    folder = Path(both[0]) if both and data.find(both[0]) else path
    read_part = replace(how, split=located.part) if located and not both else how
    file_sizes = sizes(folder, read_part) if folder is not None and (located or both) and not sides else []
    is_joined = not both and len(file_sizes) > 1 and all(width == 2 * height for height, width in file_sizes)
    if sides:
        what = sides.kind
    elif both:
        what = "pairs" if have_equal_names(both) else "domains"
    else:
        what = "pairs" if is_joined else ""
    side = int(median(map(min, file_sizes))) if file_sizes else 0  # of a joined pair its height
    if side and not how.resolution:
        how = replace(how, resolution=str(max(16, min(side, most))))
    return described(name, read(name, how, what), what, side, is_joined, bool(both))


def described(name: str, dataset: Data, what: str, side: int, is_joined: bool, are_folders: bool) -> Seen:
    """What the data is, once it is read."""
    notes: list[str] = []
    if not what and dataset.kind not in ("images", "domains", "pairs", "masks", "captions"):
        other = {"points": "gan", "vectors": "cgan"}.get(dataset.kind, "dcgan")
        raise ValueError(
            f"auto chooses models for images; {name} holds {dataset.kind}: gankit train {other} --data {name}"
        )
    what = what or dataset.kind
    side, count = side or min(dataset.shape[1:]), len(dataset)
    facts = [f"{count:,} {data.KINDS[what]}", f"{dataset.shape[0]} channel{'s' * (dataset.shape[0] > 1)}"]
    facts.append(f"smaller side {side} px")
    if what == "images":
        captions = [text for text in getattr(dataset, "captions", None) or [] if text]
        texts = len(captions) if len(set(captions)) > 1 else 0
        classes = dataset.num_classes
        facts.append(f"{classes} classes" if classes > 1 else "no labels")
        facts.append(f"{texts:,} captions" if texts else "no captions")
        if count == 1:
            what = "one"
        elif texts > 0.9 * count:
            what = "captions"
        elif classes > 1 and count >= PER_CLASS * classes:
            what = "labels"
        elif classes > 1:
            notes.append(f"the labels are not used: {count / classes:.0f} images a class are fewer than {PER_CLASS}")
        folders = {Path(name, image).parent.name for image in getattr(dataset, "names", [])}
        if len(folders) == 1 and (folder := folders.pop()).lower() in NORMAL:
            notes.append(
                f"all images are {folder!r}; to find defects: gankit train f_anogan --data {shlex.quote(name)}"
            )
    elif what == "pairs":
        how_known = "each twice as wide as high" if is_joined else "files of equal names in two folders"
        facts.append(how_known)
        if are_folders:
            notes.append(f"if they are no pairs: gankit train cyclegan --data {shlex.quote(name)}")
    channels = (dataset.shape[0], *dataset.other[:1])
    return Seen(what, side, count, tuple(notes), ", ".join(facts), channels)


def read(name: str, how: data.Reading, what: str) -> Data:
    """The data, at its own size or that of `how`; where its images have several sizes, at a small one."""
    want = what if what in ("pairs", "masks") else ""
    try:
        return data.open_as(name, how, want=want)
    except ValueError as error:
        advised = re.search(r"--resolution (\d+)", str(error))  # what every such error proposes
        if how.resolution or not advised:
            raise
        side = min(OPENED, int(advised[1]))
        return data.open_as(name, replace(how, resolution=str(side)), want=want)


def sizes(path: Path, how: data.Reading) -> list[tuple[int, int]]:
    """(height, width) of some images of a path, from the heads of their files."""
    with ExitStack() as stack:
        source = source_of(stack, path, how, ())
        step = max(1, len(source.files) // LOOKED_AT)
        seen = survey(source._replace(files=source.files[::step], unseen=()), how=replace(how, no_table=True))
    return [*seen.sizes().elements()]


def have_equal_names(both: tuple[str, str]) -> bool:
    """Whether two folders hold files of equal names, but for their endings."""
    paths = [data.find(part) for part in both]
    folders = [path for path in paths if path is not None and path.is_dir()]
    names = [sorted(p.relative_to(folder).with_suffix("") for p in folder.rglob("*.*")) for folder in folders]
    return len(names) == 2 and bool(names[0]) and names[0] == names[1]
