"""Random crops of images that are read larger than the run's: resampled once, and the same run on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import models, training
from gankit.models.pix2pix import Pix2Pix
from gankit.nn import random_crop
from gankit.recipe import Batch
from gankit.runs.config import read_config

SMALL = dict(
    pix2pix=dict(data="photo-edges", resolution="16", width=2, patch=16, levels=3, norm="image", lr=1e-4),
    cyclegan=dict(data="digits-negative", resolution="16", width=2, blocks=1, patch=16, lr=1e-4, flat=1.0),
)
TINY = dict(batch=6, precision="fp64", preview=0, quiet=True)


def place(height, width, n=1):
    return (
        torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        .expand(n, -1, -1, -1)
        .double()
    )


def test_crops_are_windows_drawn_by_position_and_alike_for_all_tensors_of_a_row():
    x = place(20, 13, 200)
    a, b = random_crop([x, x[:, :1]], Batch({"a": x}).draw, 16, 8)
    assert a.shape == (200, 2, 16, 8) and torch.equal(a[:, :1], b)
    corners = a[:, :, :1, :1]
    assert torch.equal(a, corners + place(16, 8)), "a window, not resampled"
    for axis, most in enumerate((4, 5)):
        assert set(corners[:, axis].flatten().tolist()) == set(range(most + 1)), "both ends of each side are met"
    whole = Batch({"a": x})
    parts = [random_crop([piece.a], piece.draw, 16, 8)[0] for _, piece in whole.split(4, 0)]
    assert torch.equal(whole.join(parts), a)
    assert random_crop([x], None, 20, 13)[0] is x


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_a_file_is_resampled_once_to_the_size_that_crops_are_cut_from(tmp_path, fit):
    noise = np.random.default_rng(0).integers(0, 256, (61, 2 * 75, 3), np.uint8)  # all frequencies: blur would show
    for i in range(2):
        (tmp_path / "pairs").mkdir(exist_ok=True)
        Image.fromarray(np.roll(noise, i, 0)).save(tmp_path / f"pairs/{i}.png")
    seen = []

    class Watched(Pix2Pix):
        def g_loss(self, batch, x, y, *given, **named):
            seen.append((x, y))
            return super().g_loss(batch, x, y, *given, **named)

    options = dict(
        resolution="32",
        fit=fit,
        images=12,
        batch=3,
        levels=3,
        width=2,
        patch=16,
        preview=0,
        outdir=tmp_path,
        quiet=True,
    )
    run = training.train(Watched, data=str(tmp_path / "pairs"), **options)
    assert run.recipe.spec.shape == (3, 32, 32) and run.recipe.load_size == (36, 36)
    assert read_config(run.folder)["settings"]["resolution"] == "32"
    whole = {}
    for i in range(2):
        half = Image.fromarray(np.roll(noise, i, 0)).crop((0, 0, 75, 61))
        if fit == "crop":
            half = half.crop((7, 0, 68, 61))
        pixels = np.asarray(half.resize((36, 36), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        whole[i] = torch.from_numpy(pixels.copy()).float().div(127.5).sub(1).unfold(1, 32, 1).unfold(2, 32, 1)
    for x, _ in seen:
        for image in x:
            nearest = min((windows - image[:, None, None]).abs().amax((0, 3, 4)).min() for windows in whole.values())
            assert nearest < 1e-5, "no window of a file that was resampled once"
    assert len({tuple(image.flatten().tolist()) for x, _ in seen for image in x}) > 6, "places change"


def test_data_that_cannot_be_had_so_large_is_refused_with_the_sizes(tmp_path):
    options = dict(
        data="photo:coins,photo:camera", resolution="300", images=2, width=2, blocks=1, outdir=tmp_path, quiet=True
    )
    with pytest.raises(
        ValueError, match="335x335 are larger than .* crops of 300x300 cut from them: try a lower --resolution"
    ):
        training.train("cyclegan", **options)
    assert not list(tmp_path.iterdir()), "nothing is left of a run that did not begin"


@pytest.mark.parametrize("model", list(SMALL))
def test_an_interrupted_run_and_one_in_pieces_are_the_same_run(model, tmp_path):
    states = []
    for way in ("whole", "interrupted", "pieces"):
        options = SMALL[model] | TINY | dict(outdir=tmp_path / way, mirror=True)
        if way == "interrupted":
            run = training.train(model, images=12, **options)
            run = training.resume(run.folder, images=24, quiet=True)
        else:
            run = training.train(model, images=24, pieces=3 if way == "pieces" else 1, **options)
        assert run.recipe.load_size == (18, 18)
        states.append(run.recipe.state_dict())
    whole, interrupted, pieces = ({n: v for n, v in state.items() if isinstance(v, torch.Tensor)} for state in states)
    assert all(torch.equal(value, interrupted[name]) for name, value in whole.items())
    assert all((value - pieces[name]).abs().max() < 1e-7 for name, value in whole.items())


@pytest.mark.parametrize("model, size", [("pix2pix", 286), ("cyclegan", 286), ("stackgan", 304)])
def test_papers_read_images_of_this_size(model, size):
    preset = models.find(model).presets["paper"]
    with torch.device("meta"):
        recipe = models.find(model)(preset.spec, **preset.model)
    assert recipe.load_size == (size, size) and preset.settings["fit"] == "squash" and preset.settings["mirror"]
