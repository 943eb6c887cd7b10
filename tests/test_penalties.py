"""Penalties against critics with known gradients, finite differences and slow literal definitions.

A new penalty needs its hand-worked value in the first test; on a linear and on a dead critic, 1 and 0 are expected.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gankit import penalties
from gankit.nn import DBlock, spectral_norm
from gankit.penalties import PENALTIES


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 5, *shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = generator(seed)
    return (
        torch.randn(n, *shape, generator=g, dtype=torch.float64),
        torch.randn(n, *shape, generator=g, dtype=torch.float64),
    )


def draw(sampler) -> torch.Tensor:
    """Five rows of the sampler, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return sampler(5).double()


def quadratic(x: torch.Tensor) -> torch.Tensor:
    """C(x) = |x|^2 / 2, so that grad C(x) = x."""
    return x.flatten(1).square().sum(1) / 2


def test_each_penalty_on_a_critic_whose_gradient_is_its_input():
    real, fake = data(5, 1, 2, 3)
    u = draw(torch.rand)

    def length(x):
        return [sum(v * v for v in row.flatten().tolist()) ** 0.5 for row in x]

    between = length(torch.stack([r + a * (f - r) for r, f, a in zip(real, fake, u)]))
    noisy = length(real + 0.5 * real.std() * draw(lambda n: torch.rand(n, 1, 2, 3)))
    expected = {
        "wgan_gp": sum((n - 1) ** 2 for n in between) / 5,
        "zero_centred": sum(n**2 for n in between) / 5,
        "dragan": sum((n - 1) ** 2 for n in noisy) / 5,
        "r1": sum(n**2 for n in length(real)) / 5,
        "r2": sum(n**2 for n in length(fake)) / 5,
        "r1_r2": sum(n**2 for n in length(real)) / 5 + sum(n**2 for n in length(fake)) / 5,
    }
    missing = set(PENALTIES) - set(expected)
    assert not missing, f"add the hand-worked value of {', '.join(missing)} to `expected` in tests/test_penalties.py"
    assert set(expected) == set(PENALTIES)
    for name, value in expected.items():
        assert PENALTIES[name](quadratic, real, fake, draw).item() == pytest.approx(value, rel=1e-13), name
    assert penalties.wgan_gp(quadratic, real, fake, draw, target=0.0).item() == pytest.approx(expected["zero_centred"])


@pytest.mark.parametrize("name", PENALTIES)
def test_a_linear_critic_of_norm_one(name):
    real, fake = data(5, 4)
    w = torch.tensor([0.5, -0.5, 0.5, 0.5], dtype=torch.float64)
    value = PENALTIES[name](lambda x: x @ w, real, fake, draw).item()
    assert value == pytest.approx({"wgan_gp": 0, "dragan": 0, "r1_r2": 2}.get(name, 1), abs=1e-15)


def small_critic() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Softplus(), nn.Flatten(), nn.Linear(8, 1), nn.Flatten(0)).double()
    return net


@pytest.mark.parametrize("name", PENALTIES)
def test_the_gradient_by_parameters_is_that_of_finite_differences(name):
    real, fake = data(5, 1, 3, 3)
    net = small_critic()
    params = dict(net.named_parameters())

    def penalty(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(params, values))
        return PENALTIES[name](lambda x: torch.func.functional_call(net, named, (x,)), real, fake, draw)

    assert torch.autograd.gradcheck(penalty, tuple(params.values()))


@pytest.mark.parametrize("name", PENALTIES)
def test_nothing_flows_to_the_generator(name):
    real, fake = data(5, 1, 3, 3)
    net = small_critic()
    fake.requires_grad_()
    grads = torch.autograd.grad(PENALTIES[name](net, real, fake, draw), [fake, *net.parameters()], allow_unused=True)
    assert grads[0] is None and any(g is not None and g.abs().sum() > 0 for g in grads[1:])


@pytest.mark.parametrize("name", PENALTIES)
def test_a_dead_critic_has_no_infinite_gradient(name):
    real, fake = data(5, 4)
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    value = PENALTIES[name](lambda x: x @ w, real, fake, draw)
    (grad,) = torch.autograd.grad(value, w)
    assert torch.isfinite(grad).all()
    assert value == (1 if name in ("wgan_gp", "dragan") else 0)


@pytest.mark.parametrize("name", PENALTIES)
def test_autocast_is_off_inside_and_half_images_are_widened(name):
    real, fake = data(5, 1, 3, 3)
    net = small_critic()
    exact = PENALTIES[name](net, real, fake, draw).item()
    net = net.float()
    plain = PENALTIES[name](net, real.float(), fake.float(), lambda s: draw(s).float())
    with torch.autocast("cpu", torch.bfloat16):
        cast = PENALTIES[name](net, real.float(), fake.float(), lambda s: draw(s).float())
        half = PENALTIES[name](net, real.bfloat16(), fake.bfloat16(), lambda s: draw(s).bfloat16())
    assert torch.equal(plain, cast) and plain.item() == pytest.approx(exact, rel=1e-5)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(exact, rel=0.02)


def test_orthogonal_by_hand_and_by_definition():
    net = nn.Linear(2, 2)
    net.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    # Rows (1, 2) and (3, 4): inner product 11, twice off the diagonal.
    assert penalties.orthogonal(net) == 2 * 11**2
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3), nn.Embedding(5, 3), nn.BatchNorm2d(2)).double()
    total = 0.0
    for rows in (net[0].weight.flatten(1), net[1].weight.transpose(0, 1).flatten(1)):
        for i in range(len(rows)):
            total += sum((rows[i] @ rows[j]).item() ** 2 for j in range(len(rows)) if j != i)
    assert penalties.orthogonal(net).item() == pytest.approx(total, rel=1e-12)


def test_orthogonal_is_zero_for_orthogonal_filters_and_sees_through_spectral_norm():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Embedding(4, 3)).double()
    nn.init.orthogonal_(net[0].weight, generator=generator())
    assert abs(penalties.orthogonal(net).item()) < 1e-13
    net[0].weight.data.normal_(generator=generator())
    plain = penalties.orthogonal(net)
    normed = penalties.orthogonal(spectral_norm(net))
    assert torch.equal(normed, plain)
    assert torch.autograd.grad(normed, net[0].parametrizations.weight.original)[0].abs().sum() > 0


def test_lecam_by_hand():
    real, fake = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 3.0])
    # Reals above the fakes' mean of 0 by 1 and not at all; fakes below the reals' mean of 2 by 2 and not at all.
    assert penalties.lecam(real, fake, torch.tensor(2.0), torch.tensor(0.0)) == 1 / 2 + 4 / 2


def test_historical_by_hand():
    now = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    assert penalties.historical(now, [torch.tensor([0.0, 0.0]), torch.tensor([[1.0]])]) == 1 + 4 + 4
    with pytest.raises(ValueError):
        penalties.historical(now, [torch.zeros(2)])


def test_clip_weights_clips_everything_in_place():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    before = [p.clone() for p in net.parameters()]
    penalties.clip_weights(net, 0.1)
    for old, new in zip(before, net.parameters()):
        assert torch.equal(new, old.clamp(-0.1, 0.1)) and new.requires_grad
    assert net[1].weight.max() == torch.tensor(0.1)


def test_gradients_of_a_pre_activation_block_are_per_sample():
    """A sample's own slope does not change with its neighbours in the batch."""
    torch.manual_seed(0)
    block, (real, _) = DBlock(2, 3).double(), data(4, 2, 4, 4)

    def critic(x):
        return block(x).flatten(1).sum(1)

    alone = sum(penalties.r1(critic, real[i : i + 1]).item() for i in range(4)) / 4
    assert penalties.r1(critic, real).item() == pytest.approx(alone, rel=1e-12)
