"""Texts to vectors by an encoder that the user has: a sentence-transformers model in a folder, or a table of vectors."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data import arrays, cache
from gankit.data.files import shown
from gankit.data.rows import Rows

HOW = (
    "--text-encoder takes the folder of a sentence-transformers model, or a .npz with `text` (N,), an array of strings, and `vector` "
    "(N, D) floats; without it an encoder is learnt from the captions"
)


class Encoder(NamedTuple):
    """What makes vectors of texts.

    Args:
        fingerprint: hash of what it is made of.
        encode: K texts to (K, D) float32; raises ValueError for texts that it does not know.
    """

    fingerprint: str
    encode: Callable[[Sequence[str]], np.ndarray]


def open_encoder(name: str, plain: Callable[[str], str]) -> Encoder:
    """The encoder in a folder or file.

    Args:
        name: its path.
        plain: makes texts equal that mean the same to a table.

    Raises:
        ValueError: it is none, or sentence-transformers is not installed.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() == ".npz" and path.is_file():
        return _table(path, plain)
    if not name or not path.is_dir():
        raise ValueError(f"there is no text encoder {shown(name)!r}. {HOW}")
    if not (path / "modules.json").is_file():
        raise ValueError(f"{shown(name)} holds no modules.json, so it is no sentence-transformers model. {HOW}")
    files = sorted(p for p in path.rglob("*") if p.is_file())
    marks = [(str(p.relative_to(path)), p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    loaded: list[Callable[[Sequence[str]], np.ndarray]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        if not loaded:
            loaded.append(_sentences(path))
        return loaded[0](texts)

    return Encoder(cache.key("sentence-transformers", *marks), encode)


def vectors(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """(K, D) float32 of K texts, made once and kept in the cache.

    Raises:
        ValueError: the encoder does not know a text, or gives numbers that are not finite.
    """

    def build(file: Path) -> dict:
        found = checked(encoder, texts)
        file.write_bytes(found.tobytes())
        return {"count": len(texts), "parts": [4 * found.shape[1]]}

    def again() -> cache.Prepared:
        return cache.prepare(cache.key("texts", encoder.fingerprint, *texts), build)

    rows = Rows(again(), again, "the text encoder")
    return rows.of((rows.parts[0] // 4,), dtype=np.float32)(np.arange(len(texts)))


def checked(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """(K, D) float32 of K texts, made now; errors as of `vectors`."""
    found = np.ascontiguousarray(encoder.encode(texts), np.float32)
    if found.ndim != 2 or found.shape[0] != len(texts) or not found.shape[1] or not np.isfinite(found).all():
        raise ValueError(f"the text encoder made {found.shape} of {len(texts)} texts; it is to make a vector of finite numbers of each")
    return found


def _table(path: Path, plain: Callable[[str], str]) -> Encoder:
    try:
        with arrays.opened(path) as file:
            found, digest, known = str(file), file.sha256(), file.read(("text", "vector"))
    except ValueError as error:
        raise ValueError(f"{shown(str(path))} cannot be used: {error}. {HOW}") from error
    text, vector = known.get("text", np.zeros(())), known.get("vector", np.zeros(()))
    if text.ndim != 1 or text.dtype.kind != "U" or vector.shape[:1] != text.shape or vector.ndim != 2 or vector.dtype.kind != "f":
        raise ValueError(f"{shown(str(path))} holds {found}. {HOW}")
    places = {plain(one): i for i, one in enumerate(text.tolist())}

    def encode(texts: Sequence[str]) -> np.ndarray:
        if missing := [one for one in texts if plain(one) not in places]:
            raise ValueError(f"{shown(str(path))} has no vector of {shown(missing[0][:80])!r} and {len(missing) - 1} other texts; add them to it")
        return vector[[places[plain(one)] for one in texts]]

    return Encoder(cache.key("table", digest), encode)


def _sentences(path: Path) -> Callable[[Sequence[str]], np.ndarray]:
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise ValueError(f"this text encoder needs sentence-transformers ({error}): pip install sentence-transformers") from error
    safe = {"use_safetensors": True}  # weights in any other form would be unpickled
    try:
        model = library.SentenceTransformer(str(path), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs=safe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{shown(str(path))} cannot be used as a text encoder: {str(error).splitlines()[0]}") from error
    return lambda texts: model.encode(list(texts), batch_size=64, convert_to_numpy=True, show_progress_bar=False)
