"""Sets made from the digits, clothes, emoji and photographs at hand, for models that need domains, masks or anomalies.

    python scripts/fetch_images.py FOLDER mnist fashion-mnist emoji-google
    python scripts/derived_sets.py FOLDER

Writes, below FOLDER:

    mnist-edges/     digits/ and edges/: one half of MNIST, and the edges of the other half (cogan, dualgan). Test image
                     i of edges/ is made from test image i of digits/
    trousers/        good/, 6,000 trousers of Fashion-MNIST without defects, and damaged/, 400 held-out ones of which
                     every second has a scratch, a stain, a hole or a turned square, with its pixels in masks/
                     (f_anogan, anogan)
    emoji-scenes/    images/ and masks/ of 64 px: one to three emoji of any size on a patch of a photograph; the masks
                     are 1 where an emoji is (unet). Signs of the test part are in no image of the training part, and
                     the photographs' left 60 % are for training, their right 40 % for testing
    styles/          3,000 patches of 64 px of photographs, at random scales and in random colours (adain). The
                     photographs flower, cat, coins and astronaut, on which benchmarks/quality.py measures, are not used
"""

from __future__ import annotations

import argparse
import hashlib
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gankit import data
from gankit.data.builtin.defects import DRAW, KINDS

TROUSERS = 1  # its label in Fashion-MNIST
SIDE, SCENES = 64, {"train": 2000, "test": 200}
STYLES = ("china", "coffee", "rocket", "hubble", "camera", "moon")
PHOTOS = ("china", "flower", "coffee", "astronaut", "rocket", "cat", "hubble", "moon")


def whole(name: str) -> Image.Image:
    """A built-in photograph in three channels."""
    pixels = data.open(f"photo:{name}:whole").rows(np.arange(1))["real"][0].permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.squeeze()).convert("RGB")


def cropped(photo: Image.Image, random: np.random.Generator, least: int, most: int) -> Image.Image:
    """A random square of a photograph, of least to most pixels, resized to SIDE."""
    side = int(random.integers(least, min(most, *photo.size) + 1))
    x, y = (int(random.integers(length - side + 1)) for length in photo.size)
    return photo.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def read_idx(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The (N, H, W) images and (N,) labels of a part, train or t10k."""
    images, labels = (folder / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    height, width = struct.unpack(">II", images.read_bytes()[8:16])
    pixels = np.frombuffer(images.read_bytes(), np.uint8, offset=16).reshape(-1, height, width)
    return pixels, np.frombuffer(labels.read_bytes(), np.uint8, offset=8)


def write_idx(folder: Path, part: str, images: np.ndarray) -> None:
    """Write (N, H, W) images without labels as an IDX file."""
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB3I", 0, 8, 3, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())


def edges(images: np.ndarray) -> np.ndarray:
    """(N, H, W) images: their dilation by 3x3 minus themselves."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    height, width = images.shape[1:]
    dilated = np.max([wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    return dilated - images


def write_edges(folder: Path) -> None:
    """Write mnist-edges."""
    (train, _), (test, _) = (read_idx(folder / "mnist", part) for part in ("train", "t10k"))
    half = len(train) // 2
    write_idx(folder / "mnist-edges/digits", "train", train[:half])
    write_idx(folder / "mnist-edges/edges", "train", edges(train[half:]))
    write_idx(folder / "mnist-edges/digits", "t10k", test)
    write_idx(folder / "mnist-edges/edges", "t10k", edges(test))


def write_trousers(folder: Path, count: int = 400) -> None:
    """Write trousers, with the defects of gankit's textures."""
    (train, kinds), (test, others) = (read_idx(folder / "fashion-mnist", part) for part in ("train", "t10k"))
    write_idx(folder / "trousers/good", "train", train[kinds == TROUSERS])
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "trousers/damaged" / name).mkdir(parents=True, exist_ok=True)
    for i, normal in enumerate(test[others == TROUSERS][:count]):
        image, mask = normal, np.zeros_like(normal)
        while i % 2 and mask.sum() < 8:  # a defect changes at least 8 pixels
            image, mask = DRAW[KINDS[i // 2 % len(KINDS)]](normal, random.random(8))
            mask *= np.abs(image.astype(int) - normal) > 16
        Image.fromarray(image).save(folder / f"trousers/damaged/images/{i:03d}.png")
        Image.fromarray(mask).save(folder / f"trousers/damaged/masks/{i:03d}.png")


def cut_out(path: Path) -> tuple[Image.Image, Image.Image]:
    """An emoji that is drawn on white, and its mask: all but the white that touches the picture's edge."""
    emoji = Image.open(path).convert("RGB")
    framed = Image.new("RGB", (emoji.width + 2, emoji.height + 2), "white")
    framed.paste(emoji, (1, 1))
    outside = (255, 0, 254)  # a colour that no emoji has
    ImageDraw.floodfill(framed, (0, 0), outside, thresh=40)
    inside = (np.asarray(framed)[1:-1, 1:-1] != outside).any(2)
    return emoji, Image.fromarray(inside.astype(np.uint8) * 255)


def part_of(path: Path) -> str:
    """The part of a sign, by its name up to a skin tone: every tenth is for testing."""
    name = path.stem.split("-")[0]
    return "test" if int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 == 0 else "train"


def write_scenes(folder: Path) -> None:
    """Write emoji-scenes."""
    random, root = np.random.default_rng(0), folder / "emoji-scenes"
    for part, count in SCENES.items():
        signs = [path for path in sorted((folder / "emoji-google").glob("*/*.png")) if part_of(path) == part]
        photos = [half(whole(name), part) for name in PHOTOS]
        for name in ("images", "masks"):
            (root / part / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            scene, mask = one_scene(photos, signs, random)
            scene.save(root / part / f"images/{i:04d}.png")
            mask.save(root / part / f"masks/{i:04d}.png")
    (root / "classes.txt").write_text("background\nemoji\n")


def half(photo: Image.Image, part: str) -> Image.Image:
    """The left 60 % of a photograph for training, the rest for testing."""
    middle = photo.width * 6 // 10
    return photo.crop((0, 0, middle, photo.height) if part == "train" else (middle, 0, photo.width, photo.height))


def one_scene(
    photos: list[Image.Image], signs: list[Path], random: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    """One to three emoji on a patch of a photograph, and the class of each pixel."""
    scene = cropped(photos[random.integers(len(photos))], random, 2 * SIDE, 5 * SIDE)
    mask = Image.new("L", scene.size)
    for _ in range(random.integers(1, 4)):
        emoji, inside = cut_out(signs[random.integers(len(signs))])
        size = int(random.integers(20, 41))
        place = tuple(int(v) for v in random.integers(-4, SIDE - size + 5, 2))
        emoji, inside = (picture.resize((size, size), Image.Resampling.BOX) for picture in (emoji, inside))
        scene.paste(emoji, place, inside)
        mask.paste(1, place, inside.point(lambda cover: 255 * (cover > 127)))
    return scene, mask


def write_styles(folder: Path, count: int = 3000) -> None:
    """Write styles."""
    random = np.random.default_rng(0)
    photos = [whole(name) for name in STYLES]
    textures = data.open("textures", 512).rows(np.arange(3))["real"]  # the window is the whole picture
    photos += [Image.fromarray(texture[0].numpy()).convert("RGB") for texture in textures]
    (folder / "styles").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        patch = np.asarray(cropped(photos[i % len(photos)], random, SIDE, 4 * SIDE)) / 127.5 - 1
        gain, shift = random.uniform(0.4, 1.3, 3), random.uniform(-0.4, 0.4, 3)
        patch = patch[..., random.permutation(3)] * gain * random.choice([1, 1, -1]) + shift
        colours = ((patch.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
        Image.fromarray(colours).save(folder / f"styles/{i:04d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where fetch_images.py has written")
    folder = parser.parse_args().folder
    write_edges(folder)
    write_trousers(folder)
    write_scenes(folder)
    write_styles(folder)


if __name__ == "__main__":
    main()
