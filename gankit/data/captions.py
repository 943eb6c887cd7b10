"""Captions of images as codes of characters or as vectors; and for each caption an image that does not match it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gankit.data import draws
from gankit.data.reading import embedding
from gankit.text import shown

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} "
BLANK, UNKNOWN = 0, 1  # codes of padding and of characters outside LETTERS, whose codes begin at 2
CODES = len(LETTERS) + 2
LONGEST = 201  # characters of a caption in Reed et al. 2016; longer ones are truncated
MOST_BYTES = 2**20  # of a .txt with captions
HOW = (
    "Captions are a .txt beside each image with the image's name, one caption per line; "
    "or a table with the columns file_name and text, such as metadata.csv, also one caption per line; "
    "or any file or folder of texts that --captions names"
)
WHICH, WRONG = 3, 4  # purposes of random numbers; the stream uses 1 and 2
ALIKE = str.maketrans(
    "\u2018\u2019\u201b\u2032\u201c\u201d\u201e\u2033\u00ab\u00bb\u2010\u2011\u2012\u2013\u2014\u2212",
    '\'\'\'\'""""""------',
)
_CODES = np.full(128, UNKNOWN, np.int64)
_CODES[[ord(letter) for letter in LETTERS]] = np.arange(2, CODES)


def plain(text: str) -> str:
    """A text in lower case without accents, with one space between words."""
    apart = unicodedata.normalize("NFKD", text.translate(ALIKE).casefold())
    return " ".join("".join(c for c in apart if not unicodedata.combining(c)).split())


def lines(text: str) -> list[str]:
    """The captions in a text, one per line, each as `plain` gives it; without empty lines."""
    return [caption for caption in map(plain, text.splitlines()) if caption]


def encode(texts: Sequence[str], length: int = LONGEST) -> Tensor:
    """K texts to (K, length) int64 codes of characters, truncated or padded with 0; case and accents are ignored."""
    codes = np.zeros((len(texts), length), np.int64)
    for row, text in zip(codes, texts):
        points = np.array([ord(letter) for letter in plain(text)[:length]], np.int64)
        row[: len(points)] = np.where(points < 128, _CODES[np.minimum(points, 127)], UNKNOWN)
    return torch.from_numpy(codes)


def decode(codes: Tensor) -> list[str]:
    """(K, length) codes to texts; "?" for characters of other alphabets."""
    table = "\0?" + LETTERS
    return ["".join(table[code] for code in row if code).strip() for row in codes.tolist()]


def flaws(texts: Iterable[str], length: int = LONGEST) -> list[str]:
    """Warnings about what encoding loses: the end of long texts, and characters of other alphabets."""
    texts = [plain(text) for text in texts]
    alphabet = set(LETTERS)
    longer = [len(text) for text in texts if len(text) > length]
    unknown_shares = [sum(letter not in alphabet for letter in text[:length]) / max(1, len(text)) for text in texts]
    notes = []
    if longer:
        notes.append(
            f"{len(longer):,} of {len(texts):,} captions are longer than {length} characters "
            f"(the longest has {max(longer):,}); the rest of them is not read."
        )
    if partly := sum(share > 0 for share in unknown_shares):
        mostly = sum(share > 0.5 for share in unknown_shares)
        advice = f"; in {mostly:,} of them most characters are unknown: translate these to the Latin alphabet"
        notes.append(
            f"{partly:,} of {len(texts):,} captions have characters other than a-z, 0-9 and punctuation; "
            f"each is read as one unknown character{advice * (mostly > 0)}."
        )
    return notes


class Captions:
    """The captions of N images.

    Args:
        each: the captions of each image, as `lines` gives them; at least one for each.
        encoder: encodes texts as vectors; default: codes of characters.

    Attributes:
        length: of the codes: characters of the longest caption, rounded up to a multiple of 8, 201 at most.
    """

    def __init__(self, each: Sequence[list[str]], encoder: embedding.Encoder | None = None):
        numbers: dict[str, int] = {}
        flat = [numbers.setdefault(caption, len(numbers)) for texts in each for caption in texts]
        self.ends = np.cumsum([len(texts) for texts in each])
        self.flat = np.array(flat, np.int64)  # for each image in turn, the numbers of its captions
        self.distinct = list(numbers)
        self.length = min(LONGEST, -(-max(map(len, numbers)) // 8) * 8)
        codes = np.concatenate(
            [encode(self.distinct[i : i + 1000], self.length).numpy() for i in range(0, len(numbers), 1000)]
        )
        self.codes = codes.astype(np.uint8)  # all 71 codes fit; saves memory
        self.vectors = None if encoder is None else embedding.vectors(encoder, self.distinct)

    @property
    def shape(self) -> tuple[int, int]:
        """(characters of a caption, number of codes), or (length of its vector, 0)."""
        return (self.length, CODES) if self.vectors is None else (self.vectors.shape[1], 0)

    def of(self, number: int) -> np.ndarray:
        """The numbers of an image's captions in `distinct`."""
        return self.flat[self.ends[number - 1] if number else 0 : self.ends[number]]

    def rows(
        self, numbers: np.ndarray, positions: np.ndarray, seed: int, read: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, Tensor]:
        """A caption for each image (n,) at these positions of a stream, and an image that does not match it.

        Both choices depend only on the position and the seed.

        Returns:
            "caption" (n, length) int64 or (n, D) float32, and "wrong" (n, C, H, W).
        """
        begin = np.where(numbers > 0, self.ends[numbers - 1], 0)
        count = self.ends[numbers] - begin
        chosen = self.flat[begin + (draws.uniform(seed, WHICH, positions) * count).astype(np.int64)]
        caption = torch.from_numpy(
            self.codes[chosen].astype(np.int64) if self.vectors is None else self.vectors[chosen]
        )
        return {"caption": caption, "wrong": torch.from_numpy(read(self.wrong(chosen, numbers, positions, seed)))}

    def wrong(self, chosen: np.ndarray, numbers: np.ndarray, positions: np.ndarray, seed: int) -> np.ndarray:
        """(n,) numbers of images without the chosen caption; of any other image if all have that caption."""
        size, wrong = len(self.ends), np.empty_like(numbers)
        for i, (text, number, position) in enumerate(zip(chosen.tolist(), numbers.tolist(), positions.tolist())):
            first = int(draws.choice(size, seed, WRONG, position)[0])
            others = ((first + step) % size for step in range(size))
            wrong[i] = next((j for j in others if text not in self.of(j)), (number + 1) % size)
        return wrong


def missing(name: str, bad: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """The file that is at fault where an image has no caption, and the reason; `bad` as of `Dataset.bad_texts`."""
    if name not in bad:
        return shown(name), "has no caption"
    file, reason = bad[name]
    return file, f"{reason}: save it as UTF-8" if "UTF-8" in reason else reason


def text_of(data: bytes | None) -> str:
    """The text in the bytes of a file; None stands for a file above MOST_BYTES.

    Raises:
        ValueError: it is too large or not text in UTF-8.
    """
    if data is None:
        raise ValueError(f"holds more than {MOST_BYTES >> 20} MB, which is no caption")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise ValueError("is no text in UTF-8: it holds a byte 0")
    return text
