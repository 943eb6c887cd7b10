"""Image files: what each format decodes to, which files are refused and why."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import PHOTO, bomb, encoded
from PIL import Image

from gankit.data.reading import decoding

pytestmark = pytest.mark.usefixtures("fresh_cache")


def bytes_of(content, shape=(3, 24, 32), fit="crop", alpha="white"):
    return decoding.decode(content, shape, fit, alpha).transpose(1, 2, 0)


@pytest.mark.parametrize("form, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", dict(lossless=True))])
def test_lossless_formats_are_read_exactly(form, options):
    assert np.array_equal(bytes_of(encoded(PHOTO, form, **options)), PHOTO)


def test_lossy_and_palette_formats_are_as_pillow_reads_them():
    for content in (encoded(PHOTO, "JPEG"), encoded(PHOTO, "GIF"), encoded(Image.fromarray(PHOTO).quantize(16))):
        assert np.array_equal(bytes_of(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime")]
    for form in ("GIF", "WEBP", "PNG"):
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert np.allclose(bytes_of(content)[0, 0].astype(int), (255, 0, 0), atol=8)


def test_sixteen_bits_are_scaled_not_cut():
    grey = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    for content in (encoded(grey), encoded(grey, "TIFF"), encoded(grey.astype(np.int32), "TIFF")):
        assert decoding.probe(content).grey
        assert np.array_equal(bytes_of(content, (1, 24, 32))[:, :, 0], (grey / 257).round())
    deep = encoded(grey.astype(np.int32) * 100, "TIFF")
    with pytest.raises(ValueError, match="neither 16 bits nor floats"):
        bytes_of(deep)


def test_float_tiffs_in_either_range():
    share = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)
    for top in (1, 255):
        assert np.array_equal(bytes_of(encoded(share * top, "TIFF"), (1, 24, 32))[:, :, 0], (share * 255).round())
    for wrong in (share - 1, share * 1000):
        with pytest.raises(ValueError, match="neither 16 bits nor floats"):
            bytes_of(encoded(wrong.astype(np.float32), "TIFF"))
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            bytes_of(encoded(np.where(share > 0.5, wrong, share).astype(np.float32), "TIFF"))


def transparent():
    """RGBA with a hidden colour under transparent, half and opaque columns."""
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 2:4, 3], pixels[:, 4:, 3] = 128, 255
    return pixels


@pytest.mark.parametrize("alpha, expected", [("white", (255, 255, 255)), ("black", (0, 0, 0))])
def test_transparent_pixels_show_the_background(alpha, expected):
    pixels = bytes_of(encoded(transparent()), (3, 4, 6), alpha=alpha)
    assert tuple(pixels[0, 0]) == expected and tuple(pixels[0, 5]) == (200, 0, 0)
    assert abs(int(pixels[0, 3, 0]) - (200 + expected[0]) / 2) < 30
    palette = Image.fromarray(np.zeros((4, 6), np.uint8), "P")
    palette.putpalette([9, 8, 7])
    assert tuple(bytes_of(encoded(palette, transparency=0), (3, 4, 6), alpha=alpha)[0, 0]) == expected
    grey = Image.merge("LA", [Image.new("L", (6, 4), 50), Image.new("L", (6, 4), 0)])
    assert decoding.probe(encoded(grey)).grey
    assert bytes_of(encoded(grey), (1, 4, 6), alpha=alpha)[0, 0] == expected[0]


def test_alpha_can_be_kept_and_hidden_colours_do_not_bleed():
    assert np.array_equal(bytes_of(encoded(transparent()), (4, 4, 6), alpha="keep"), transparent())
    half = np.zeros((64, 64, 4), np.uint8)
    half[:, :32], half[:, 32:] = (255, 0, 0, 0), (0, 255, 0, 255)
    small = bytes_of(encoded(half), (4, 8, 8), alpha="keep")
    assert (small[small[..., 3] > 0][:, 0] < 5).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(orientation, form):
    """The picture as it is seen has a white corner at the top left."""
    seen = np.zeros((16, 32), np.uint8)
    seen[:8, :8] = 255
    undo = {1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.T, 6: seen.T[::-1]}
    undo |= {7: seen.T[::-1, ::-1], 8: seen.T[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(
        np.ascontiguousarray(undo[orientation]), form, exif=exif, **dict(quality=95) if form == "JPEG" else {}
    )
    header = decoding.probe(content)
    assert (header.height, header.width) == (16, 32)
    assert np.abs(bytes_of(content, (1, 16, 32))[:, :, 0].astype(int) - seen).max() < 60


def test_cmyk_and_one_bit():
    cmyk = encoded(Image.new("CMYK", (32, 24), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.allclose(bytes_of(cmyk)[0, 0].astype(int), (255, 0, 0), atol=6)
    bits = np.eye(24, 32) > 0
    assert np.array_equal(bytes_of(encoded(bits), (1, 24, 32))[:, :, 0], bits * 255)


def test_fits_keep_what_they_say():
    image = Image.fromarray(PHOTO)
    content = encoded(PHOTO)
    lanczos = Image.Resampling.LANCZOS
    assert np.array_equal(
        bytes_of(content, (3, 12, 12)), np.asarray(image.crop((4, 0, 28, 24)).resize((12, 12), lanczos))
    )
    assert np.array_equal(bytes_of(content, (3, 12, 20), fit="squash"), np.asarray(image.resize((20, 12), lanczos)))
    padded = bytes_of(content, (3, 16, 16), fit="pad", alpha="black")
    assert np.array_equal(padded[2:14], np.asarray(image.resize((16, 12), lanczos)))
    assert not padded[:2].any() and not padded[14:].any()
    turned = bytes_of(encoded(np.ascontiguousarray(PHOTO.swapaxes(0, 1))), (3, 16, 16), fit="pad", alpha="black")
    assert turned[:, 2:14].any((0, 2)).all() and not turned[:, :2].any() and not turned[:, 14:].any()
    assert (bytes_of(content, (3, 16, 16), fit="pad")[:2] == 255).all()
    assert not bytes_of(content, (4, 16, 16), fit="pad", alpha="keep")[:2].any()


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2), (7, 5)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_odd_sizes_are_fitted(size, fit):
    assert (bytes_of(encoded(Image.new("RGB", size, "white")), (3, 16, 16), fit=fit) == 255).all()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"hello, I am a text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(PHOTO)[:-300], "truncated|damaged"),
        (encoded(PHOTO, "JPEG")[:-300], "truncated"),
        (encoded(PHOTO, "WEBP")[:-300], "truncated|damaged|not an image"),
        (encoded(PHOTO, "GIF")[:-300], "truncated|damaged"),
        (encoded(PHOTO, "BMP")[:-300], "truncated|damaged"),
        (encoded(PHOTO, "TIFF")[:-300], "truncated|damaged|not an image"),
        (encoded(PHOTO)[:400] + b"\0" * 90 + encoded(PHOTO)[490:], "damaged|truncated"),
        (bomb(9_000), "oversized: 9000x9000 pixels"),
        (bomb(10_000), "oversized"),
        (bomb(20_000), "oversized"),
    ],
)
def test_bad_files_have_a_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        decoding.probe(content)
        bytes_of(content)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_no_bytes_do_anything_but_decode_or_be_refused(given_data):
    form = given_data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]))
    content = bytearray(encoded(PHOTO, form))
    for _ in range(given_data.draw(st.integers(1, 6))):
        content[given_data.draw(st.integers(0, len(content) - 1))] = given_data.draw(st.integers(0, 255))
    content = bytes(content[: given_data.draw(st.integers(0, len(content)))]) + given_data.draw(st.binary(max_size=8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decoding.probe(content)
            assert bytes_of(content, (3, 5, 7)).shape == (5, 7, 3)
        except ValueError as error:
            assert str(error)
