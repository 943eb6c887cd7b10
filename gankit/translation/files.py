"""Which pictures go in and where they come out; reading one to numbers, and writing numbers to one."""

from __future__ import annotations

import difflib
import glob
import io
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import data
from gankit.data.lookup import named
from gankit.data.reading import decoding, files
from gankit.data.reading.endings import ARCHIVES, IMAGES, OPAQUE, VIDEOS, WRITTEN
from gankit.runs.files import replacing
from gankit.text import shown

JPEG = {"quality": 95, "subsampling": 0}


class Item(NamedTuple):
    """A picture or video that goes in.

    Args:
        name: below the input, with "/", as it is kept in the output.
        path: the file itself; None inside an archive.
        read: gives its bytes; raises ValueError saying what is wrong.
    """

    name: str
    path: Path | None
    read: Callable[[], bytes]

    @property
    def video(self) -> bool:
        return self.name.lower().endswith(VIDEOS)


class Picture(NamedTuple):
    """A picture as a network takes it.

    Args:
        image: (1, C, H, W) in [-1, 1].
        alpha: (H, W) uint8 of a picture that has such, kept aside; else None.
        was: how its channels were changed: "grey to colour", "colour to grey" or "".
    """

    image: Tensor
    alpha: np.ndarray | None
    was: str


def find(
    inputs: Sequence[str | Path], output: Path, stack: ExitStack, builtin: Callable[[str], list[Item]] = lambda name: []
) -> tuple[list[Item], list[str]]:
    """What goes in, in order, and the names of files that are neither pictures nor videos.

    Args:
        inputs: pictures, videos, folders (with all below them), zips, tars, or patterns such as "photos/*.jpg".
        output: what lies in it was made before, and does not go in.
        stack: keeps archives open.
        builtin: gives pictures of a built-in data set.

    Raises:
        ValueError: there is no such file, or nothing to be read; says what is near.
    """
    items: list[Item] = []
    other: list[str] = []
    loose: list[Path] = []
    for word in map(str, inputs):
        path = Path(word).expanduser()
        if "\0" in word or not word:
            raise ValueError(f"{shown(word)!r} is no path")
        if not path.exists() and glob.has_magic(word):
            found = sorted(
                p
                for p in map(Path, glob.glob(str(path), recursive=True))
                if p.is_file() and not made(p, plain(path), output)
            )
            if not found:
                raise ValueError(f"no file is like {shown(word)}")
            loose += found
        elif path.is_dir() or path.name.lower().endswith(ARCHIVES):
            below, left = within(path, output, stack)
            items, other = items + below, other + left
        elif path.exists():
            loose.append(path)
        elif word in data.BUILTIN:
            items += builtin(word)
        else:
            beside = [str(path.with_name(p.name)) for p in path.parent.iterdir()] if path.parent.is_dir() else []
            near = difflib.get_close_matches(word, beside, 2)
            raise ValueError(f"there is no {shown(word)}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    loose = list(dict.fromkeys(loose))
    root = Path(os.path.commonpath([p.resolve().parent for p in loose])) if loose else Path()
    for path in loose:
        with named(str(path)), files.open_files(path) as source:
            file, read = source.files[0], source.read
        items.append(
            Item(
                os.path.relpath(path.parent.resolve() / path.name, root).replace(os.sep, "/"),
                path,
                lambda f=file, r=read: r(f),
            )
        )
    if not items:
        raise ValueError(f"there is no picture in {', '.join(map(shown, map(str, inputs)))}")
    return items, other


def within(path: Path, output: Path, stack: ExitStack) -> tuple[list[Item], list[str]]:
    """The pictures and videos below a folder or in an archive, and the names of all else."""
    with named(str(path)):
        source = stack.enter_context(files.open_files(path))
    items, other = [], []
    for file in source.files:
        if path.is_dir() and made(path / file.name, path, output):
            continue
        if file.name.lower().endswith((*IMAGES, *VIDEOS)):
            items.append(Item(file.name, path / file.name if path.is_dir() else None, lambda f=file: source.read(f)))
        else:
            other.append(file.name)
    return items, other


def made(path: Path, root: Path, output: Path) -> bool:
    """Whether a file below `root` was made before: it lies in the output, and that lies below `root`, too."""
    root, output, path = root.resolve(), output.resolve(), path.resolve()
    return root in output.parents and output in (path, *path.parents)


def plain(pattern: Path) -> Path:
    """The folder that a pattern looks in: what stands before its first * or ?."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def destinations(items: Sequence[Item], output: Path, ending: str) -> list[Path]:
    """Where each item comes out: names and folders are kept, in formats that hold what was made.

    Args:
        items: what goes in.
        output: a file, if it ends like one and one item goes in; else a folder.
        ending: of all pictures, like ".png"; their own without it.

    Raises:
        ValueError: an output would replace an input, two inputs would have one output, or the output is of another kind.
    """
    single = not output.is_dir() and output.suffix.lower() in (*WRITTEN, ".gif", *VIDEOS)
    if single and len(items) > 1:
        raise ValueError(f"{len(items)} pictures go in, and {output} is one file: name a folder with -o")
    if output.exists() and not output.is_dir() and not single:
        raise ValueError(f"{output} is a file, and neither a folder nor a picture: name another with -o")
    if single and items[0].video != (output.suffix.lower() in VIDEOS):
        raise ValueError(f"a {'video' if items[0].video else 'picture'} goes in; {output.name} is no name of one")
    if single and output.suffix.lower() == ".gif":
        raise ValueError(f"pictures are not written as .gif; {output.with_suffix('.png').name} keeps all colours")
    paths = []
    for item in items:
        name = PurePosixPath(item.name)
        if item.video:
            path = output if single else output / name.with_suffix(".mp4")
        else:
            path = (
                output
                if single
                else output / name.with_suffix(ending or (name.suffix if name.suffix.lower() in WRITTEN else ".png"))
            )
        paths.append(path)
    count = Counter(str(path).lower() for path in paths)
    paths = [
        path if count[str(path).lower()] == 1 else path.with_name(PurePosixPath(item.name).name + path.suffix)
        for path, item in zip(paths, items)
    ]
    lost = [path for path, count in Counter(paths).items() if count > 1]
    if lost:
        raise ValueError(
            f"several inputs would be written to {lost[0]}: give them one after the other, with an output each"
        )
    return paths


def beside(paths: Sequence[Path], kind: str) -> list[Path]:
    """Where further pictures of a kind go: a.strip.png beside a.jpg, a.jpg.strip.png where there is an a.png, too."""
    count = Counter(path.with_suffix("") for path in paths)
    return [
        path.with_name(f"{path.stem if count[path.with_suffix('')] == 1 else path.name}.{kind}.png") for path in paths
    ]


def refuse(items: Sequence[Item], paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to write over inputs, and over what is there already.

    Raises:
        ValueError: naming the first such file.
    """
    own = {item.path.resolve() for item in items if item.path is not None}
    if eaten := [path for path in paths if path.resolve() in own]:
        raise ValueError(
            f"{shown(str(eaten[0]))} goes in, and inputs are never overwritten: name another place with -o"
        )
    if not overwrite and (there := [path for path in paths if path.exists()]):
        more = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise ValueError(f"{shown(str(there[0]))}{more} there already: add --overwrite, or name another place with -o")


def as_picture(content: bytes, channels: int, size: str = "", background: str = "white") -> Picture:
    """The bytes of a picture file as a network of this many channels takes it.

    Args:
        channels: 1, 3 or 4. Unless the network takes four, alpha is kept aside, and what is wholly transparent gets the background.
        size: the shorter side, "256", or height and width, "256x384"; "" for the picture's own.
        background: "white" or "black".

    Raises:
        ValueError: why it cannot be used (`gankit.data.reading.decoding.Unusable`).
    """
    return from_image(decoding.load(content), channels, size, background)


def from_image(image: Image.Image, channels: int, size: str = "", background: str = "white") -> Picture:
    """The same of a picture that was read: L, RGB or RGBA."""
    image, alpha = resized(image, size), None
    if image.mode == "RGBA" and channels != 4:
        pixels = np.array(image)
        alpha = pixels[:, :, 3]
        pixels[alpha == 0, :3] = 255 if background == "white" else 0
        image = Image.fromarray(pixels[:, :, :3])
        if np.ptp(pixels[:, :, :3], axis=2).max() == 0:
            image = image.convert("L")
    was = {("L", False): "grey to colour", ("RGB", True): "colour to grey"}.get((image.mode, channels == 1), "")
    pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return Picture(as_tensor(pixels), alpha, was)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) uint8 to (1, C, H, W) in [-1, 1]."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return data.normalise(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None])


def encoded(pixels: np.ndarray) -> bytes:
    """(C, H, W) uint8 as the bytes of a .png."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def as_pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] to (H, W) or (H, W, C) uint8; of two or more than four channels the first."""
    pixels = data.quantise(image if len(image) in (1, 3, 4) else image[:1]).permute(1, 2, 0).numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def resized(image: Image.Image, size: str) -> Image.Image:
    """A picture with this shorter side, or of this height and width."""
    if not size:
        return image
    height, width = data.parse_resolution(size)
    if "x" not in size:
        scale = height / min(image.size)
        height, width = (max(1, round(side * scale)) for side in (image.height, image.width))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def save(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None, colours: np.ndarray | None = None) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: its ending says the format. JPEG and BMP hold no alpha: what shows through is white there.
        pixels: (H, W) or (H, W, C) uint8; numbers of classes with `colours`.
        alpha: (H, W) uint8, put back.
        colours: (K, 3) uint8, the palette, for a .png.
    """
    if alpha is not None and pixels.shape[-1] != 4:
        pixels = np.dstack([pixels, alpha])
    image = Image.fromarray(pixels)
    kind = WRITTEN[path.suffix.lower()]
    if colours is not None:
        image.putpalette(colours.astype(np.uint8).tobytes())
    elif image.mode in ("LA", "RGBA") and path.suffix.lower() in OPAQUE:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert(
            image.mode[:-1]
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        image.save(temporary, kind, **(JPEG if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}))
