"""The meaning of folder names: parts of a data set, the two sides of domains and pairs, and label maps."""

from __future__ import annotations

import re
from typing import NamedTuple

PARTS = {  # words for each part, in lower case
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    "unlabeled": ("unlabeled", "unlabelled"),
    "extra": ("extra",),
}
IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
MAPS = (
    "masks", "mask", "labels", "label", "annotations", "ground_truth", "groundtruth", "gt", "gtfine", "gtcoarse",
    "segmentationclass", "segmentationobject", "trimaps", "segmentations", "segmentation",
)  # fmt: skip
WORDS = {word: part for part, words in PARTS.items() for word in words}
_PART = "|".join(sorted(WORDS, key=len, reverse=True))
_SIDE = r"images?|imgs?|masks?|labels?|annotations?|(?-i:[AB])"
PART_FIRST = re.compile(rf"({_PART})(?:[_\- ]?(?:set|data))?(?:[_\- ]?\d{{2,4}})?(?:[_\- ]?({_SIDE}))?", re.I)
SIDE_FIRST = re.compile(rf"({_SIDE})(?:[_\-](tr|ts|{_PART})|((?-i:Tr|Ts)|{_PART}))(?:[_\- ]?\d{{2,4}})?", re.I)


class Meaning(NamedTuple):
    """The part that a folder stands for, and its side within the part, such as "A" or "masks"; "" for all of it."""

    part: str
    side: str


def split_name(folder: str) -> Meaning | None:
    """The part in a folder's name: train2017, Val, trainA, train_masks, imagesTr; None for other names."""
    if match := PART_FIRST.fullmatch(folder):
        return Meaning(WORDS[match[1].lower()], match[2] or "")
    if match := SIDE_FIRST.fullmatch(folder):
        word = (match[2] or match[3]).lower()
        return Meaning({"tr": "train", "ts": "test"}.get(word) or WORDS[word], match[1])
    return None


def part_of(word: str) -> str:
    """The part that a word stands for, or ""."""
    meaning = split_name(word)
    return meaning.part if meaning and not meaning.side else ""


def is_map_folder(folder: str) -> bool:
    """Whether a folder holds label maps by its name: masks, ground_truth, train_masks, gtFine."""
    meaning = split_name(folder)
    name = (meaning.side if meaning else folder).lower()
    return name in MAPS or name.endswith(("_mask", "_masks"))


def is_parted(folder: str) -> bool:
    """Whether a folder's name stands for a part of a data set (train, A, images), not for the data set."""
    return folder in ("A", "B") or folder.lower() in {*IMAGES, *MAPS} or split_name(folder) is not None
