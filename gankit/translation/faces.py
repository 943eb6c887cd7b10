"""Faces in a picture: found by OpenCV, changed at the size that the model learned at, and blended back in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

FEATHER = 0.15  # of the side, at each edge, over which a changed face fades into the picture
CASCADE = "haarcascade_frontalface_alt2.xml"
WITHOUT = "--faces needs OpenCV, whose version 4 brings the detector: pip install 'gankit[faces]', or opencv-python-headless below 5"


class Box(NamedTuple):
    """A square; it may reach beyond the picture."""

    top: int
    left: int
    side: int


def find(pixels: np.ndarray, margin: float = 0.5) -> list[Box]:
    """The faces in (H, W) or (H, W, C) uint8, the largest first, each with its surroundings: `margin` of its side is added.

    Raises:
        ValueError: OpenCV is not there, or does not bring the detector.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError(WITHOUT) from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise ValueError(f"OpenCV {cv2.__version__} brings no detector of faces. {WITHOUT}")
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    if detector.empty():
        raise ValueError(f"OpenCV {cv2.__version__} lacks {CASCADE}. {WITHOUT}")
    grey = np.ascontiguousarray(np.asarray(Image.fromarray(pixels).convert("L")))
    least = max(24, min(grey.shape) // 20)
    boxes = []
    for left, top, width, height in sorted(
        detector.detectMultiScale(grey, 1.1, 5, minSize=(least, least)), key=lambda b: (-b[2], *b)
    ):
        side = round(int(width) * (1 + margin))
        boxes.append(Box(int(top) + (int(height) - side) // 2, int(left) + (int(width) - side) // 2, side))
    return boxes


def crop(pixels: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """The square as (height, width, ...); what lies beyond the picture is mirrored."""
    rows, columns = (np.arange(start, start + box.side) for start in box[:2])
    cut = pixels[mirrored(rows, pixels.shape[0])][:, mirrored(columns, pixels.shape[1])]
    return np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.LANCZOS))


def mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Places on a line to those in it that they see when its ends are mirrors."""
    places = np.abs(places) % max(1, 2 * length - 2)
    return np.minimum(places, 2 * length - 2 - places) if length > 1 else places * 0


def feather(side: int) -> np.ndarray:
    """(side, side) from 0 at the edges to 1 inside, smoothly."""
    reach = max(1, round(FEATHER * side))
    rise = np.clip((np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / reach, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    return rise[:, None] * rise


def paste(pixels: np.ndarray, face: np.ndarray, box: Box, share: np.ndarray | None = None) -> np.ndarray:
    """The picture with a changed face in the square; all that is outside it stays, bit for bit.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        face: the same with other sides, fitted to the square.
        share: (h, w) in 0..1, how much of the face is taken at each place, on top of the fading at the edges.
    """
    out = pixels.copy()
    enlarged = np.asarray(Image.fromarray(face).resize((box.side, box.side), Image.Resampling.BICUBIC), np.float64)
    weight = feather(box.side)
    if share is not None:
        weight = weight * np.asarray(
            Image.fromarray(share.astype(np.float32)).resize((box.side, box.side), Image.Resampling.BILINEAR)
        )
    top, left = max(0, box.top), max(0, box.left)
    bottom, right = min(pixels.shape[0], box.top + box.side), min(pixels.shape[1], box.left + box.side)
    inside = np.s_[top - box.top : bottom - box.top, left - box.left : right - box.left]
    weight = weight[inside].reshape(bottom - top, right - left, *[1] * (pixels.ndim - 2))
    there = out[top:bottom, left:right]
    out[top:bottom, left:right] = (
        np.rint(there * (1 - weight) + enlarged[inside] * weight).clip(0, 255).astype(np.uint8)
    )
    return out
