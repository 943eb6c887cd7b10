"""Latents and pictures against what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import latent, pictures


def test_slerp_keeps_length_and_angle():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    middle = latent.slerp(a, b, torch.tensor([0.5]))[0, 0]
    assert torch.allclose(middle, torch.full((2,), math.sqrt(2)))
    t = torch.linspace(0, 1, 7)
    assert torch.allclose(latent.slerp(a, b, t).norm(dim=2), torch.full((7, 1), 2.0))
    assert torch.allclose(latent.slerp(a, 3 * a, t), latent.lerp(a, 3 * a, t))


@pytest.mark.parametrize("spherical", [True, False])
def test_a_path_passes_through_its_points(spherical):
    points = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    way = latent.path(points, 5, spherical)
    assert way.shape == (16, 8)
    assert torch.allclose(way[::5], points, atol=1e-5)
    assert len(latent.path(points, 5, spherical, loop=True)) == 20


def test_a_grid_shows_each_image_where_it_belongs():
    images = torch.full((3, 1, 8, 8), -1.0)
    images[1] = 1.0
    sheet = np.asarray(pictures.grid(images, columns=2))
    high = sheet.shape[0] // 2
    assert sheet[high // 2, sheet.shape[1] // 4] == 0 and sheet[high // 2, 3 * sheet.shape[1] // 4] == 255
    assert pictures.grid(torch.zeros(2, 4, 8, 8)).mode == "RGBA"
    assert pictures.grid(torch.zeros(5, 2)).mode == "RGB"


def test_animations_are_written_whole(tmp_path):
    frames = [pictures.grid(torch.full((1, 3, 8, 8), v)) for v in (-1.0, 0.0, 1.0)]
    for name in ("a.webp", "a.gif"):
        assert Image.open(pictures.animate(tmp_path / name, frames)).n_frames == 3
    with pytest.raises(ValueError, match="a.avi"):
        pictures.animate(tmp_path / "a.avi", frames)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "a.webp"]
