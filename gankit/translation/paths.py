"""Input files, and the paths of output files."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gankit import data
from gankit.data.naming import named
from gankit.data.reading import files
from gankit.data.reading.endings import ARCHIVES, IMAGES, VIDEOS
from gankit.pictures import STILLS
from gankit.text import did_you_mean, shown


class Item(NamedTuple):
    """An input image or video.

    Args:
        name: its path relative to the input, with "/"; the output keeps it.
        path: the file; None inside an archive.
        read: returns its bytes; raises ValueError if it cannot be read.
    """

    name: str
    path: Path | None
    read: Callable[[], bytes]

    @property
    def video(self) -> bool:
        return self.name.lower().endswith(VIDEOS)


def find_inputs(
    inputs: Sequence[str | Path], output: Path, stack: ExitStack, builtin: Callable[[str], list[Item]] = lambda name: []
) -> tuple[list[Item], list[str]]:
    """The input images and videos, in order, and the names of the other files.

    Args:
        inputs: images, videos, folders (searched recursively), zips, tars, or patterns such as "photos/*.jpg".
        output: files inside it are earlier outputs and are not inputs.
        stack: keeps archives open.
        builtin: returns images of a built-in data set.

    Raises:
        ValueError: a file does not exist, or there are no images; proposes similar names.
    """
    items: list[Item] = []
    other: list[str] = []
    loose: list[Path] = []
    for word in map(str, inputs):
        path = Path(word).expanduser()
        if "\0" in word or not word:
            raise ValueError(f"{shown(word)!r} is not a path")
        if not path.exists() and glob.has_magic(word):
            loose += matching(path, output)
        elif path.is_dir() or path.name.lower().endswith(ARCHIVES):
            below, skipped = within(path, output, stack)
            items, other = items + below, other + skipped
        elif path.exists():
            loose.append(path)
        elif word in data.BUILTIN:
            items += builtin(word)
        else:
            siblings = [str(path.with_name(p.name)) for p in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = did_you_mean(word, siblings, 2)
            raise ValueError(f"there is no {shown(word)}" + f"; {hint}" * bool(hint))
    items += single_files(list(dict.fromkeys(loose)))
    if not items:
        raise ValueError(f"there is no picture in {', '.join(map(shown, map(str, inputs)))}")
    return items, other


def matching(pattern: Path, output: Path) -> list[Path]:
    """The files that a pattern matches, without earlier outputs.

    Raises:
        ValueError: there are none.
    """
    matches = map(Path, glob.glob(str(pattern), recursive=True))
    root = searched_folder(pattern)
    paths = sorted(path for path in matches if path.is_file() and not is_earlier_output(path, root, output))
    if not paths:
        raise ValueError(f"no file is like {shown(pattern)}")
    return paths


def single_files(paths: list[Path]) -> list[Item]:
    """Files as items, named relative to the folder that contains all of them."""
    root = Path(os.path.commonpath([p.resolve().parent for p in paths])) if paths else Path()
    items = []
    for path in paths:
        with named(str(path)), files.open_files(path) as source:
            file, read = source.files[0], source.read
        name = os.path.relpath(path.parent.resolve() / path.name, root).replace(os.sep, "/")
        items.append(Item(name, path, partial(read, file)))
    return items


def within(path: Path, output: Path, stack: ExitStack) -> tuple[list[Item], list[str]]:
    """The images and videos in a folder or archive, and the names of the other files."""
    with named(str(path)):
        source = stack.enter_context(files.open_files(path))
    items, other = [], []
    for file in source.files:
        if path.is_dir() and is_earlier_output(path / file.name, path, output):
            continue
        if file.name.lower().endswith((*IMAGES, *VIDEOS)):
            items.append(Item(file.name, path / file.name if path.is_dir() else None, partial(source.read, file)))
        else:
            other.append(file.name)
    return items, other


def is_earlier_output(path: Path, root: Path, output: Path) -> bool:
    """Whether a file below `root` is an earlier output: it is in the output folder, which is below `root`, too."""
    root, output, path = root.resolve(), output.resolve(), path.resolve()
    return root in output.parents and output in (path, *path.parents)


def searched_folder(pattern: Path) -> Path:
    """The folder that a pattern searches: its parts before the first * or ?."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def destinations(items: Sequence[Item], output: Path, ending: str) -> list[Path]:
    """The output path of each item: names and folders are kept.

    Args:
        items: the inputs.
        output: a file, if it has a file ending and there is one item; else a folder.
        ending: of all images, like ".png"; default: each image's own if it can be written, else .png.

    Raises:
        ValueError: two inputs would have one output, or the output cannot hold them.
    """
    is_file = not output.is_dir() and output.suffix.lower() in (*STILLS, ".gif", *VIDEOS)
    if is_file:
        check_single(items, output)
    elif output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file, and neither a folder nor a picture: name another with -o")
    paths = []
    for item in items:
        name = PurePosixPath(item.name)
        written = name.suffix if name.suffix.lower() in STILLS else ".png"
        suffix = ".mp4" if item.video else ending or written
        paths.append(output if is_file else output / name.with_suffix(suffix))
    count = Counter(str(path).lower() for path in paths)
    paths = [
        path if count[str(path).lower()] == 1 else path.with_name(PurePosixPath(item.name).name + path.suffix)
        for path, item in zip(paths, items)
    ]
    if shared := [path for path, count in Counter(paths).items() if count > 1]:
        raise ValueError(
            f"several inputs would be written to {shared[0]}: translate them one by one, each to its own output"
        )
    return paths


def check_single(items: Sequence[Item], output: Path) -> None:
    """Refuse one output file for several inputs, or for an input of another kind.

    Raises:
        ValueError: says what to name instead.
    """
    kind = output.suffix.lower()
    if len(items) > 1:
        raise ValueError(f"{len(items)} pictures go in, and {output} is one file: name a folder with -o")
    if items[0].video != (kind in VIDEOS):
        raise ValueError(f"the input is a {'video' if items[0].video else 'picture'}, but {output.name} is not")
    if kind == ".gif":
        raise ValueError(f"pictures are not written as .gif; {output.with_suffix('.png').name} keeps all colours")


def paths_beside(paths: Sequence[Path], kind: str) -> list[Path]:
    """Paths of additional images: a.strip.png beside a.jpg, or a.jpg.strip.png if there is an a.png, too."""
    count = Counter(path.with_suffix("") for path in paths)
    stems = [path.stem if count[path.with_suffix("")] == 1 else path.name for path in paths]
    return [path.with_name(f"{stem}.{kind}.png") for path, stem in zip(paths, stems)]


def refuse(items: Sequence[Item], paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to overwrite inputs, and existing files unless `overwrite`.

    Raises:
        ValueError: naming the first of these files.
    """
    sources = {item.path.resolve() for item in items if item.path is not None}
    if overwritten := [path for path in paths if path.resolve() in sources]:
        raise ValueError(
            f"{shown(overwritten[0])} is an input, and inputs are never overwritten: name another path with -o"
        )
    if not overwrite and (existing := [path for path in paths if path.exists()]):
        more = f" and {len(existing) - 1} more are" if len(existing) > 1 else " is"
        raise ValueError(f"{shown(existing[0])}{more} there already: add --overwrite, or name another place with -o")
