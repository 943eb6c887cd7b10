"""Pictures beside the numbers, for the report: nearest neighbours, classes, the two manifolds, the spectra."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gankit import data, latent, metrics, pictures
from gankit.evaluation.subject import Subject
from gankit.runs.files import write_text

GROUPS = 16  # translations that are shown
CAPTIONS = {
    "translations.png": "in groups: what the model was given, what it made of it, and what that should be where it is known",
    "translations-ba.png": "the same from b to a",
    "neighbours.png": "in groups: a sample, the three images of the data that are nearest to it by pixels, and the three nearest "
    "unseen ones where there are such",
    "pairs.png": "the ten pairs of samples that are nearest to each other, by pixels: one picture twice?",
    "classes.png": "a row for each class: five reals, five samples",
    "manifold.png": "features on the reals' first two principal axes: reals grey, samples blue",
    "spectrum.json": "mean power at each spatial frequency: where the lines part, samples are too smooth or too rough",
}


def draw(subjects: list[Subject], folder: Path) -> None:
    """Draw what there is to draw of subjects into a folder: translations of all, what needs reals of the first."""
    folder.mkdir(exist_ok=True)
    for s in subjects:
        if s.fake.inputs is not None:
            columns = [images[:GROUPS] for images in (s.inputs, s.pixels[0])] + (
                [s.targets[:GROUPS]] if s.fake.targets else []
            )
            columns = [
                painted(column, s.fake.classes) if s.fake.kind == "maps" and column.ndim == 3 else column
                for column in columns
            ]
            name = f"translations{'-ba' if s.fake.way == 'ba' else ''}.png"
            pictures.save(folder / name, latent.beside(columns), 4 * len(columns))
    s = subjects[0]
    if s.real is None or s.fake.kind != "images":
        return
    (fake, asked), (real, label) = s.pixels, s.real_pixels
    shown = fake[:20]
    parts = [shown[:, None]]
    for images in (s.training_pixels, s.held_out_pixels[0]) if s.held_out is not None else (s.training_pixels,):
        near = metrics.nearest_neighbours(shown.flatten(1), images.flatten(1), k=min(3, len(images))).index
        parts.append(images[near.cpu()])
    groups = torch.cat(parts, 1)
    pictures.save(folder / "neighbours.png", groups.flatten(0, 1), 2 * groups.shape[1])
    if len(fake) > 1:
        pictures.save(folder / "pairs.png", fake[metrics.closest_pairs(fake, 10).index.flatten()], 10)
    (folder / "classes.png").unlink(missing_ok=True)
    if label is not None and asked is not None:
        rows = [
            torch.cat([x[y == k][:5] for x, y in ((real, label), (fake, asked))])
            for k in range(min(10, s.real.classes))
        ]
        if whole := [row for row in rows if len(row) == 10]:
            pictures.save(folder / "classes.png", torch.cat(whole), 10)
    if s.extractor is not None and "fakes" in s.__dict__ and "reals" in s.__dict__:
        manifold(s.reals.values[:2000], s.fakes.values[:2000]).save(folder / "manifold.png")
    lines = {"reals": spectrum(real), "samples": spectrum(fake)}
    write_text(folder / "spectrum.json", json.dumps(lines))


def painted(maps: Tensor, classes: int) -> Tensor:
    """(N, H, W) classes of pixels as (N, 3, H, W) colours."""
    return data.normalise(data.paint(maps, data.palette(classes)))


def manifold(real: Tensor, fake: Tensor, side: int = 420) -> Image.Image:
    """Dots of (N, d) and (M, d) features on the two axes along which the reals vary most."""
    real, fake = real.double(), fake.double()
    _, _, axes = torch.pca_lowrank(real, q=2, niter=4)
    xy = [(x - real.mean(0)) @ axes for x in (real, fake)]
    reach = float(torch.cat(xy).abs().quantile(0.995)) * 1.1
    sheet = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(sheet)
    for points, colour in zip(xy, ((170, 170, 170), (30, 90, 160))):
        for x, y in ((points / reach + 1) / 2 * side).tolist():
            pen.ellipse((x - 1.5, side - y - 1.5, x + 1.5, side - y + 1.5), fill=colour)
    return sheet


def spectrum(images: Tensor) -> list[tuple[float, float]]:
    """(frequency in percent of the highest, log10 of the mean power) of (N, C, H, W) images, over rings of directions."""
    height, width = images.shape[2:]
    power = torch.fft.rfft2(images.double().mean(1), norm="ortho").abs().square().mean(0).numpy()
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    ring = np.minimum(np.hypot(y, x) / 0.5, 1.0) * (min(height, width) // 2)
    ring = ring.round().astype(int)
    levels = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return [(100 * i / (len(levels) - 1), float(np.log10(level + 1e-12))) for i, level in enumerate(levels) if i]
