"""What a data set holds, to look at before anything trains: numbers and a contact sheet."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gankit.data import files, images
from gankit.data.domains import Domains, split
from gankit.data.folder import each, know, survey
from gankit.data.lookup import find, named, open, parse_resolution
from gankit.data.stream import Dataset


@dataclass
class Report:
    """What would be read; `print` it, or take it apart.

    Args:
        name: as typed.
        kind: "images", "points", "vectors" or "domains".
        count: usable samples.
        shape: of each as it would be read; None while a resolution must be chosen.
        bytes: of the files.
        sizes: how many images of each height x width.
        modes: how many of each of Pillow's modes.
        classes: how many of each class.
        captions: how many texts.
        attribute_names: numbers known of each.
        bad: unusable files with the reason.
        copies: names of files that are equal.
        warnings: in plain sentences.
        title: what the classes are.
    """

    name: str
    kind: str
    count: int
    shape: tuple[int, ...] | None
    bytes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    captions: int = 0
    attribute_names: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    copies: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    title: str = "classes"

    def __str__(self) -> str:
        kind = "images of two domains" if self.kind == "domains" else self.kind
        lines = [
            f"{files.shown(self.name)}: {self.count:,} {kind}"
            + f", {_megabytes(self.bytes)} of files" * (self.bytes > 0)
        ]
        for title, counts in (("height x width", self.sizes), ("modes", self.modes), (self.title, self.classes)):
            if counts:
                some = ", ".join(f"{name} ({n:,})" for name, n in list(counts.items())[:12])
                lines.append(f"  {title}: {some}" + f" and {len(counts) - 12} more" * (len(counts) > 12))
        if self.captions:
            lines.append(f"  captions: {self.captions:,}")
        if self.attribute_names:
            lines.append(f"  attributes: {', '.join(self.attribute_names)}")
        if self.shape:
            size = self.count * int(np.prod(self.shape)) * (1 if self.kind in ("images", "domains") else 4)
            lines.append(f"  read as: {' x '.join(map(str, self.shape))} each, {_megabytes(size)} in all")
        lines += [f"  cannot be used: {name}: {reason}" for name, reason in self.bad]
        lines += [f"  copies: {', '.join(names)}" for names in self.copies[:20]]
        lines += [f"  {len(self.copies) - 20} more sets of copies"] * (len(self.copies) > 20)
        return "\n".join(lines + [f"  note: {warning}" for warning in self.warnings])


def describe(name: str | Path, resolution: int | str | None = None, alpha: str = "white") -> Report:
    """Look at all of a data set, decoding every image; unusable files are listed, not raised.

    Raises:
        ValueError: there is no such data, or nothing in it can be read.
        OSError: it cannot be read.
    """
    path, size = find(name), parse_resolution(resolution)
    if parts := split(name):
        return _together(str(name), [describe(part, resolution, alpha) for part in parts])
    if path is None or (path.suffix.lower() == ".npz" and path.is_file()):
        dataset = open(name, resolution)
        if isinstance(dataset, Domains):
            counts = {"A": len(dataset.a), "B": len(dataset.b)}
            return Report(str(name), dataset.kind, len(dataset), dataset.shape, classes=counts, title="domains")
        counts = Counter() if dataset.labels is None else Counter(dataset.labels.tolist())
        return Report(
            name=str(name),
            kind=dataset.kind,
            count=len(dataset),
            shape=dataset.shape,
            bytes=os.path.getsize(path) if path else 0,
            classes={title: counts[i] for i, title in enumerate(dataset.class_names)},
            captions=len(dataset.captions or []),
            attribute_names=dataset.attribute_names,
        )
    with named(name), files.opened(path) as source:
        seen = survey(source)
        decoded = [reason for _, reason in each(source.read, [image.file for image in seen.images], _flaw, "decoding")]
    good = [image.name for image, flaw in zip(seen.images, decoded) if not flaw]
    bad = seen.bad + [(files.shown(image.file.name), flaw) for image, flaw in zip(seen.images, decoded) if flaw]
    notes = list(seen.warnings)
    try:
        shape = seen.shape(size, alpha)
    except ValueError as error:
        shape = None
        notes.append(str(error))
    known = know(seen, good)
    counts = Counter(known.labels)
    return Report(
        name=str(name),
        kind="images",
        count=len(good),
        shape=shape,
        bytes=sum(image.file.size for image in seen.images),
        sizes={f"{h}x{w}": n for (h, w), n in seen.sizes().most_common()},
        modes=dict(Counter(image.header.mode for image in seen.images).most_common()),
        classes={title: counts[i] for i, title in enumerate(known.class_names)},
        captions=len(known.captions),
        attribute_names=known.attribute_names,
        bad=bad,
        copies=seen.copies(),
        warnings=notes + known.warnings,
    )


def contact_sheet(dataset: Dataset | Domains, path: Path, count: int = 100) -> None:
    """Write the first images of the stream side by side as a PNG, ten in a row; of two domains half of each, a row of A first.

    Raises:
        ValueError: it holds no images.
    """
    if dataset.kind not in ("images", "domains"):
        raise ValueError(f"{dataset.name} holds {dataset.kind}: there is nothing to lay out on a contact sheet")
    if isinstance(dataset, Domains):
        rows = next(dataset.stream(0, max(10, count // 20 * 10)))
        channels = max(dataset.shape[0], dataset.other[0])
        a, b = (_channels(rows[domain], channels).unflatten(0, (-1, 10)) for domain in ("a", "b"))
        pixels = torch.stack([a, b], 1).flatten(0, 2)
    else:
        pixels = next(dataset.stream(0, min(count, len(dataset))))["real"]
    pixels = pixels.permute(0, 2, 3, 1).numpy()
    height, width = pixels.shape[1:3]
    scale = max(1, 64 // max(height, width)) if max(height, width) < 128 else 128 / max(height, width)
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[3]]
    sheet = Image.new(mode, (10 * (cell[0] + 2), -(-len(pixels) // 10) * (cell[1] + 2)), "white")
    for i, picture in enumerate(pixels):
        image = Image.fromarray(picture[:, :, 0] if mode == "L" else picture)
        small = image.resize(cell, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
        sheet.paste(small, (i % 10 * (cell[0] + 2) + 1, i // 10 * (cell[1] + 2) + 1))
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    try:
        sheet.save(temporary, "PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _together(name: str, parts: list[Report]) -> Report:
    """What is known of two domains, as of one data set."""
    sizes, modes, bad, copies, notes = Counter(), Counter(), [], [], []
    for title, part in zip("AB", parts):
        sizes.update(part.sizes)
        modes.update(part.modes)
        bad += [(f"{title}: {file}", reason) for file, reason in part.bad]
        copies += part.copies
        notes += [f"{title}: {warning}" for warning in part.warnings]
    return Report(
        name=name,
        kind="domains",
        count=sum(part.count for part in parts),
        shape=parts[0].shape,
        bytes=sum(part.bytes for part in parts),
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        classes={title: part.count for title, part in zip("AB", parts)},
        bad=bad,
        copies=copies,
        warnings=notes,
        title="domains",
    )


def _channels(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """(N, C, H, W) uint8 with `count` channels: grey in each of three, an opaque fourth."""
    pixels = pixels.expand(-1, min(count, 3), -1, -1) if pixels.shape[1] == 1 else pixels
    opaque = torch.full_like(pixels[:, :1], 255).expand(-1, count - pixels.shape[1], -1, -1)
    return torch.cat([pixels, opaque], 1)


def _flaw(file: files.File, data: bytes) -> str:
    images.load(data)
    return ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
