"""What biggan has of its own: truncation, a part of z for each block, a shared embedding, the schedule of updates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gankit import loop
from gankit.models.biggan import BigGAN, LinearBatchNorm
from gankit.nn import BatchNorm2d
from gankit.recipe import Spec


def small(side: int = 16) -> BigGAN:
    torch.manual_seed(0)
    return BigGAN(Spec((1, side, side), num_classes=3), width=4, chunk=5, embed_dim=6).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("trunc", [0.3, 1.5])
def test_truncation_draws_again_what_is_beyond_the_threshold(trunc):
    recipe, z = small(), normal(4000, 15)
    out, inside = recipe.truncate(z, trunc), z.abs() <= trunc
    assert torch.equal(out[inside], z[inside]) and out.abs().max() <= trunc
    assert torch.equal(recipe.truncate(z[7:8], trunc), out[7:8])
    density, share = math.exp(-(trunc**2) / 2) / math.sqrt(2 * math.pi), math.erf(trunc / math.sqrt(2))
    variance = 1 - 2 * trunc * density / share  # of N(0, 1) within +-trunc
    for drawn in (out, out[~inside]):
        assert abs(drawn.mean().item()) < 0.02 and drawn.square().mean().item() == pytest.approx(variance, rel=0.04)
    assert abs(torch.corrcoef(torch.stack([out[:, 0], out[:, 1]]))[0, 1].item()) < 0.06
    assert recipe.truncate(z, 0.0).abs().max() == 0


def test_batch_norm_by_definition():
    torch.manual_seed(0)
    layer, x, condition = LinearBatchNorm(3, 4).double(), normal(5, 3, 2, 4), normal(5, 4, seed=1)
    plain, out = BatchNorm2d(3, eps=1e-4, affine=False).double()(x), layer(x, condition)
    for i in range(5):
        for c in range(3):
            gain, bias = 1 + layer.gain.weight[c] @ condition[i], layer.bias.weight[c] @ condition[i]
            assert torch.allclose(out[i, c], gain * plain[i, c] + bias, atol=1e-14)


def test_each_part_of_z_goes_to_its_block_and_the_class_to_all():
    recipe, seen = small(), {}
    for i, block in enumerate(recipe.g.blocks):
        block.register_forward_hook(lambda block, given, out, i=i: seen.update({i: given[1]}))
    z, label = normal(2, 15), torch.tensor([2, 0])
    recipe.g.dense.register_forward_hook(lambda layer, given, out: seen.update(dense=given[0]))
    recipe.sample(z, label)
    assert torch.equal(seen["dense"], z[:, :5])
    for i in range(2):
        assert torch.equal(seen[i], torch.cat([recipe.g.embed.weight[label], z[:, 5 * i + 5 : 5 * i + 10]], 1))


def test_weights_begin_orthogonal_and_all_but_g_s_embedding_are_spectrally_normalised():
    recipe = small()
    plain = [
        n
        for n, m in recipe.named_modules()
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding)) and not hasattr(m, "parametrizations")
    ]
    assert plain == ["g.embed"]
    raw = recipe.g.blocks[0].conv1.parametrizations.weight.original.flatten(1)
    assert torch.allclose(raw @ raw.T, torch.eye(len(raw), dtype=torch.float64), atol=1e-5)  # drawn in float32


def test_d_learns_twice_for_each_time_that_g_does(tmp_path, monkeypatch):
    turns, update = [], loop.Run.update
    monkeypatch.setattr(loop.Run, "update", lambda run, name, *rest: (turns.append(name), update(run, name, *rest))[1])
    loop.train("biggan", preset="small", width=4, images=32, batch=8, preview=0, outdir=tmp_path, quiet=True)
    assert turns == ["d", "d", "g", "d", "d", "g"]
