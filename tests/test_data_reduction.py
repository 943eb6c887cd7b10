"""Large JPEG files are decoded at a smaller size, in every place in the same way, and their pixels stay right."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from picture_files import put, rows, sides
from PIL import Image
from shard_files import tar
from sklearn.datasets import load_sample_image

from gankit import data, training
from gankit.data.reading import decoding, folder, reduction
from gankit.data.reading.choices import Reading
from gankit.explore.inputs import read_image
from gankit.translation import conversion

pytestmark = pytest.mark.usefixtures("fresh_cache")
PHOTO = load_sample_image("flower.jpg")[:301, :403]


def jpeg(pixels=PHOTO, form="JPEG", mode="", **options):
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, form, **{"quality": 92, **options})
    return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def difference(content, shape=(3, 32, 32), fit="crop"):
    """The mean and the largest difference of an image decoded at a smaller size from the same decoded in full."""
    of_image = decoding.probe(content)
    assert of_image.reduced(shape, fit, "scaled") > 1 == of_image.reduced(shape, fit, "full")
    full, scaled = (decoding.decode(content, shape, fit, "white", jpeg=way).astype(int) for way in ("full", "scaled"))
    return np.abs(full - scaled).mean(), np.abs(full - scaled).max()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(301, 403), (403, 301), (297, 297), (260, 519), (513, 130)])
def test_pixels_are_those_of_full_decoding(size, fit):
    """Also at the border, where the last decoded pixel is only partly one of the image."""
    photo = np.tile(PHOTO, (2, 2, 1))[: size[0], : size[1]]
    mean, largest = difference(jpeg(photo), fit=fit)
    assert mean < 1 and largest <= 24


@pytest.mark.parametrize(
    "options",
    [
        dict(mode="L"),
        dict(mode="CMYK"),
        dict(progressive=True),
        dict(subsampling=0),
        dict(icc_profile=b"profile" * 40, exif=exif(1)),
        dict(form="MPO", save_all=True, append_images=[Image.fromarray(PHOTO)]),
    ],
    ids=str,
)
def test_kinds_of_jpegs(options):
    channels = 1 if options.get("mode") == "L" else 3
    mean, largest = difference(jpeg(**options), (channels, 32, 32))
    assert mean < 1 and largest <= 24


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_are_turned(orientation):
    content = jpeg(PHOTO[:296, :400], exif=exif(orientation))
    mean, largest = difference(content, (3, 32, 24))
    assert mean < 1 and largest <= 24
    odd = decoding.probe(jpeg(exif=exif(orientation)))  # a partial pixel would be at the other side
    assert odd.divisor == (8 if orientation == 1 else 1)


def test_only_what_stays_twice_as_large_is_reduced():
    of_image = decoding.probe(jpeg(PHOTO[:256, :320]))
    assert [of_image.reduced((3, side, side), "crop", "scaled") for side in (16, 31, 32, 33, 64, 65)] == [
        8,
        4,
        4,
        2,
        2,
        1,
    ]
    assert (
        of_image.reduced((3, 64, 160), "crop", "scaled") == 1 and of_image.reduced((3, 64, 160), "pad", "scaled") == 2
    )
    for content in (jpeg(form="PNG"), jpeg(form="WEBP"), jpeg(form="TIFF", compression="jpeg")):
        assert decoding.probe(content).divisor == 1


def test_frames_without_blocks_are_not_reduced():
    """libjpeg does not scale lossless ones, so that Pillow's memory for a smaller image would not suffice."""
    content = jpeg()
    place = content.index(b"\xff\xc0") + 1
    for marker, expected in ((0xC0, 8), (0xC1, 8), (0xC2, 8), (0xC3, 1), (0xC9, 1)):
        changed = content[:place] + bytes([marker]) + content[place + 1 :]
        assert reduction.most(Image.open(io.BytesIO(changed)), changed, 1) == expected
    assert reduction.most(Image.open(io.BytesIO(content)), content[:40], 1) == 1


def test_halves_of_a_pair_do_not_mix(tmp_path):
    for width, number in ((200, 4), (198, 2), (197, 1)):
        wide = np.full((160, 2 * width, 3), 255, np.uint8)
        wide[:, :width] = 0
        assert decoding.halved(decoding.probe(jpeg(wide))).reduced((3, 16, 16), "crop", "scaled") == number
        black, white = decoding.halves(jpeg(wide), (3, 16, 16), "squash", "white", (None, None), "scaled")
        assert black.max() <= 3 and white.min() >= 252
    put(tmp_path / "p", **{f"{i}.jpg": jpeg(PHOTO[:200, :400]) for i in range(2)})
    scaled, full = (data.open(tmp_path / "p", 32, want="pairs", jpeg=way) for way in ("scaled", "full"))
    assert scaled.fingerprint != full.fingerprint
    for one, other in zip(sides(scaled), sides(full)):
        assert 0 < np.abs(one.astype(int) - other).mean() < 1


def test_truncated_files_are_found(tmp_path):
    put(tmp_path / "set", **{"good.jpg": jpeg(), "cut.jpg": jpeg()[:-4000]})
    report = data.describe(tmp_path / "set", 32)
    assert report.bad == [("cut.jpg", "truncated")] and report.count == 1
    assert data.open(tmp_path / "set", 32, skip_bad=True).skipped == report.bad


@pytest.fixture
def photos(tmp_path):
    put(tmp_path / "set", **{f"{i}.jpg": jpeg(np.roll(PHOTO, 40 * i, 1)) for i in range(3)})
    return tmp_path / "set"


def test_every_way_of_reading_decodes_alike(tmp_path, photos, monkeypatch):
    expected = rows(data.open(photos, 32))
    assert not np.array_equal(expected, rows(data.open(photos, 32, jpeg="full")))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(photos.iterdir()):
            archive.write(path, path.name)
    assert np.array_equal(rows(data.open(tmp_path / "set.zip", 32)), expected)
    (tmp_path / "shards").mkdir()
    for path in sorted(photos.iterdir()):
        tar(tmp_path / "shards" / f"{path.stem}.tar", {path.name: path.read_bytes()})
    assert np.array_equal(rows(data.open(tmp_path / "shards", 32)), expected)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "other"))
    streamed = data.open(photos, 32, cache_limit="1K")
    assert streamed.decoder and np.array_equal(rows(streamed), expected)
    monkeypatch.setattr(folder.Draft, "holds", lambda *_: False)  # in two passes
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "third"))
    assert np.array_equal(rows(data.open(photos, 32)), expected)
    image = read_image(str(photos / "0.jpg"), (3, 32, 32), Reading(), "")
    assert torch.equal(image, data.normalise(torch.from_numpy(expected[:1])))


def test_translated_files_are_decoded_as_in_training(photos):
    content = (photos / "0.jpg").read_bytes()
    scaled, full = (conversion.as_picture(content, 3, "32", jpeg=way).image for way in ("scaled", "full"))
    assert scaled.shape == full.shape == (1, 3, 32, 43)
    assert 0 < float((scaled - full).abs().mean()) < 1 / 127.5
    own, other = (conversion.as_picture(content, 3, jpeg=way).image for way in ("scaled", "full"))
    assert torch.equal(own, other)
    grey = conversion.as_picture(jpeg(mode="L"), 3, "32", jpeg="scaled")
    assert grey.was == "grey to colour" and grey.image.shape == (1, 3, 32, 43)


def test_sets_that_are_not_reduced_keep_their_fingerprint(tmp_path, photos):
    put(tmp_path / "png", **{"0.png": jpeg(form="PNG")})
    for path, side in ((tmp_path / "png", 32), (photos, 160), (photos, None)):
        assert data.open(path, side).fingerprint == data.open(path, side, jpeg="full").fingerprint
    assert data.open(photos, 32).fingerprint != data.open(photos, 32, jpeg="full").fingerprint


def test_a_run_from_before_goes_on_with_its_pixels(tmp_path, photos):
    """Its config.json knows no `jpeg`, and its images were decoded in full."""
    options = dict(preset="small", images=4, batch=2, resolution="16", outdir=tmp_path / "runs", quiet=True, preview=0)
    run = training.train("gan", data=str(photos), jpeg="full", **options)
    path = run.folder / "config.json"
    config = json.loads(path.read_text())
    assert config["settings"].pop("jpeg") == "full"
    path.write_text(json.dumps(config))
    again = training.resume(run.folder, images=8, quiet=True)
    assert again.images == 8 and again.settings.jpeg == "full"
    assert data.reading_of({"data": "x"}).jpeg == "full" and data.reading_of({}).jpeg == "scaled"
    with pytest.raises(ValueError, match="jpeg was 'full' when this run began and cannot become 'scaled'"):
        training.resume(run.folder, jpeg="scaled", quiet=True)


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="--jpeg takes scaled, full, not 'fast'"):
        replace(Reading(), jpeg="fast").check()
