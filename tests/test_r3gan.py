"""R3GAN: filters and blocks against slow literal definitions, schedules, loss, and the order of updates."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import penalties, training
from gankit.models.r3gan import R3GAN, Block
from gankit.nn import Fir
from gankit.recipe import Batch, Spec


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal(x: Tensor, taps: tuple, up: int, down: int, pad: tuple[int, int], gain: float) -> Tensor:
    """Zero insertion, zero padding, convolution, decimation, by loops over the pixels of (H, W)."""
    first, last = pad
    wide = torch.zeros(*(up * side + first + last for side in x.shape), dtype=x.dtype)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            wide[first + up * i, first + up * j] = x[i, j]
    size, total = len(taps), float(sum(taps))
    out = torch.zeros(*((side - size) // down + 1 for side in wide.shape), dtype=x.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(size):
                for b in range(size):  # a convolution: the last tap weighs the first pixel
                    weight = taps[size - 1 - a] * taps[size - 1 - b] / total**2
                    out[i, j] += gain * weight * wide[down * i + a, down * j + b]
    return out


@pytest.mark.parametrize(
    "taps, up, down, pad, gain",
    [
        ((1, 3, 3, 1), 2, 1, (2, 1), 4.0),  # the fast path
        ((1, 3, 3, 1), 2, 1, (2, 1), 1.0),  # the fast path, another gain
        ((1, 3, 3, 1), 1, 2, (1, 1), 1.0),
        ((1, 3, 3, 1), 1, 1, (2, 1), 1.0),
        ((1, 3, 3, 1), 1, 1, (2, 2), 1.0),
        ((1, 2, 1), 1, 1, (1, 1), 1.0),
        ((1, 2, 4, 1), 2, 1, (2, 1), 4.0),  # asymmetric: tells a convolution from a correlation
        ((1, 2, 4, 1), 1, 2, (1, 1), 1.0),
        ((1, 2, 4, 1), 2, 2, (3, 4), 1.0),
        ((1, 4, 6, 4, 1), 2, 1, (2, 1), 4.0),
        ((3, 5), 3, 1, (0, 1), 9.0),
    ],
)
def test_fir_is_its_definition(taps, up, down, pad, gain):
    x = normal(2, 3, 4, 6)
    actual = Fir(taps, up, down, pad, gain).double()(x)
    expected = torch.stack([torch.stack([literal(c, taps, up, down, pad, gain) for c in row]) for row in x])
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < 1e-12


def test_fir_keeps_the_map_s_place_size_and_brightness():
    x, ones = normal(1, 2, 6, 4), torch.ones(1, 1, 8, 8, dtype=torch.float64)
    assert Fir(up=2).double()(x).shape == (1, 2, 12, 8)
    assert Fir(down=2).double()(x).shape == (1, 2, 3, 2)
    assert Fir((1, 2, 1)).double()(x).shape == Fir().double()(x).shape == (1, 2, 6, 4)
    for fir in (Fir(up=2), Fir((1, 2, 3, 2), up=2), Fir(down=2), Fir((1, 2, 1))):
        inner = fir.double()(ones)[..., 2:-2, 2:-2]
        assert torch.allclose(inner, torch.ones_like(inner), atol=1e-12)
    assert not Fir().state_dict()  # nothing to save


@pytest.mark.parametrize(
    "fir", [Fir(up=2), Fir((1, 2, 1), up=2), Fir(down=2), Fir()], ids=["fast", "up", "down", "blur"]
)
def test_fir_has_second_derivatives(fir):
    fir = fir.double()
    assert torch.autograd.gradgradcheck(lambda x: fir(x.square()), normal(1, 2, 4, 4).requires_grad_())


def test_block_is_its_definition():
    block = Block(6, group=4).double()
    for p in block.parameters():
        p.data = normal(*p.shape, seed=p.numel())
    x = normal(2, 6, 3, 4)
    h = torch.einsum("oi,nihw->nohw", block.widen.weight[..., 0, 0], x) + block.widen.bias[:, None, None]
    h = torch.where(h > 0, h, 0.2 * h)
    mixed = []
    for k in range(12):  # channel k sees the four of its own group
        seen = h[:, k // 4 * 4 : k // 4 * 4 + 4]
        mixed.append(F.conv2d(seen, block.mix.weight[k : k + 1], padding=1)[:, 0] + block.mix.bias[k])
    h = torch.stack(mixed, 1)
    h = torch.where(h > 0, h, 0.2 * h)
    expected = x + torch.einsum("oi,nihw->nohw", block.narrow.weight[..., 0, 0], h)
    assert (block(x) - expected).abs().max() < 1e-12


def test_initialisation_is_fix_up():
    torch.manual_seed(0)
    recipe = R3GAN(Spec((3, 32, 32), 10), width=64, blocks=2)
    for net in (recipe.g, recipe.d):
        blocks = [m for m in net.modules() if isinstance(m, Block)]
        assert len(blocks) == 8
        for block in blocks:
            gain = math.sqrt(2 / 1.04) / 8**0.25
            assert block.widen.weight.std().item() == pytest.approx(gain / math.sqrt(64), rel=0.03)
            assert block.mix.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.03)
            assert not block.narrow.weight.any() and not block.widen.bias.any() and not block.mix.bias.any()
    assert recipe.d.basis.std().item() == pytest.approx(1 / 4, rel=0.1)
    assert recipe.d.embed.weight.std().item() == pytest.approx(1 / math.sqrt(10 * 64), rel=0.1)
    assert recipe.g.basis.std().item() == pytest.approx(1, rel=0.1)
    with torch.no_grad():  # blocks add nothing yet: what is left is linear in z and in the class's vector
        z, label = torch.randn(4, 64), torch.arange(4)
        assert torch.allclose(
            recipe.g(2 * z, label) - recipe.g(z, label), recipe.g(z, label) - recipe.g(0 * z, label), atol=1e-5
        )


def test_schedules_go_from_end_to_end_on_half_a_cosine_and_stay():
    recipe = R3GAN(Spec((1, 16, 16)), width=16, anneal=0.5)
    start, middle, end = recipe.schedule(0.0), recipe.schedule(0.25), recipe.schedule(0.5)
    assert start == pytest.approx({"lr": 2e-4, "beta2": 0.9, "gamma": 0.05, "p": 0.0})
    assert middle == pytest.approx({"lr": 1.25e-4, "beta2": 0.945, "gamma": 0.0275, "p": 0.275})
    assert end == recipe.schedule(1.0) == {"lr": 5e-5, "beta2": 0.99, "gamma": 0.005, "p": 0.55}
    eighth = 0.5 * (1 + math.cos(math.pi / 4))
    assert recipe.schedule(0.125)["lr"] == pytest.approx(5e-5 + 1.5e-4 * eighth)


def tiny() -> tuple[R3GAN, Batch]:
    torch.manual_seed(0)
    recipe = R3GAN(Spec((1, 8, 8), 3), z_dim=4, width=8, blocks=1).double()
    for net in (recipe.g, recipe.d):
        for p in net.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return recipe, Batch({"real": normal(4, 1, 8, 8), "label": torch.tensor([0, 2, 1, 2])}, start=12, seed=3)


def test_d_s_loss_is_the_paper_s_and_its_gradient_the_numeric_one():
    recipe, batch = tiny()
    gamma, weight = 0.7, recipe.d.trunk[0].mix.weight

    def by_hand() -> Tensor:
        fresh = Batch(batch.fields, start=12, seed=3)
        fake = recipe.g(fresh.draw(recipe.noise), batch.label)

        def critic(x: Tensor) -> Tensor:
            return recipe.d(x, batch.label)

        gaps = critic(batch.real) - critic(fake)
        return -F.logsigmoid(gaps).mean() + gamma / 2 * penalties.r1_r2(critic, batch.real, fake)

    loss, outputs = recipe.d_loss(Batch(batch.fields, start=12, seed=3), gamma)
    assert abs(loss - by_hand()).item() < 1e-12 and outputs["gamma"].item() == gamma
    (grad,) = torch.autograd.grad(loss, weight)
    direction, step = normal(*weight.shape, seed=9), 1e-7  # too small to cross a kink of a leaky ReLU
    actual = (grad * direction).sum().item()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step * direction)
        ends.append(by_hand().item())
        with torch.no_grad():
            weight.sub_(sign * step * direction)
    assert actual == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-8)


def test_g_s_loss_pairs_a_fake_with_the_real_beside_it():
    recipe, batch = tiny()
    loss, _ = recipe.g_loss(Batch(batch.fields, start=12, seed=3))
    z = Batch(batch.fields, start=12, seed=3).draw(recipe.noise)
    gaps = recipe.d(recipe.g(z, batch.label), batch.label) - recipe.d(batch.real, batch.label)
    assert abs(loss + torch.stack([g.sigmoid().log() for g in gaps]).mean()).item() < 1e-12


def test_d_and_g_learn_from_batches_in_turn_at_the_schedule_s_rates(tmp_path):
    class Watched(R3GAN):
        def step(self, batch, run):
            before = {n: [p.clone() for p in getattr(self, n).parameters()] for n in ("g", "d")}
            super().step(batch, run)
            moved = {n for n in before if any((a != b).any() for a, b in zip(before[n], getattr(self, n).parameters()))}
            assert moved == {"d" if run.images % 16 == 0 else "g"}
            now = self.schedule(run.images / 32)
            for opt in self.opt.values():
                assert opt.param_groups[0]["lr"] == now["lr"] and opt.param_groups[0]["betas"] == (0.0, now["beta2"])

    run = training.train(
        Watched,
        data="digits",
        images=32,
        batch=8,
        log=16,
        ema=20,
        widths=(8, 8, 8),
        blocks=1,
        outdir=tmp_path,
        quiet=True,
    )
    lines = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    assert lines[0]["d/gamma"] == pytest.approx(0.05) and lines[1]["d/gamma"] == pytest.approx(0.0275)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 24), (2, 28, 20)])
def test_any_size_it_accepts_is_drawn_and_judged(shape):
    recipe = R3GAN(Spec(shape), width=8)
    x = recipe.sample(recipe.noise(2))
    assert x.shape == (2, *shape) and x.abs().max() <= 1 and recipe.d(x).shape == (2,)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="need 3 widths"):
        R3GAN(Spec((1, 16, 16)), widths=(16, 16))
    with pytest.raises(ValueError, match="must be a multiple of --group 16; width 12 gives 24"):
        R3GAN(Spec((1, 16, 16)), widths=(16, 12, 16))
    with pytest.raises(ValueError, match="anneal is 0; it must be above 0"):
        R3GAN(Spec((1, 16, 16)), width=8, anneal=0)
    assert isinstance(R3GAN(Spec((1, 16, 16)), widths=(16, 8, 8)).g.trunk[2], nn.Conv2d)


def test_patches_are_folded_into_channels_and_back():
    recipe = R3GAN(Spec((3, 16, 16)), width=16, width_image=8, blocks=1, patch=2, tanh=True).double()
    assert [block.widen.in_channels for block in recipe.g.trunk if isinstance(block, Block)] == [16, 8]
    z, x = normal(2, 64), normal(2, 3, 16, 16)
    small = recipe.g.out(recipe.g.trunk(recipe.g.dense(z)[:, :, None, None] * recipe.g.basis))
    assert small.shape == (2, 12, 8, 8)
    assert torch.equal(recipe.g(z)[:, 1, 1::2, ::2], small[:, 6].tanh())  # channel 1, odd rows, even columns
    h = recipe.d.trunk(F.conv2d(F.pixel_unshuffle(x, 2), recipe.d.start.weight))
    assert torch.equal(recipe.d(x), recipe.d.dense((h * recipe.d.basis).sum((2, 3))).squeeze(1))
    for patch in (0, 3, 4):
        with pytest.raises(ValueError, match=f"patch is {patch}; for 16x16 images give a power of two below 4"):
            R3GAN(Spec((3, 16, 16)), width=8, patch=patch)


def test_a_lazy_penalty_is_part_of_every_nth_update_of_d_with_n_times_its_weight():
    recipe, batch = tiny()
    recipe.penalty_every = 3
    plain, outputs = recipe.d_loss(Batch(batch.fields, start=12, seed=3), 0.0)
    assert "penalty" not in outputs
    loss, outputs = recipe.d_loss(Batch(batch.fields, start=12, seed=3), 0.7)
    assert abs(loss - plain - 3 * 0.7 * outputs["penalty"]).item() < 1e-12
    penalised = []

    class Stub:
        done, augment = 0.0, None

        def update(self, name, loss_fn, batch):
            penalised.append((name, "penalty" in loss_fn(batch)[1]))

    run = Stub()
    for run.step in range(8):
        recipe.step(Batch(batch.fields, start=12, seed=3), run)
    assert [due for name, due in penalised if name == "d"] == [True, False, False, True]
    with pytest.raises(ValueError, match="penalty_every is 0; give 1"):
        R3GAN(Spec((1, 16, 16)), width=8, penalty_every=0)
