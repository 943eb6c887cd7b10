"""Images with captions, as data to learn to draw from texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gankit.data import captions
from gankit.data.reading import cache, embedding
from gankit.data.reading.files import BadFiles
from gankit.data.stream import Dataset


def captioned(dataset: Dataset, skip_bad: bool, text_encoder: str = "") -> Dataset:
    """Images with captions as data of kind "captions", encoded as codes of characters or by the encoder at a path.

    Raises:
        ValueError: no image has a caption, all have the same one, or some have none and `skip_bad` is not given.
    """
    encoder = embedding.open_encoder(text_encoder, captions.plain) if text_encoder else None
    texts = dataset.captions or [""] * len(dataset)
    lines = {text: captions.lines(text) for text in set(texts)}
    has_caption = np.array([bool(lines[text]) for text in texts], bool)
    if not has_caption.any() and not dataset.bad_texts:
        fault = dataset.faults.get("captions", "")
        raise ValueError(f"there are no captions{fault and ': '}{fault}. {captions.HOW}")
    names = dataset.names or [f"image {i}" for i in range(len(dataset))]
    empty = [captions.missing(names[i], dataset.bad_texts) for i in np.flatnonzero(~has_caption).tolist()]
    if empty and not skip_bad:
        raise BadFiles(empty, len(dataset))
    encoded = captions.Captions([lines[text] for text in texts if lines[text]], encoder)
    if len(encoded.distinct) < 2:
        raise ValueError(
            f"all images have the caption {encoded.distinct[0]!r}: nothing tells them apart. {captions.HOW}"
        )
    notes = captions.flaws(encoded.distinct) if encoder is None else []
    content = *encoded.distinct, encoded.flat.tobytes(), encoded.ends.tobytes()
    key = cache.key("captions", dataset.fingerprint, encoder and encoder.fingerprint, *content)
    captioned = replace(dataset, kind="captions", texts=encoded, fingerprint=key, warnings=dataset.warnings + notes)
    return _subset(captioned, np.flatnonzero(has_caption), dataset.skipped + empty) if empty else captioned


def _subset(dataset: Dataset, kept: np.ndarray, skipped: list[tuple[str, str]]) -> Dataset:
    """Only the images of these numbers."""
    decoder = dataset.decoder and dataset.decoder.only(kept)
    return replace(
        dataset,
        size=len(kept),
        read=decoder.read if decoder else lambda numbers: dataset.read(kept[numbers]),
        decoder=decoder,
        order=dataset.order and dataset.order.only(kept),
        labels=None if dataset.labels is None else dataset.labels[kept],
        attributes=None if dataset.attributes is None else dataset.attributes[kept],
        captions=[dataset.captions[i] for i in kept] if dataset.captions else None,
        names=[dataset.names[i] for i in kept] if dataset.names else [],
        skipped=skipped,
    )
