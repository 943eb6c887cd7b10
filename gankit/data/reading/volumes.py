"""Volumes of slices: DICOM and NIfTI where their packages are installed; for the others, what converts them."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from gankit.data.reading import decoding
from gankit.data.reading.decoding import Unusable
from gankit.data.reading.endings import NEWER
from gankit.data.reading.files import MAX_BYTES, File

NIFTI, DICOM = (".nii", ".nii.gz"), (".dcm", ".dicom")
PACKAGES = ("pillow_heif", "pydicom", "nibabel")  # which decide what is read from the same files
MOST_VALUES = 2**27  # of a volume
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a syntax of DICOM whose files can unpack to any size
BIO = "Bio-Formats' bfconvert writes a TIFF of it, to be read with --frames all"
SLIDE = "cut it into tiles first, as by `vips dzsave`, and name their folder"
ITK = "SimpleITK's WriteImage writes it as .nii.gz"
HINTS = {  # endings that are not read, and what to do
    **{ending: decoding.MORE[form] for form, endings in NEWER.items() for ending in endings},
    **dict.fromkeys(NIFTI, "pip install nibabel"),
    **dict.fromkeys(DICOM, "pip install pydicom"),
    **dict.fromkeys((".mha", ".mhd", ".nrrd", ".nhdr"), ITK),
    **dict.fromkeys((".czi", ".lif", ".nd2", ".lsm", ".oib", ".oif", ".vsi", ".ims"), BIO),
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn"), SLIDE),
}


class Pages(NamedTuple):
    """The images in one file.

    Args:
        count: number of images.
        read: the number of an image to its pixels, (H, W) or (H, W, C).
        order: place of the file among the others of its folder, where the file says it.
    """

    count: int  # type: ignore[assignment]  # the field hides the method `tuple.count`
    read: Callable[[int], np.ndarray]
    order: tuple[object, ...] = ()


def installed() -> tuple[str, ...]:
    """The packages that read further files here."""
    return tuple(name for name in PACKAGES if find_spec(name))


def hint(names: Iterable[str]) -> str:
    """What to do about files of these names that are not read; "" if there is nothing to say about them."""
    lower = [name.lower() for name in names]
    found = {ending: text for ending, text in HINTS.items() if any(name.endswith(ending) for name in lower)}
    if not found and (plain := sum("." not in name.rpartition("/")[2] for name in lower)) and plain == len(lower):
        return ". If these are DICOM files: pip install pydicom" if not find_spec("pydicom") else ""
    return "".join(f". For {ending}: {text}" for ending, text in found.items())


def openers(files: list[File], read: Callable[[File], bytes]) -> dict[File, Callable[[bytes], Pages]]:
    """The volumes among files, with the function that opens each; none where the package is missing.

    DICOM files need no ending: in a set without any image or volume, files are recognised by their first bytes.
    """
    packages = installed()
    result: dict[File, Callable[[bytes], Pages]] = {}
    if "nibabel" in packages:
        result |= {file: nifti for file in files if file.name.lower().endswith(NIFTI)}
    if "pydicom" not in packages:
        return result
    result |= {file: dicom for file in files if file.name.lower().endswith(DICOM)}
    if not result and not any(decoding.is_image(file.name) for file in files):
        result |= {file: dicom for file in files if _is_dicom(read, file)}
    return result


def _is_dicom(read: Callable[[File], bytes], file: File) -> bool:
    """Whether a file without an ending, or with a number for one, begins like DICOM."""
    name = file.name.rpartition("/")[2]
    if name == "DICOMDIR" or ("." in name and not name.rpartition(".")[2].isdigit()):
        return False
    try:
        return read(file)[128:132] == b"DICM"
    except ValueError:
        return False


def dicom(data: bytes) -> Pages:
    """The frames of a DICOM file, in the units of its rescale slope and intercept. Raises Unusable."""
    import pydicom

    if DEFLATED in data[:4096]:
        raise Unusable("a deflated DICOM file; save it without compression, as by dcmtk's dcmconv")
    with decoding.unusable():
        dataset = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in dataset:
            raise Unusable("a DICOM file without an image")
        count = int(dataset.get("NumberOfFrames") or 1)
        height, width, channels = (int(dataset.get(name) or 1) for name in ("Rows", "Columns", "SamplesPerPixel"))
        _check(count, height, width, channels)
        photometric = str(dataset.get("PhotometricInterpretation"))
        if photometric == "PALETTE COLOR":
            raise Unusable("a DICOM file of palette colours; save it as RGB")
        order = str(dataset.get("SeriesInstanceUID") or ""), int(dataset.get("InstanceNumber") or 0)

    def read(number: int) -> np.ndarray:
        pixels: np.ndarray = pydicom.pixels.pixel_array(dataset, index=number)
        if channels > 1:
            return pixels
        if photometric == "MONOCHROME1":  # where larger numbers are darker
            top = -1 if int(dataset.PixelRepresentation) else (1 << int(dataset.BitsStored)) - 1
            pixels = top - pixels.astype(np.int32)
        return _rescaled(pixels, *_slope(dataset, number))

    return Pages(count, read, order)


def nifti(data: bytes) -> Pages:
    """The slices of a NIfTI file along its third axis, front up and the patient's left on the left. Raises Unusable."""
    import nibabel

    with decoding.unusable():
        if data[:2] == b"\x1f\x8b":
            data = _unpacked(data)
        kind = nibabel.Nifti2Image if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
        header = kind.header_class(data[: kind.header_class.sizeof_hdr], check=False)
        _check(*header.get_data_shape())
        if header.get_data_dtype().kind not in "iuf":
            raise Unusable(f"a NIfTI file of {header.get_data_dtype()}, and whole numbers or floats are expected")
        image = kind.from_bytes(data)
        proxy: Any = image.dataobj
        slope, intercept = float(proxy.slope), float(proxy.inter)
        volume = np.asarray(proxy.get_unscaled())
        volume = volume.reshape(*volume.shape, *(1,) * (3 - volume.ndim))
        axes = nibabel.io_orientation(image.affine)
        if np.isfinite(axes).all() and len(axes) == 3:
            volume = nibabel.apply_orientation(volume, axes)
        slices = volume.reshape(*volume.shape[:2], -1, order="F")
    return Pages(slices.shape[2], lambda number: _rescaled(slices[:, :, number].T[::-1], slope, intercept))


def _check(*sides: int) -> None:
    """Refuse volumes that are too large, before memory is taken. Raises Unusable."""
    if min(sides, default=0) < 1 or math.prod(map(int, sides)) > MOST_VALUES:
        size = "x".join(map(str, sides))
        raise Unusable(f"oversized or empty: {size} numbers, and {MOST_VALUES:,} are the most in a volume")


def _slope(dataset: Any, number: int) -> tuple[float, float]:
    """The rescale slope and intercept of a frame of a pydicom.Dataset: the file's, all frames', or its own."""
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())[number : number + 1]
    inner = [step for group in shared + own for step in group.get("PixelValueTransformationSequence") or ()]
    for place in [dataset, *inner]:
        if place.get("RescaleSlope") is not None:
            return float(place.RescaleSlope), float(place.get("RescaleIntercept") or 0)
    return 1.0, 0.0


def _rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Values times slope plus intercept: as whole numbers where the result is whole."""
    if (slope, intercept) == (1, 0) or slope == 0:
        return values
    if values.dtype.kind in "iu" and values.dtype.itemsize < 4 and slope == int(slope) and intercept == int(intercept):
        return values.astype(np.int64) * int(slope) + int(intercept)
    return (values * np.float64(slope) + intercept).astype(np.float32)


def _unpacked(data: bytes) -> bytes:
    """The content of a gzip file. Raises Unusable: it is damaged, or larger than files may be."""
    machine = zlib.decompressobj(wbits=31)
    content = machine.decompress(data, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unusable(f"oversized: unpacks to more than {MAX_BYTES:,} bytes")
    if not machine.eof:
        raise Unusable("truncated")
    return content
