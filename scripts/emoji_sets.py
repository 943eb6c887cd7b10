"""Sets for every kind of model from emoji that two makers drew: pairs, domains, captions, attributes.

    python scripts/fetch_images.py FOLDER emoji-google emoji-twitter
    python scripts/emoji_sets.py FOLDER

Writes, below FOLDER, pictures of 64 px on white. Every tenth sign, chosen by its name, is in the test part, with all
its variants; signs that look alike (flags, families) can be in both, and gankit then leaves these out of training.

    emoji-pairs/     A and B: the same sign by Google and by Twitter, without skin tones (pix2pix)
    emoji-domains/   trainA, trainB, testA, testB: the same signs, no sign in both domains of training (cyclegan,
                     dualgan, cogan)
    emoji-captions/  Google's signs and metadata.csv with the name of each as its caption (stackgan)
    emoji-people/    Google's signs of people and metadata.csv with skin tone and gender as attributes
    emoji-tones/     the same, with a folder for each of five skin tones as a class (stargan)
    emoji-shades/    the same, and metadata.csv with the skin tone as one number from 0, light, to 1, dark (ganimation)
    emoji-two-tones/ the same, the lightest and the darkest tone as two domains, no sign in both domains of training
                     (cyclegan)
    emoji-words/     the same, and metadata.csv with the name and the tone as a caption; one tone of each sign is in the
                     test part, so that these pairs are never seen together (stackgan)

Folders for the groups of signs, as classes, are what fetch_images.py writes: emoji-google.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TONES = {"1F3FB": "light", "1F3FC": "medium_light", "1F3FD": "medium", "1F3FE": "medium_dark", "1F3FF": "dark"}
MAKERS = ("emoji-google", "emoji-twitter")


class Sign(NamedTuple):
    """A line of emoji.csv: a sign, or its variant in one skin tone or more."""

    file: str
    name: str
    group: str
    tone: str

    @property
    def share(self) -> float:
        """A number from 0 to 1 that depends on the name alone."""
        return int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16) / 16**8

    @property
    def part(self) -> str:
        return "test" if self.share < 0.1 else "train"

    @property
    def step(self) -> int:
        """The skin tone as a number from 0, light, to 4, dark."""
        return list(TONES).index(self.tone)

    @property
    def attributes(self) -> dict[str, int]:
        """One of five skin tones, and whether the name says woman or man."""
        words = self.name.replace(":", " ").split()
        return {name: int(self.tone == code) for code, name in TONES.items()} | {
            word: int(word in words) for word in ("woman", "man")
        }


def read_signs(folder: Path) -> list[Sign]:
    """The signs that both makers drew, in a fixed order.

    Raises:
        SystemExit: the folder lacks what fetch_images.py writes.
    """
    table = folder / "emoji.csv"
    if not all(path.exists() for path in (table, *(folder / maker for maker in MAKERS))):
        raise SystemExit(f"{folder} needs {', '.join(MAKERS)} and emoji.csv: python scripts/fetch_images.py {folder}")
    with table.open(encoding="utf-8", newline="") as file:
        signs = [Sign(row["file"], row["name"], row["group"], row["tone"]) for row in csv.DictReader(file)]
    return sorted(s for s in signs if all((folder / maker / s.group / s.file).is_file() for maker in MAKERS))


def write_set(folder: Path, pictures: dict[str, Path], rows: Sequence[Mapping[str, str | float]]) -> None:
    """Copy pictures to their paths below a new folder, with metadata.csv if there are rows for it."""
    for name, source in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    if rows:
        with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def write_sets(folder: Path) -> None:
    """Write the sets below the folder."""
    signs = read_signs(folder)
    plain = [sign for sign in signs if not sign.tone]
    people = [sign for sign in signs if sign.tone in TONES]

    def drawing(sign: Sign, maker: int = 0) -> Path:
        return folder / MAKERS[maker] / sign.group / sign.file

    def side(sign: Sign) -> int:
        return int(sign.share * 1000 % 1 < 0.5)

    pairs = {f"{'AB'[k]}/{sign.part}/{sign.file}": drawing(sign, k) for sign in plain for k in (0, 1)}
    domains = {f"{sign.part}{'AB'[side(sign)]}/{sign.file}": drawing(sign, side(sign)) for sign in plain}
    write_set(folder / "emoji-pairs", pairs, [])
    write_set(folder / "emoji-domains", domains, [])
    captions = [{"file_name": s.file, "text": s.name, "split": s.part} for s in plain]
    write_set(folder / "emoji-captions", {sign.file: drawing(sign) for sign in plain}, captions)
    write_people(folder, {sign: drawing(sign) for sign in people})


def write_people(folder: Path, drawings: dict[Sign, Path]) -> None:
    """Write the sets of signs of people, with skin tones, below the folder."""
    files = {sign.file: path for sign, path in drawings.items()}
    rows = {sign: dict[str, str | float](file_name=sign.file, split=sign.part) for sign in drawings}
    write_set(folder / "emoji-people", files, [row | sign.attributes for sign, row in rows.items()])
    write_set(folder / "emoji-shades", files, [row | {"tone": sign.step / 4} for sign, row in rows.items()])
    tones = {f"{s.part}/{s.step + 1}-{TONES[s.tone]}/{s.file}": path for s, path in drawings.items()}
    write_set(folder / "emoji-tones", tones, [])
    ends = {  # a sign of the training part is in one domain, one of the test part in both
        f"{sign.part}{'AB'[sign.step // 4]}/{sign.file}": path
        for sign, path in drawings.items()
        if sign.step == 4 * int(sign.share * 1000 % 1 < 0.5) or (sign.part == "test" and sign.step in (0, 4))
    }
    write_set(folder / "emoji-two-tones", ends, [])
    words = [
        row
        | {
            "text": f"{sign.name} {TONES[sign.tone].replace('_', ' ')} skin tone",
            "split": "test" if sign.step == int(sign.share * 10_000) % 5 else "train",
        }
        for sign, row in rows.items()
    ]
    write_set(folder / "emoji-words", files, words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where fetch_images.py has written")
    write_sets(parser.parse_args().folder)


if __name__ == "__main__":
    main()
