"""Pairs, label maps, attributes, action units and joined sets: read from files, checked before anything trains."""

import numpy as np
import pytest
import torch

from gankit import data
from gankit.data import Dataset


def joined(stream, n):
    rows = [next(stream) for _ in range(n)]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def maps():
    """Nine images of 8x12 with label maps of 3 classes and void; pixel and class are functions of each other."""
    classes = np.random.default_rng(0).integers(4, size=(9, 8, 12)).astype(np.uint8)
    classes[classes == 3] = 255
    pixels = classes[:, None].repeat(3, 1)
    return Dataset("maps", "masks", (3, 8, 12), 9, pixels.__getitem__, "f", class_names=["a", "b", "c"], masks=classes.__getitem__)


def test_label_maps_go_with_their_images(maps):
    for mirror in (False, True):
        maps.mirror = mirror
        rows = joined(maps.stream(0, 9, seed=3), 2)
        assert rows["real"].dtype == torch.uint8 and rows["mask"].dtype == torch.int64 and rows["mask"].shape == (18, 8, 12)
        assert torch.equal(rows["real"][:, 0].long(), rows["mask"]), "an image and its label map are flipped together"
    whole = next(maps.stream(9, 9, seed=3))
    parts = [next(maps.stream(9, 9, seed=3, rank=r, world=2)) for r in range(2)]
    assert equal(whole, {key: torch.cat([part[key] for part in parts]) for key in whole})
    small = next(maps.stream(9, 9, resolution=4, seed=3))
    maps.mirror = False
    plain = next(maps.stream(9, 9, resolution=4, seed=3))
    assert small["mask"].shape == (9, 4, 6) and small["real"].shape == (9, 3, 4, 6)
    assert set(small["mask"].unique().tolist()) <= {0, 1, 2, 255}, "classes are never averaged"
    flipped = (small["mask"] != plain["mask"]).flatten(1).any(1)
    assert flipped.any() and torch.equal(small["mask"][flipped], plain["mask"][flipped].flip(-1))


def test_classes_have_colours_of_their_own():
    colours = data.palette(21)
    assert colours.shape == (21, 3) and len(np.unique(colours, axis=0)) == 21 and not (colours == 255).all(1).any()
    assert data.palette(0).shape == (0, 3)
    painted = data.paint(torch.tensor([[[0, 2, 255]]]), colours)
    assert painted.shape == (1, 3, 1, 3) and painted[0, :, 0, 2].tolist() == [255] * 3
    assert np.array_equal(painted[0, :, 0, 1].numpy(), colours[2])
