"""Files of images and metadata for tests: encoded, written to folders, and read back."""

import csv
import io
import json
import os

import numpy as np
import torch
from PIL import Image

from gankit.data.reading import cache

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)
CLASSES = np.random.default_rng(1).integers(3, size=(8, 12)).astype(np.uint8)
VOID = np.where(np.arange(12) < 2, 255, CLASSES).astype(np.uint8)
COLOURS = [(0, 0, 0), (10, 20, 30), (200, 100, 0)]


def encoded(array, form="PNG", **options):
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, form, **options)
    return buffer.getvalue()


def put(root, **contents):
    """Write files; a__b.png is a/b.png."""
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def fill(root, n=6, size=(8, 8), folders=("cat", "dog")):
    """n random colour PNGs in each of the folders; returns their pixels in order."""
    rows = []
    for name in folders:
        for i in range(n):
            pixels = RNG.integers(0, 256, (*size, 3), np.uint8)
            path = root / name / f"{i:03}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels).save(path)
            rows.append(pixels.transpose(2, 0, 1))
    return np.stack(rows)


def rows(dataset):
    return dataset.read(np.arange(len(dataset)))


def with_table(root, rows, form="csv", n=4):
    fill(root, n, folders=("all",))
    for i in range(n):
        os.rename(root / "all" / f"{i:03}.png", root / f"{i}.png")
    (root / "all").rmdir()
    if form == "csv":
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, dict.fromkeys(key for row in rows for key in row))
        table.writeheader()
        table.writerows(rows)
        (root / "metadata.csv").write_text("\ufeff" + text.getvalue(), "utf-8")
    elif form == "jsonl":
        (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        (root / "dataset.json").write_text(json.dumps({"labels": [[row["file_name"], row["label"]] for row in rows]}))


def bomb(side):
    """A PNG of a few kilobytes that claims side x side pixels."""
    return encoded(Image.new("1", (side, side)))


def prepared():
    return sorted(p.name for p in cache.location().iterdir() if p.name not in ("locks", "seen"))


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def sides(dataset):
    numbers = np.arange(len(dataset))
    return dataset.a.read(numbers), dataset.b.read(numbers)


def indexed(path, classes, colours=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(classes)
    if colours is not None:
        image.putpalette(np.asarray(colours, np.uint8).tobytes())
    image.save(path)
    return classes


def labelled(root, maps, images="images", masks="masks"):
    """A folder of images and maps, which are arrays, or (array, palette). Held-out parts have images of their own."""
    held_out = 1000 * (root.name in ("test", "val") or images.endswith(("test", "val")))
    for i, one in enumerate(maps):
        classes, colours = one if isinstance(one, tuple) else (one, None)
        picture(root / images / f"{i}.jpg", noise(*classes.shape[:2], 3, seed=i + held_out))
        indexed(root / masks / f"{i}.png", classes, colours)
    return root


def read_maps(dataset):
    return dataset.masks(np.arange(len(dataset)))


def faces(root, count=6, ending="png"):
    for i in range(count):
        picture(root / f"{i:06}.{ending}", noise(8, 8, 3, seed=i))
    return root


SIGNS = np.where(np.random.default_rng(3).random((9, 3)) < 0.5, 1, -1)
NAMES = ["Black_Hair", "Male", "Young"]


def celeba(path, signs=SIGNS, ending="jpg", head=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i:06}.{ending}  " + " ".join(f"{v:2d}" for v in row) for i, row in enumerate(signs)]
    path.write_text("\n".join([head or str(len(signs)), " ".join(NAMES) + " ", *lines]) + "\n")


def joined(stream, n):
    rows = [next(stream) for _ in range(n)]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
