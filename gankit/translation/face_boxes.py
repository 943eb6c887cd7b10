"""Faces in an image: square regions found by OpenCV, cropped at a model's size, and blended back in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

FEATHER = 0.15  # of the side: the width of the border over which a changed face fades into the image
CASCADE = "haarcascade_frontalface_alt2.xml"
NEEDS_OPENCV = (
    "--faces needs OpenCV, whose version 4 has the detector: "
    "pip install 'gankit[faces]', or opencv-python-headless below 5"
)


class Box(NamedTuple):
    """A square region; it may extend beyond the image."""

    top: int
    left: int
    side: int


def find_faces(pixels: np.ndarray, margin: float = 0.5) -> list[Box]:
    """The faces in (H, W) or (H, W, C) uint8, the largest first; `margin` of the face's side is added as surroundings.

    Raises:
        ValueError: OpenCV is not installed, or lacks the detector.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError(NEEDS_OPENCV) from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise ValueError(f"OpenCV {cv2.__version__} has no face detector. {NEEDS_OPENCV}")
    from cv2.data import haarcascades

    detector = cv2.CascadeClassifier(haarcascades + CASCADE)
    if detector.empty():
        raise ValueError(f"OpenCV {cv2.__version__} lacks {CASCADE}. {NEEDS_OPENCV}")
    grey = np.ascontiguousarray(np.asarray(Image.fromarray(pixels).convert("L")))
    least = max(24, min(grey.shape) // 20)
    faces = detector.detectMultiScale(grey, 1.1, 5, minSize=(least, least))
    boxes = []
    for left, top, width, height in sorted(faces, key=lambda b: (-b[2], *b)):
        side = round(int(width) * (1 + margin))
        boxes.append(Box(int(top) + (int(height) - side) // 2, int(left) + (int(width) - side) // 2, side))
    return boxes


def crop(pixels: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """The region resized to (height, width, ...); beyond the image it is mirrored."""
    rows, columns = (np.arange(start, start + box.side) for start in box[:2])
    cut = pixels[reflected_indices(rows, pixels.shape[0])][:, reflected_indices(columns, pixels.shape[1])]
    return np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.LANCZOS))


def reflected_indices(places: np.ndarray, length: int) -> np.ndarray:
    """Indices beyond a line of this length, reflected at its ends."""
    places = np.abs(places) % max(1, 2 * length - 2)
    return np.minimum(places, 2 * length - 2 - places) if length > 1 else places * 0


def feather(side: int) -> np.ndarray:
    """(side, side) weights that rise smoothly from 0 at the edges to 1 inside."""
    reach = max(1, round(FEATHER * side))
    rise = np.clip((np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / reach, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    return rise[:, None] * rise


def paste(pixels: np.ndarray, face: np.ndarray, box: Box, share: np.ndarray | None = None) -> np.ndarray:
    """An image with a changed face in a region; pixels outside the region stay unchanged.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        face: (h, w) or (h, w, C) uint8, resized to the region.
        share: (h, w) in 0..1, further weights of the face at each place; none: 1.
    """
    out = pixels.copy()
    enlarged = np.asarray(Image.fromarray(face).resize((box.side, box.side), Image.Resampling.BICUBIC), np.float64)
    weight = feather(box.side)
    if share is not None:
        resized = Image.fromarray(share.astype(np.float32)).resize((box.side, box.side), Image.Resampling.BILINEAR)
        weight = weight * np.asarray(resized)
    top, left = max(0, box.top), max(0, box.left)
    bottom, right = min(pixels.shape[0], box.top + box.side), min(pixels.shape[1], box.left + box.side)
    inside = np.s_[top - box.top : bottom - box.top, left - box.left : right - box.left]
    weight = weight[inside].reshape(bottom - top, right - left, *[1] * (pixels.ndim - 2))
    blended = out[top:bottom, left:right] * (1 - weight) + enlarged[inside] * weight
    out[top:bottom, left:right] = np.rint(blended).clip(0, 255).astype(np.uint8)
    return out
