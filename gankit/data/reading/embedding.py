"""Vectors of texts by the user's encoder: a folder with a sentence-transformers model, or a table of vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data.reading import arrays, cache, sentences
from gankit.data.reading.endings import ARRAYS
from gankit.data.reading.rows import Rows
from gankit.text import shown

HOW = (
    "--text-encoder takes the folder of a sentence-transformers model, or a .npz with `text` (N,), "
    "an array of strings, and `vector` (N, D) floats; default: an encoder trained on the captions"
)


class Encoder(NamedTuple):
    """An encoder of texts.

    Args:
        fingerprint: hash of its files.
        encode: K texts to (K, D) float32; raises ValueError for unknown texts.
    """

    fingerprint: str
    encode: Callable[[Sequence[str]], np.ndarray]


def open_encoder(name: str, plain: Callable[[str], str]) -> Encoder:
    """Open the encoder in a folder or file.

    Args:
        name: the path.
        plain: normalises texts before they are looked up in a table.

    Raises:
        ValueError: there is no encoder, or sentence-transformers is not installed.
    """
    if not name:
        raise ValueError(f"no text encoder is named: type --text-encoder PATH. {HOW}")
    path = Path(name).expanduser()
    if path.suffix.lower() == ARRAYS and path.exists():
        return _table(path, plain)
    if not path.is_dir():
        raise ValueError(f"there is no text encoder {shown(name)!r}. {HOW}")
    try:
        fingerprint = sentences.check(path)
    except ValueError as error:
        raise ValueError(f"{shown(name)} {error}") from error
    loaded: list[Callable[[Sequence[str]], np.ndarray]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        if not loaded:
            loaded.append(sentences.load(path, fingerprint))
        return loaded[0](texts)

    return Encoder(fingerprint, encode)


def vectors(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Vectors (K, D) float32 of K texts, computed once and stored in the cache.

    Raises:
        ValueError: the encoder does not know a text, or returns numbers that are not finite.
    """

    def build(file: Path) -> dict:
        encoded = checked(encoder, texts)
        file.write_bytes(encoded.tobytes())
        return {"count": len(texts), "parts": [4 * encoded.shape[1]]}

    def again() -> cache.Prepared:
        return cache.prepare(cache.key("texts", encoder.fingerprint, *texts), build)

    rows = Rows(again(), again, "the text encoder", keep=False)
    return rows.of((rows.parts[0] // 4,), dtype=np.float32)(np.arange(len(texts)))


def checked(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Vectors (K, D) float32 of K texts, without the cache; raises as `vectors`."""
    encoded = np.ascontiguousarray(encoder.encode(texts), np.float32)
    if encoded.ndim != 2 or encoded.shape[0] != len(texts) or not encoded.shape[1] or not np.isfinite(encoded).all():
        raise ValueError(
            f"the text encoder returned {encoded.shape} for {len(texts)} texts; "
            "one vector of finite numbers is expected for each"
        )
    return encoded


def _table(path: Path, plain: Callable[[str], str]) -> Encoder:
    try:
        with arrays.open_npz(path) as file:
            summary, digest, content = str(file), file.sha256(), file.read(("text", "vector"))
    except ValueError as error:
        raise ValueError(f"{shown(str(path))} cannot be used: {error}. {HOW}") from error
    text, vector = content.get("text", np.zeros(())), content.get("vector", np.zeros(()))
    has_texts = text.ndim == 1 and text.dtype.kind == "U"
    if not has_texts or vector.ndim != 2 or vector.shape[:1] != text.shape or vector.dtype.kind != "f":
        raise ValueError(f"{shown(str(path))} holds {summary}. {HOW}")
    places = {plain(entry): i for i, entry in enumerate(text.tolist())}

    def encode(texts: Sequence[str]) -> np.ndarray:
        if missing := [text for text in texts if plain(text) not in places]:
            raise ValueError(
                f"{shown(str(path))} has no vector of {shown(missing[0][:80])!r} "
                f"and {len(missing) - 1} other texts; add them to it"
            )
        return vector[[places[plain(text)] for text in texts]]

    return Encoder(cache.key("table", digest), encode)
