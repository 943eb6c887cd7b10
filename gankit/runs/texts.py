"""Texts to samples: texts as codes of letters or vectors, and samples conditioned on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gankit import latent
from gankit.data import captions
from gankit.data.reading import embedding, files
from gankit.recipe import Recipe

MOST = 10_000  # texts in a file


def read(path: Path) -> list[str]:
    """The texts in a file, one on each line.

    Raises:
        ValueError: there are none, or too many, or the file is not text.
        OSError: the file cannot be read.
    """
    content = files.read(path, captions.MOST_BYTES)
    try:
        found = [line.strip() for line in captions.text_of(content).splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    if not 0 < len(found) <= MOST:
        raise ValueError(f"{path} holds {len(found):,} texts; write one a line, {MOST:,} at most")
    return found


def codes(recipe: Recipe, texts: Sequence[str], encoder: str = "") -> Tensor:
    """Texts to (N, L) codes of letters, or to (N, D) vectors for a model that was trained on vectors.

    Args:
        recipe: a model conditioned on texts.
        texts: N texts.
        encoder: path of the encoder, for a model that was trained on vectors.

    Raises:
        ValueError: the model takes no texts, a text is empty, or the encoder is unusable or not the run's.
    """
    if not latent.takes_caption(recipe):
        raise ValueError(
            f"{type(recipe).__name__} was trained without captions, so it draws no texts: leave --text out"
        )
    if empty := [i for i, text in enumerate(texts, 1) if not captions.plain(text)]:
        raise ValueError(
            f"text {empty[0]} of {len(texts)} is empty; write what is to be drawn: --text 'a small red square'"
        )
    length, letters = recipe.spec.caption
    if letters:
        return captions.encode(texts, length)
    found = embedding.checked(embedding.open_encoder(encoder, captions.plain), [captions.plain(text) for text in texts])
    if found.shape[1] != length:
        raise ValueError(
            f"{encoder} makes vectors of {found.shape[1]} numbers, and this model was trained on {length}: name the "
            "encoder that it was trained with"
        )
    return torch.from_numpy(found)


def draw(
    recipe: Recipe, texts: Sequence[str], seeds: Sequence[int], trunc: float = 1.0, batch: int = 64, encoder: str = ""
) -> Tensor:
    """Samples of every text with every seed, (texts * seeds, C, H, W) in [-1, 1], ordered by text."""
    rows = codes(recipe, texts, encoder)
    with torch.no_grad():
        return torch.cat([latent.sample(recipe, seeds, trunc=trunc, batch=batch, caption=row[None]) for row in rows])


def between(
    recipe: Recipe,
    text: str,
    other: str,
    seeds: Sequence[int],
    steps: int,
    trunc: float = 1.0,
    batch: int = 64,
    encoder: str = "",
) -> Tensor:
    """Samples on the way from one text to another, (seeds * steps, C, H, W), those of a seed side by side.

    Raises:
        ValueError: as `codes`, or there are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"--steps is {steps}; from one text to another it takes 2 at least")
    return latent.between(recipe, seeds, codes(recipe, [text, other], encoder), steps, trunc, batch)
