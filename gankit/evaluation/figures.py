"""Figures that illustrate metrics in a run's report: nearest neighbours, classes, the two manifolds, the spectra."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gankit import data, latent, metrics, pictures
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Subject
from gankit.runs.files import write_text

GROUPS = 16  # translations in a figure
CAPTIONS = {
    "translations.png": "in groups: the input, the output, and the target if there is one",
    "translations-ba.png": "the same from b to a",
    "neighbours.png": "in groups: a sample, the three images of the data that are nearest to it by pixels, and the "
    "three nearest held-out ones if there are any",
    "pairs.png": "the ten pairs of samples that are nearest to each other by pixels: duplicates?",
    "classes.png": "a row for each class: five real images, five samples",
    "manifold.png": "features on the first two principal axes of the real images: real grey, samples blue",
    "spectrum.json": "mean power at each spatial frequency: where the lines differ, samples are too smooth or too "
    "rough",
}


def render(subjects: list[Subject], names: Iterable[str], folder: Path) -> None:
    """Write the figures of these names to a folder: translations of all subjects, the others of the first.

    Raises:
        ValueError: the samples hold NaN.
    """
    folder.mkdir(exist_ok=True)
    for name in dict.fromkeys(names):
        if name == "translations":
            for subject in subjects:
                translations(subject, folder)
        elif subjects[0].real is not None and subjects[0].fake.kind == "images":
            FIGURES[name](subjects[0], folder)


def translations(s: Subject, folder: Path) -> None:
    """Inputs, outputs and targets side by side, for translators."""
    if s.fake.inputs is None:
        return
    columns = [s.inputs, s.pixels[0], *([s.targets] if s.fake.targets else [])]
    columns = [column[:GROUPS] for column in columns]
    if s.fake.kind == "maps":
        palette = data.palette(s.fake.classes)
        columns = [data.normalise(data.paint(x, palette)) if x.ndim == 3 else x for x in columns]
    name = f"translations{'-ba' if s.fake.direction == 'ba' else ''}.png"
    pictures.save(folder / name, latent.beside(columns), 4 * len(columns))


def neighbours(s: Subject, folder: Path) -> None:
    """Samples, each followed by the nearest training images and the nearest held-out images."""
    samples = s.pixels[0][:20]
    columns = [samples[:, None]]
    for images in (s.training_pixels, s.held_out_pixels[0]) if s.held_out is not None else (s.training_pixels,):
        nearest = metrics.nearest_neighbours(samples.flatten(1), images.flatten(1), k=min(3, len(images))).index
        columns.append(images[nearest.cpu()])
    groups = torch.cat(columns, 1)
    pictures.save(folder / "neighbours.png", groups.flatten(0, 1), 2 * groups.shape[1])


def pairs(s: Subject, folder: Path) -> None:
    """The most similar pairs of samples."""
    samples = s.pixels[0]
    if len(samples) > 1:
        pictures.save(folder / "pairs.png", samples[metrics.closest_pairs(samples, 10).index.flatten()], 10)


def classes(s: Subject, folder: Path) -> None:
    """Real images and samples of each class."""
    path = folder / "classes.png"
    path.unlink(missing_ok=True)
    (real, label), (fake, fake_label) = s.real_pixels, s.pixels
    if label is None or fake_label is None:
        return
    rows = [
        torch.cat([x[y == k][:5] for x, y in ((real, label), (fake, fake_label))])
        for k in range(min(10, required(s.real).classes))
    ]
    if complete := [row for row in rows if len(row) == 10]:
        pictures.save(path, torch.cat(complete), 10)


def manifold(s: Subject, folder: Path) -> None:
    """Features of real images and samples in two dimensions, if they have been computed."""
    if s.extractor is not None and "fakes" in s.__dict__ and "reals" in s.__dict__:
        scatter(s.reals.values[:2000], s.fakes.values[:2000]).save(folder / "manifold.png")


def spectrum(s: Subject, folder: Path) -> None:
    """Power spectra of real images and samples."""
    lines = {"reals": power_spectrum(s.real_pixels[0]), "samples": power_spectrum(s.pixels[0])}
    write_text(folder / "spectrum.json", json.dumps(lines))


FIGURES: dict[str, Callable[[Subject, Path], None]] = {
    "translations": translations,
    "neighbours": neighbours,
    "pairs": pairs,
    "classes": classes,
    "manifold": manifold,
    "spectrum": spectrum,
}


def scatter(real: Tensor, fake: Tensor, side: int = 420) -> Image.Image:
    """Scatter plot of (N, d) and (M, d) features on the first two principal axes of the real ones."""
    real, fake = real.double(), fake.double()
    _, _, axes = torch.pca_lowrank(real, q=2, niter=4)
    xy = [(x - real.mean(0)) @ axes for x in (real, fake)]
    reach = float(torch.cat(xy).abs().quantile(0.995)) * 1.1
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    for points, colour in zip(xy, ((170, 170, 170), (30, 90, 160))):
        for x, y in ((points / reach + 1) / 2 * side).tolist():
            pen.ellipse((x - 1.5, side - y - 1.5, x + 1.5, side - y + 1.5), fill=colour)
    return image


def power_spectrum(images: Tensor) -> list[tuple[float, float]]:
    """(frequency in percent of the highest, log10 of the mean power) of (N, C, H, W) images, over all directions."""
    height, width = images.shape[2:]
    power = torch.fft.rfft2(images.double().mean(1), norm="ortho").abs().square().mean(0).numpy()
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    ring = np.minimum(np.hypot(y, x) / 0.5, 1.0) * (min(height, width) // 2)
    ring = ring.round().astype(int)
    levels = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return [(100 * i / (len(levels) - 1), float(np.log10(level + 1e-12))) for i, level in enumerate(levels) if i]
