"""What a file holds: images deeper than 8 bits, pages and frames, HEIC and AVIF, volumes of slices."""

import gzip
import io
import json
import struct
import zlib

import numpy as np
import pytest
from picture_files import encoded, noise, put, rows
from PIL import Image

from gankit import cli, data, training
from gankit.data.reading import decoding, frames, volumes
from gankit.data.reading.choices import Reading, range_text, reading_of
from gankit.explore import inversion
from gankit.runs.trained import load
from gankit.translation import conversion, translate

pytestmark = pytest.mark.usefixtures("fresh_cache")
RNG = np.random.default_rng(7)


def numbers(low, high, kind=np.uint16, size=(16, 16), seed=0):
    """Numbers from low to high, both there."""
    values = np.random.default_rng(seed).uniform(low, high, size)
    values.flat[:2] = low, high
    return values.astype(kind)


def deep(root, *images, form="TIFF"):
    for i, image in enumerate(images):
        put(root, **{f"{i}.{'png' if form == 'PNG' else 'tif'}": encoded(image, form)})
    return root


def scaled(values, low, high):
    return ((values.astype(np.float64).clip(low, high) - low) * (255 / (high - low))).round().astype(np.uint8)


def png16(pixels):
    """A PNG of 16-bit colours, which Pillow does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


# One scale for a set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form, kind", [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32)])
def test_the_bits_that_a_set_uses_are_its_scale(pictures, bits, form, kind):
    top = 2**bits - 1
    images = numbers(0, top // 2, kind), numbers(0, top - 1, kind, seed=1)
    dataset = data.open(deep(pictures, *images, form=form))
    assert dataset.scale == (0, top)
    assert np.array_equal(rows(dataset)[:, 0], np.stack([scaled(image, 0, top) for image in images]))
    assert f"0 becomes black and {top} white, as {bits} bits are used" in dataset.warnings[0]
    assert dataset.warnings[0] in data.describe(pictures).warnings


@pytest.mark.parametrize(
    "images, scale",
    [
        ([numbers(0, 1, np.float32), numbers(0, 0.2, np.float32, seed=1)], (0, 1)),
        ([numbers(0, 0.9, np.float32), numbers(0, 255, np.float32, seed=1)], (0, 255)),  # a dark one among others
        ([numbers(0, 200, np.float32)], (0, 255)),
    ],
)
def test_floats_have_one_scale(pictures, images, scale):
    dataset = data.open(deep(pictures, *images))
    assert dataset.scale == scale
    assert np.abs(rows(dataset)[:, 0].astype(int) - np.stack([scaled(i, *scale) for i in images])).max() <= 1


@pytest.mark.parametrize(
    "low, high, kind", [(-1024, 3071, np.int32), (-1, 1, np.float32), (0, 10**6, np.int32), (1000, 1010, np.float32)]
)
def test_other_numbers_are_scaled_by_percentiles(pictures, low, high, kind):
    images = [numbers(low, high, kind, (64, 64), seed) for seed in range(3)]
    dataset = data.open(deep(pictures, *images))
    expected = np.quantile(np.stack(images).astype(np.float64), [0.001, 0.999])
    assert np.abs(np.array(dataset.scale) - expected).max() <= 0.005 * (high - low)
    expected = np.stack([scaled(i, *dataset.scale) for i in images])
    assert np.abs(rows(dataset)[:, 0].astype(int) - expected).max() <= (kind == np.float32)
    assert "--range LOW,HIGH sets others" in dataset.warnings[0]


def test_outliers_do_not_set_the_scale(pictures):
    image = numbers(-1000, 400, np.int32, (64, 64))
    image[5, 5] = 30_000
    low, high = data.open(deep(pictures, image)).scale
    assert -1000 <= low < -990 and 390 < high <= 400


def test_colours_of_16_bits_are_read_whole(pictures):
    colours = numbers(0, 4095, np.uint16, (16, 16, 3))
    put(pictures, **{"0.png": png16(colours), "1.tif": frames.tiff(colours)})
    dataset = data.open(pictures)
    assert dataset.scale == (0, 4095) and dataset.shape == (3, 16, 16)
    for row in rows(dataset):
        assert np.array_equal(row.transpose(1, 2, 0), scaled(colours, 0, 4095))
    assert data.describe(pictures).modes == {"RGB;16": 2}


def test_images_that_use_their_whole_range_keep_their_bytes_and_their_name(pictures, monkeypatch):
    colours = numbers(0, 65535, np.uint16, (16, 16, 3))
    put(pictures, **{"c.png": png16(colours), "g.png": encoded(numbers(0, 65535)), "e.png": encoded(noise(16, 16))})
    dataset, by_type = data.open(pictures), data.open(pictures, range="type")
    assert dataset.fingerprint == by_type.fingerprint and dataset.scale == (0, 65535)
    assert np.array_equal(rows(dataset)[0].transpose(1, 2, 0), (colours >> 8).astype(np.uint8))
    assert np.array_equal(rows(dataset), rows(by_type))
    dark = deep(pictures.parent / "dark", numbers(0, 4095))
    assert data.open(dark).fingerprint != data.open(dark, range="type").fingerprint
    assert rows(data.open(dark, range="type")).max() == 16 and data.open(dark, range="type").scale is None
    assert data.open(dark, range="0,65535").fingerprint == data.open(dark, range="type").fingerprint


def test_eight_bits_have_no_scale(pictures):
    put(pictures, **{"0.png": encoded(noise(16, 16)), "1.png": encoded(noise(16, 16, seed=1))})
    plain, ranged = data.open(pictures), data.open(pictures, range="0,100")
    assert plain.scale is None and plain.warnings == []
    assert plain.fingerprint == ranged.fingerprint


def test_a_range_clips(pictures):
    image = numbers(-1024, 3071, np.int32)
    dataset = data.open(deep(pictures, image), range="-1000,400")
    assert dataset.scale == (-1000, 400) and "as --range says" in dataset.warnings[0]
    assert np.array_equal(rows(dataset)[0, 0], scaled(image, -1000, 400))
    assert "of the values lie outside" in dataset.warnings[0]


@pytest.mark.parametrize("text", ["5", "5,", "4095,0", "0,0", "nan,1", "0,inf", "a,b", "1,2,3", "0,1/", "x/0,1"])
def test_ranges_that_are_none(text):
    if text == "0,1/":
        assert Reading(range=text).check().side(1).scale is None
        return
    with pytest.raises(ValueError, match=r"--range=-1000,400"):
        Reading(range=text).check()


def test_numbers_that_are_none_are_named(pictures):
    good = numbers(0, 1, np.float32)
    deep(pictures, good, np.where(good > 0.5, np.nan, good), np.where(good > 0.9, np.inf, good))
    with pytest.raises(data.BadFiles, match="NaN or infinite") as caught:
        data.open(pictures)
    assert [name for name, _ in caught.value.files] == ["1.tif", "2.tif"]
    dataset = data.open(pictures, skip_bad=True)
    assert len(dataset) == 1 and dataset.scale == (0, 1)
    assert len(data.describe(pictures).bad) == 2


def test_whole_numbers_among_floats_are_said(pictures):
    deep(pictures, numbers(0, 1, np.float32), numbers(0, 65535))
    dataset = data.open(pictures)
    assert dataset.scale is None and "some hold whole numbers and some floats" in dataset.warnings[0]
    assert data.open(pictures, range="0,65535").scale == (0, 65535)


def test_truncated_deep_images_are_listed(pictures):
    deep(pictures, numbers(0, 4095), form="PNG")
    put(pictures, **{"cut.png": encoded(numbers(0, 4095, size=(64, 64)))[:-3000]})
    with pytest.raises(data.BadFiles, match=r"cut.png: (truncated|damaged)"):
        data.open(pictures, 16)


def test_each_side_of_pairs_has_its_scale(tmp_path):
    a, b = numbers(0, 4095), numbers(-5, 5, np.float32)
    deep(tmp_path / "p" / "A", a)
    deep(tmp_path / "p" / "B", b)
    for want in ("pairs", ""):
        both = data.open(tmp_path / "p", want=want)
        assert both.a.scale == (0, 4095) and -5 <= both.b.scale[0] < -4.5
        assert any(note.startswith("A: ") and "12 bits" in note for note in both.warnings)
        typed = data.open(tmp_path / "p", want=want, range="0,1023/-5,5")
        assert typed.scales == ((0, 1023), (-5, 5))
        assert np.array_equal(rows(typed.b)[0, 0], scaled(b, -5, 5))
        text = range_text(both.scales)
        assert data.open(tmp_path / "p", want=want, range=text).fingerprint == both.fingerprint


def test_halves_have_their_scales(pictures):
    a, b = numbers(0, 1023, size=(8, 8)), numbers(0, 16383, size=(8, 8))
    both = data.open(deep(pictures, np.hstack([a, b])), want="pairs")
    assert both.scales == ((0, 1023), (0, 16383))
    assert np.array_equal(rows(both.a)[0, 0], scaled(a, 0, 1023))
    assert np.array_equal(rows(both.b)[0, 0], scaled(b, 0, 16383))


def test_label_maps_are_not_scaled(tmp_path):
    classes = RNG.integers(0, 3, (8, 8)).astype(np.uint16)
    deep(tmp_path / "images", numbers(0, 4095, size=(8, 8)))
    deep(tmp_path / "masks", classes)
    dataset = data.open(tmp_path)
    assert dataset.scale == (0, 4095) and np.array_equal(dataset.masks(np.arange(1))[0], classes)
    assert data.open(tmp_path, want="pairs").scales == (None, (0, 4095))
    assert data.open(tmp_path, want="pairs", range="/0,1023").scales == (None, (0, 1023))


def test_a_run_keeps_its_scale(tmp_path, capsys):
    """New images, though darker than those of training, are read by the scale of training."""
    for i in range(8):
        put(tmp_path / "d", **{f"train__{i}.png": encoded(numbers(0, 4000, seed=i))})
        put(tmp_path / "d", **{f"test__{i}.png": encoded(numbers(0, 200, seed=20 + i))})
    options = dict(preset="small", images=16, batch=8, width=4, outdir=tmp_path / "runs", quiet=True, preview=0)
    run = training.train("dcgan", data=str(tmp_path / "d"), **options)
    settings = json.loads((run.folder / "config.json").read_text())["settings"]
    assert settings["range"] == "0,4095"
    held_out = data.open_as(f"{tmp_path / 'd'}:test", reading_of(settings))
    assert held_out.scale == (0, 4095) and rows(held_out).max() == 12
    assert load(run.folder).config["settings"]["range"] == "0,4095"
    resumed = training.resume(run.folder, images=24, quiet=True)
    assert resumed.images == 24
    del settings["range"]  # an older run
    assert rows(data.open_as(tmp_path / "d", reading_of(settings))).max() == 16
    put(tmp_path, **{"new.png": encoded(numbers(0, 200))})
    image, _ = inversion.target_of(load(run.folder), str(tmp_path / "new.png"), 0, "")
    assert float(image.max()) == pytest.approx(12 / 127.5 - 1)


@pytest.mark.parametrize("kind", ["pairs", "masks"])
def test_inputs_are_translated_by_the_scale_of_their_side(tmp_path, kind, monkeypatch):
    deep(tmp_path / "p" / "images", *[numbers(0, 4000, seed=i) for i in range(4)])
    for i in range(4):
        put(tmp_path / "p" / "masks", **{f"{i}.png": encoded(RNG.integers(0, 2, (16, 16)).astype(np.uint8))})
    if kind == "pairs":
        (tmp_path / "p" / "images").rename(tmp_path / "p" / "A")
        (tmp_path / "p" / "masks").rename(tmp_path / "p" / "B")
    model = "pix2pix" if kind == "pairs" else "unet"
    options = dict(preset="small", images=4, batch=4, width=4, outdir=tmp_path / "runs", quiet=True, preview=0)
    run = training.train(model, data=str(tmp_path / "p"), **options)
    put(tmp_path, **{"new.png": encoded(numbers(0, 200))})
    scales = []
    decode = conversion.as_picture
    monkeypatch.setattr(conversion, "as_picture", lambda *given: scales.append(given[4]) or decode(*given))
    translate(run.folder, tmp_path / "new.png", tmp_path / "out.png")
    assert scales == [(0, 4095)]


def test_gankit_data_takes_a_window(tmp_path, capsys):
    deep(tmp_path / "ct", numbers(-1024, 3071, np.int32))
    cli.main(["data", str(tmp_path / "ct"), "--range=-1000,400", "--sheet", ""])
    assert "-1000 becomes black and 400 white" in capsys.readouterr().out


# Pages and frames ----------------------------------------------------------------------------------------------------


def stack(form, count=4, kind=np.uint8, high=255, **options):
    images = [Image.fromarray(numbers(0, high, kind, seed=i)) for i in range(count)]
    return images, encoded(images[0], form, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("form, ending, options", [
    ("TIFF", "tif", {}), ("TIFF", "tiff", dict(compression="tiff_lzw")), ("GIF", "gif", {}),
    ("WEBP", "webp", dict(lossless=True)), ("PNG", "png", {}),
])  # fmt: skip
def test_pages_are_images_with_frames_all(pictures, form, ending, options):
    images, content = stack(form, **options)
    put(pictures, **{f"vol.{ending}": content})
    assert len(first := data.open(pictures)) == 1
    assert any("--frames all" in note for note in first.warnings)
    assert any("--frames all" in note for note in data.describe(pictures).warnings)
    dataset = data.open(pictures, frames="all")
    assert dataset.names == [f"vol.{ending}#{i:04d}" for i in range(1, 5)]
    assert not any("--frames" in note for note in dataset.warnings)
    assert np.array_equal(rows(dataset)[:, 0], np.stack([np.asarray(image) for image in images]))
    numbers_back = np.array([3, 0, 2])
    assert np.array_equal(dataset.read(numbers_back), rows(dataset)[numbers_back])
    assert data.describe_as(pictures, Reading(frames="all")).count == 4


def test_pages_of_12_bits_have_one_scale(pictures):
    images, content = stack("TIFF", kind=np.uint16, high=4095)
    put(pictures, **{"vol.tif": content, "one.tif": encoded(numbers(0, 100, np.uint16))})
    dataset = data.open(pictures, frames="all")
    assert len(dataset) == 5 and dataset.scale == (0, 4095)
    assert np.array_equal(rows(dataset)[1, 0], scaled(np.asarray(images[0]), 0, 4095))


def test_labels_and_captions_of_a_file_are_those_of_its_pages(pictures):
    _, content = stack("TIFF", 2)
    put(pictures, cat__a=b"", **{"cat__a.tif": content, "cat__a.txt": b"a cat", "dog__b.tif": content})
    put(pictures, **{"dog__b.txt": b"a dog"})
    dataset = data.open(pictures, frames="all")
    assert dataset.class_names == ["cat", "dog"] and dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.captions == ["a cat", "a cat", "a dog", "a dog"]
    (pictures / "metadata.csv").write_text("file_name,label\ncat/a.tif,x\ndog/b.tif,y\n")
    assert data.open(pictures, frames="all").labels.tolist() == [0, 0, 1, 1]


def test_pages_keep_to_the_part_of_their_file(tmp_path):
    contents = [stack("TIFF", n)[1] for n in (2, 3)]
    put(tmp_path, **{"train__a__v.tif": contents[0], "train__b__w.tif": contents[1], "test__a__v.tif": contents[1]})
    with pytest.raises(ValueError, match="every image|1 images are left out|copies"):
        data.open(tmp_path, frames="all")
    put(tmp_path, **{"test__a__v.tif": stack("TIFF", 3, kind=np.uint16, high=255)[1]})
    dataset = data.open(tmp_path, frames="all")
    assert len(dataset) == 5 and dataset.class_names == ["a", "b"]
    assert len(data.open(f"{tmp_path}:test", frames="all")) == 3
    assert data.open(tmp_path, frames="all", split="all").class_names == ["a", "b"]


def test_pages_of_pairs_belong_to_each_other(tmp_path):
    (a, of_a), (b, of_b) = stack("TIFF", 3), stack("TIFF", 3, np.uint16, 4095)
    put(tmp_path / "p", **{"A__v.tif": of_a, "B__v.tif": of_b})
    both = data.open(tmp_path / "p", want="pairs", frames="all")
    assert len(both) == 3
    assert np.array_equal(rows(both.a)[:, 0], np.stack([np.asarray(image) for image in a]))
    assert np.array_equal(rows(both.b)[2, 0], scaled(np.asarray(b[2]), 0, 4095))


def test_pages_of_several_sizes_ask_for_one(pictures):
    content = encoded(Image.new("L", (16, 16)), "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))])
    put(pictures, **{"v.tif": content})
    with pytest.raises(ValueError, match="2 sizes"):
        data.open(pictures, frames="all")
    assert len(data.open(pictures, 8, frames="all")) == 2


@pytest.mark.parametrize("limit, value", [("MOST", 3), ("MOST_PIXELS", 3 * 256)])
def test_files_of_too_many_pages_are_listed(pictures, monkeypatch, limit, value):
    monkeypatch.setattr(frames, limit, value)
    put(pictures, **{"v.gif": stack("GIF")[1], "a.png": encoded(noise(16, 16))})
    with pytest.raises(data.BadFiles, match=r"v.gif: its pages are more than"):
        data.open(pictures, frames="all")
    assert len(data.open(pictures, frames="all", skip_bad=True)) == 1


def test_damaged_pages_are_listed(pictures):
    content = stack("TIFF", 3)[1]
    put(pictures, **{"cut.tif": content[:-40], "cut.gif": stack("GIF", 3)[1][:-200], "no.webp": b"RIFF"})
    put(pictures, **{"a.png": encoded(noise(16, 16))})
    with pytest.raises(data.BadFiles):
        data.open(pictures, frames="all")
    assert data.open(pictures, frames="all", skip_bad=True).names[0] == "a.png"


def test_pages_in_a_circle_end(pictures):
    """A TIFF whose last page names the first as the next one."""
    content = bytearray(frames.tiff(noise(8, 8)))
    start = struct.unpack("<I", content[4:8])[0]
    entries = struct.unpack("<H", content[start : start + 2])[0]
    content[start + 2 + 12 * entries : start + 6 + 12 * entries] = struct.pack("<I", start)
    put(pictures, **{"v.tif": bytes(content)})
    assert len(data.open(pictures, frames="all")) == 1


@pytest.mark.parametrize("pixels", [
    noise(5, 7), noise(5, 7, 3), noise(5, 7, 4), numbers(0, 65535, np.uint16, (5, 7)),
    numbers(-(2**30), 2**30, np.int32, (5, 7)), numbers(-1, 1, np.float32, (5, 7)),
    numbers(-100, 100, np.int8, (5, 7)), numbers(0, 9, np.dtype(">u2"), (5, 7)), numbers(-9, 9, np.float64, (5, 7)),
])  # fmt: skip
def test_the_tiff_of_a_page_is_read_as_it_was(pixels):
    image = Image.open(io.BytesIO(frames.tiff(pixels)))
    assert np.allclose(np.asarray(image), pixels)


def test_numbers_without_a_tiff():
    for wrong in (np.zeros((2, 2), complex), np.full((2, 2), 2**40)):
        with pytest.raises(ValueError):
            frames.tiff(wrong)


# HEIC and AVIF -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form, ending", [("HEIF", "heic"), ("AVIF", "avif")])
def test_heic_and_avif(pictures, form, ending, monkeypatch):
    if not decoding.has_reader(form):
        pytest.skip(f"nothing reads {form} here")
    smooth = np.add.outer(np.arange(32), np.arange(32))[..., None] * np.array([1, 2, 4], np.uint8)
    put(pictures, **{f"IMG_1.{ending.upper()}": encoded(smooth.astype(np.uint8), form, quality=95)})
    dataset = data.open(pictures)
    assert dataset.shape == (3, 32, 32)
    assert np.abs(rows(dataset)[0].transpose(1, 2, 0).astype(int) - smooth).mean() < 6
    put(pictures, **{f"bad.{ending}": encoded(smooth.astype(np.uint8), form)[:200]})
    with pytest.raises(data.BadFiles, match=f"bad.{ending}"):
        data.open(pictures)
    monkeypatch.setattr(decoding, "has_reader", lambda form: False)
    with pytest.raises(ValueError, match=r"no images .*pip install '?pillow"):
        data.open(pictures)
    put(pictures, **{"a.png": encoded(noise(8, 8))})
    assert len(dataset := data.open(pictures)) == 1
    assert "pip install" in dataset.warnings[0]
    with pytest.raises(ValueError, match="pip install"):
        decoding.load(encoded(smooth.astype(np.uint8), form))


# Volumes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, hint", [
    ("scan.czi", "bfconvert"), ("slide.svs", "vips dzsave"), ("ct.mha", "SimpleITK"), ("ct.nrrd", "SimpleITK"),
])  # fmt: skip
def test_other_volumes_name_what_converts_them(pictures, name, hint):
    put(pictures, **{name: b"x" * 100})
    with pytest.raises(ValueError, match=f"no images.*{hint}"):
        data.open(pictures)
    put(pictures, **{"a.png": encoded(noise(8, 8))})
    assert hint in data.open(pictures).warnings[0]


@pytest.mark.parametrize("name, package", [("a.dcm", "pydicom"), ("a.nii.gz", "nibabel"), ("IM0001", "pydicom")])
def test_volumes_name_the_package_that_reads_them(pictures, monkeypatch, name, package):
    monkeypatch.setattr(volumes, "find_spec", lambda name: None)
    put(pictures, **{name: b"\0" * 128 + b"DICM"})
    with pytest.raises(ValueError, match=f"no images.*pip install {package}"):
        data.open(pictures)


def dicom(pixels, instance=1, **tags):
    """A DICOM file of (H, W) or (frames, H, W) uint16 or int16."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{instance}"
    dataset.SeriesInstanceUID, dataset.InstanceNumber = "1.2.9", instance
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_slices_of_dicom_in_their_order_and_units(pictures):
    slices = [numbers(0, 4095, np.uint16, seed=i) for i in range(3)]
    rescale = dict(RescaleSlope=1, RescaleIntercept=-1024)
    for name, i in (("a.dcm", 2), ("b.DCM", 0), ("c.dcm", 1)):
        put(pictures, **{name: dicom(slices[i], i + 1, **rescale)})
    dataset = data.open(pictures, range="-1000,400")
    assert dataset.names == ["b.DCM#0001", "c.dcm#0001", "a.dcm#0001"]
    assert np.array_equal(rows(dataset)[:, 0], np.stack([scaled(s.astype(int) - 1024, -1000, 400) for s in slices]))
    assert "from -1024 to 3071" in dataset.warnings[0]
    assert len(data.open(pictures / "a.dcm")) == 1


def test_dicom_without_endings_with_frames_and_inverted(pictures):
    stack_ = np.stack([numbers(0, 4095, np.uint16, seed=i) for i in range(2)])
    put(pictures, IM1=dicom(stack_, PhotometricInterpretation="MONOCHROME1"), DICOMDIR=b"\0" * 128 + b"DICM")
    dataset = data.open(pictures)
    assert dataset.names == ["IM1#0001", "IM1#0002"] and dataset.scale == (0, 4095)
    assert np.array_equal(rows(dataset)[:, 0], scaled(4095 - stack_.astype(int), 0, 4095))


def test_half_a_slope_gives_floats(pictures):
    pixels = numbers(0, 4095)
    put(pictures, **{"a.dcm": dicom(pixels, RescaleSlope=0.5, RescaleIntercept=-10)})
    dataset = data.open(pictures, range="-10,2038")
    assert np.abs(rows(dataset)[0, 0].astype(int) - scaled(pixels * 0.5 - 10, -10, 2038)).max() <= 1


@pytest.mark.parametrize("change", [
    lambda d: d[:-100], lambda d: d[:200], lambda d: b"\0" * 132, lambda d: b"",
    lambda d: d.replace(b"1.2.840.10008.1.2.1\0", volumes.DEFLATED[:20]) + volumes.DEFLATED,
])  # fmt: skip
def test_damaged_dicom_is_listed(pictures, change):
    put(pictures, **{"a.dcm": change(dicom(numbers(0, 4095))), "b.dcm": dicom(numbers(0, 4095, seed=1))})
    with pytest.raises(data.BadFiles, match=r"a.dcm"):
        data.open(pictures)
    assert len(data.open(pictures, skip_bad=True)) == 1


def test_oversized_dicom_is_refused_before_it_is_read(pictures):
    content = dicom(numbers(0, 4095), Rows=60_000, Columns=60_000)
    with pytest.raises(ValueError, match="oversized"):
        volumes.dicom(content)
    with pytest.raises(ValueError, match="oversized"):
        volumes.dicom(dicom(numbers(0, 4095), NumberOfFrames=2**30))


def nifti(volume, slope=None, affine=None):
    nibabel = pytest.importorskip("nibabel")
    content = bytearray(nibabel.Nifti1Image(volume, np.eye(4) if affine is None else affine).to_bytes())
    if slope:
        struct.pack_into("<2f", content, 112, *slope)
    return bytes(content)


def test_slices_of_nifti(pictures):
    volume = RNG.integers(-1024, 3071, (6, 8, 3)).astype(np.int16)
    put(pictures, **{"ct.nii.gz": gzip.compress(nifti(volume)), "mr.nii": nifti(volume)})
    dataset = data.open(pictures, range="-1024,3071")
    assert dataset.names[:3] == ["ct.nii.gz#0001", "ct.nii.gz#0002", "ct.nii.gz#0003"] and len(dataset) == 6
    assert dataset.shape == (1, 8, 6)
    expected = np.stack([volume[:, ::-1, k].T for k in range(3)])
    assert np.array_equal(rows(dataset)[:3, 0], scaled(expected, -1024, 3071))


def test_nifti_is_turned_upright_and_in_its_units(tmp_path):
    volume = np.arange(6 * 8 * 3, dtype=np.int16).reshape(6, 8, 3)
    flipped = np.diag([-1, 1, 1, 1]).astype(float)  # the first axis runs to the left
    put(tmp_path / "a", **{"v.nii": nifti(np.ascontiguousarray(volume[::-1]), affine=flipped)})
    put(tmp_path / "b", **{"v.nii": nifti(volume)})
    a, b = data.open(tmp_path / "a"), data.open(tmp_path / "b")
    assert np.array_equal(rows(a), rows(b))
    turned = np.zeros((4, 4))
    turned[2, 0] = turned[0, 1] = turned[1, 2] = turned[3, 3] = 1  # its first axis is the patient's third
    put(tmp_path / "c", **{"v.nii": nifti(np.ascontiguousarray(volume.transpose(2, 0, 1)), affine=turned)})
    assert np.array_equal(rows(data.open(tmp_path / "c")), rows(b))
    pages = volumes.nifti(nifti(volume, slope=(0.5, -3)))
    assert np.allclose(pages.read(1), volume[:, ::-1, 1].T * 0.5 - 3)
    series = volumes.nifti(nifti(np.stack([volume, volume + 1], -1)))
    assert series.count == 6 and np.array_equal(series.read(3), volume[:, ::-1, 0].T + 1)


def damaged_nifti():
    good = nifti(RNG.integers(0, 99, (6, 8, 3)).astype(np.int16))
    large = bytearray(good)
    struct.pack_into("<3h", large, 42, 30_000, 30_000, 30_000)
    return {
        "short": good[:-50],
        "head": good[:100],
        "large": bytes(large),
        "half a gzip": gzip.compress(good)[:-20],
        "no gzip": b"\x1f\x8b" + bytes(50),
        "nothing": b"",
        "complex": nifti(np.zeros((4, 4, 2), np.complex64)),
    }


@pytest.mark.parametrize("name", list(damaged_nifti()) if volumes.find_spec("nibabel") else [])
def test_damaged_nifti_is_listed(pictures, name):
    put(pictures, **{"bad.nii": damaged_nifti()[name], "good.nii": nifti(RNG.integers(0, 99, (6, 8, 1), np.int16))})
    with pytest.raises(data.BadFiles, match=r"bad.nii"):
        data.open(pictures)


def test_a_gzip_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(volumes, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        volumes.nifti(gzip.compress(bytes(100_000)))
