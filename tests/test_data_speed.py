"""What makes large sets fast: files are read and decoded once, and what is known is not looked for again."""

import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from picture_files import PHOTO, encoded, fill, noise, put, rows

from gankit import data
from gankit.data.reading import cache, draft, files, survey

pytestmark = pytest.mark.usefixtures("fresh_cache")
GREY, ALPHA = PHOTO[:, :, 0], np.concatenate([PHOTO, 255 - PHOTO[:, :, :1]], 2)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned
KINDS = dict(
    grey=encoded(GREY),
    colour=encoded(PHOTO),
    jpeg=encoded(PHOTO.transpose(1, 0, 2), "JPEG", exif=EXIF),
    turned=encoded(PHOTO.transpose(1, 0, 2), exif=EXIF),
    palette=encoded(Image.fromarray(PHOTO).quantize(16)),
    holes=encoded(Image.fromarray(GREY), transparency=int(GREY[0, 0])),
    sheer=encoded(Image.fromarray(ALPHA).convert("LA")),
    alpha=encoded(ALPHA),
    bits=encoded(Image.fromarray(GREY > 99)),
    deep=encoded(noise(24, 32).astype(np.uint16) * 257),
    cut=encoded(PHOTO)[:-900],
    text=b"no image",
)
OPTIONS = [
    dict(),
    dict(resolution=8),
    dict(resolution=(16, 8), fit="pad"),
    dict(resolution=40, fit="squash", alpha="black"),
    dict(resolution=8, fit="pad", alpha="keep"),
    dict(alpha="keep"),
]
SETS = [
    "grey",
    "grey grey bits holes",
    "colour jpeg palette turned",
    "grey colour holes sheer",
    "sheer grey",
    "alpha colour grey",
    "grey alpha",
    "grey cut colour text",
    "cut grey",
    "deep grey",
    "colour deep",
]


def everything(path, **options):
    """All that is known of the data at a path, and whether it was decoded in one pass."""
    if isinstance(side := options.get("resolution"), tuple):
        options["resolution"] = "x".join(map(str, side))
    dataset = data.open(path, skip_bad=True, **options)
    kept = cache.find(dataset.fingerprint)
    return dataset.fingerprint, rows(dataset).tobytes(), kept.info, kept.checks.tolist()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("names", SETS)
def test_one_pass_gives_what_two_give(tmp_path, monkeypatch, names, options):
    for i, name in enumerate(names.split()):
        put(tmp_path / "set", **{f"{i}-{name}": KINDS[name]})
        os.rename(tmp_path / "set" / f"{i}-{name}", tmp_path / "set" / f"{i}-{name}.png")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "one"))
    settled = []
    settle = draft.Draft.settle
    monkeypatch.setattr(draft.Draft, "settle", lambda *args: settled.append(1) or settle(*args))
    one = everything(tmp_path / "set", **options)
    mixed = {"alpha", "holes", "sheer"} & {*names.split()} and options.get("alpha") == "keep"
    assert mixed or len(settled) == ("deep" not in names)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "two"))
    monkeypatch.setattr(draft.Draft, "holds", lambda *_: False)
    assert everything(tmp_path / "set", **options) == one
