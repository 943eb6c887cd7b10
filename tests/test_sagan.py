"""Self-attention against its definition, and the layers of sagan that have it and spectral norm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gankit.models.sagan import SAGAN
from gankit.nn import SelfAttention
from gankit.recipe import Spec


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention(channels: int, gamma: float = 0.7) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).double()
    layer.gamma.data.fill_(gamma)
    return layer


def by_definition(layer: SelfAttention, x: Tensor) -> Tensor:
    """Position by position: f = softmax over the 2x2 cells of theta_i . max phi, o_i = W_o sum_j f_ij max g."""
    theta, phi, g, w = (getattr(layer, n).weight[:, :, 0, 0] for n in ("query", "key", "value", "out"))
    n, _, height, width = x.shape
    rows = []
    for image in range(n):
        keys, values = [], []
        for i in range(0, height - 1, 2):
            for j in range(0, width - 1, 2):
                cell = [x[image, :, i + a, j + b] for a in (0, 1) for b in (0, 1)]
                keys.append(torch.stack([phi @ place for place in cell]).amax(0))
                values.append(torch.stack([g @ place for place in cell]).amax(0))
        for i in range(height):
            for j in range(width):
                place = x[image, :, i, j]
                likeness = torch.stack([(theta @ place) @ key for key in keys])
                share = likeness.exp() / likeness.exp().sum()
                rows.append(place + layer.gamma * (w @ sum(s * v for s, v in zip(share, values))))
    return torch.stack(rows).view(n, height, width, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("shape", [(2, 16, 4, 6), (1, 6, 5, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_and_its_gradients_are_the_definition_s(shape, layout):
    layer, x = attention(shape[1]), normal(*shape).requires_grad_()
    wanted = [x, *layer.parameters()]
    direction = normal(*shape, seed=1)
    out, slow = layer(x.contiguous(memory_format=layout)), by_definition(layer, x)
    assert out.shape == shape and (out - slow).abs().max() < 1e-13
    for fast, literal in zip(
        torch.autograd.grad((out * direction).sum(), wanted), torch.autograd.grad((slow * direction).sum(), wanted)
    ):
        assert literal.abs().max() > 0 and (fast - literal).abs().max() < 1e-12


def test_attention_has_the_derivatives_that_differences_show():
    layer, x = attention(8), normal(1, 8, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(layer, x) and torch.autograd.gradgradcheck(layer, x)


def test_attention_begins_as_identity_and_has_the_published_sizes():
    x = normal(2, 16, 4, 4)
    assert torch.equal(SelfAttention(16).double()(x), x)
    sizes = [sum(p.numel() for p in SelfAttention(c).parameters()) for c in (64, 96, 192, 256)]
    assert sizes == [5_121, 11_521, 46_081, 81_921]


@pytest.mark.parametrize(
    "side, most, expected",
    [(128, 32, 32), (128, 64, 64), (64, 32, 32), (32, 32, 16), (48, 32, 24), (16, 32, 8), (10, 32, 5), (128, 0, None)],
)
def test_attention_is_in_both_nets_at_the_same_side(side, most, expected):
    recipe, sides = SAGAN(Spec((3, side, side), num_classes=3), width=2, attention=most), {}
    for name in ("g", "d"):
        for layer in getattr(recipe, name).modules():
            if isinstance(layer, SelfAttention):
                layer.register_forward_hook(lambda layer, x, out, name=name: sides.update({name: out.shape[-1]}))
    images = recipe.sample(recipe.noise(2), torch.tensor([0, 2]))
    logits = recipe.d(images, torch.tensor([0, 2]))
    assert images.shape == (2, 3, side, side) and logits.shape == (2,)
    assert sides == ({"g": expected, "d": expected} if expected else {})


def test_spectral_norm_is_on_every_weight_but_the_norms():
    torch.manual_seed(0)
    recipe = SAGAN(Spec((1, 16, 16), num_classes=3), width=4, z_dim=4).double()
    for _ in range(150):
        recipe.d(recipe.sample(normal(2, 4), torch.tensor([0, 2])), torch.tensor([0, 2]))
    for net in (recipe.g, recipe.d):
        weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert len(weights) > 10
        assert all(torch.linalg.svdvals(w.flatten(1))[0].item() == pytest.approx(1, abs=1e-4) for w in weights)
    assert torch.linalg.svdvals(recipe.d.embed.weight)[0].item() == pytest.approx(1, abs=1e-4)
    assert recipe.g.blocks[0].norm1.gain.weight.eq(1).all()


def test_without_labels_they_are_not_looked_at():
    recipe = SAGAN(Spec((1, 16, 16), num_classes=3), width=8, z_dim=4, conditional=False)
    assert recipe.d.embed is None and recipe.sample(recipe.noise(2)).shape == (2, 1, 16, 16)
