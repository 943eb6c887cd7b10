"""Progressive growing: layers against their definitions, the schedule, and exact resume while the networks grow."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

import gankit
from gankit import latent, training
from gankit.models.pggan import PGGAN
from gankit.nn import EqualisedConv2d, EqualisedLinear, PixelNorm
from gankit.recipe import Batch, Phase, Spec
from gankit.runs.files import read_tensors
from gankit.training import Run
from gankit.training.log import TIMES

SPEC = Spec((2, 16, 16))
TINY = dict(z_dim=8, channel_base=32, channel_max=8, hold=16, fade=16, group=4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny(spec: Spec = SPEC, **more: object) -> PGGAN:
    torch.manual_seed(0)
    return PGGAN(spec, **TINY | more).double()


def test_equalised_layers_by_definition():
    linear = EqualisedLinear(3, 5, gain=1.5, lr_mul=0.01).double()
    linear.bias.data = normal(5, seed=1)
    x = normal(4, 3)
    for n in range(4):
        for o in range(5):
            unit = sum(x[n, i] * linear.weight[o, i] * 1.5 / 3**0.5 * 0.01 for i in range(3)) + 0.01 * linear.bias[o]
            assert linear(x)[n, o].item() == pytest.approx(unit.item(), abs=1e-14)
    conv = EqualisedConv2d(2, 3, 3).double()
    conv.bias.data = normal(3, seed=2)
    x = normal(2, 2, 4, 5, seed=3)
    assert conv(x).shape == (2, 3, 4, 5)
    patch = x[1, :, 1:4, 2:5]  # the receptive field of the output at row 2, column 3
    expected = (patch * conv.weight[2]).sum() * (2 / 18) ** 0.5 + conv.bias[2]  # a bias is not scaled
    assert conv(x)[1, 2, 2, 3].item() == pytest.approx(expected.item(), abs=1e-14)


def test_equalised_weights_begin_with_unit_variance_and_give_it():
    torch.manual_seed(0)
    for lr_mul in (1.0, 0.01):
        layer = EqualisedLinear(512, 512, gain=1, lr_mul=lr_mul)
        assert layer.weight.std().item() * lr_mul == pytest.approx(1, abs=0.01) and not layer.bias.any()
        assert layer(torch.randn(256, 512)).std().item() == pytest.approx(1, abs=0.02)
    assert EqualisedConv2d(2, 3, 1, bias=False).bias is None


def test_pixel_norm_by_definition():
    x = normal(2, 3, 4, 5)
    out = PixelNorm()(x)
    for c in range(3):
        length = ((x[1, 0, 2, 3] ** 2 + x[1, 1, 2, 3] ** 2 + x[1, 2, 2, 3] ** 2) / 3 + 1e-8).sqrt()
        assert out[1, c, 2, 3].item() == pytest.approx((x[1, c, 2, 3] / length).item(), abs=1e-14)
    half = PixelNorm()(x.bfloat16())
    assert half.dtype == torch.bfloat16 and (half - x).abs().max() > 0.1


@pytest.mark.parametrize(
    "side, g, d",
    [
        (256, 23_044_309, 23_052_353),
        (128, 22_933_394, 22_941_313),
        (64, 22_490_383, 22_498_049),
        (32, 20_719_628, 20_726_785),
    ],
)
def test_every_size_has_its_parameters(side, g, d):
    with torch.device("meta"):
        recipe = PGGAN(Spec((3, side, side)))
    assert [sum(p.numel() for p in net.parameters()) for net in (recipe.g, recipe.d)] == [g, d]


def test_every_block_has_its_parameters():
    with torch.device("meta"):
        recipe = PGGAN(Spec((3, 1024, 1024)))

    def counts(modules: torch.nn.ModuleList) -> list[int]:
        return [sum(p.numel() for p in m.parameters()) for m in modules]

    same = [2 * 2_359_808] * 3
    g = [1_179_904 + 590_080, 295_040 + 147_584, 73_792 + 36_928, 18_464 + 9_248, 4_624 + 2_320]
    d = [590_080 + 1_180_160, 147_584 + 295_168, 36_928 + 73_856, 9_248 + 18_496, 2_320 + 4_640]
    assert counts(recipe.g.blocks) == same + g and counts(recipe.d.blocks) == same + d
    assert counts(recipe.g.to_rgb) == [1539] * 4 + [771, 387, 195, 99, 51]
    assert counts(recipe.d.from_rgb) == [4 * c for c in [512] * 4 + [256, 128, 64, 32, 16]]
    assert counts([recipe.d.head]) == [2_364_416 + 4_194_816 + 513]


def test_the_paper_s_schedule():
    with torch.device("meta"):
        recipe = PGGAN(Spec((3, 1024, 1024)))
        code = PGGAN(Spec((3, 1024, 1024)), **PGGAN.presets["paper-8gpu"].model)
    k = 1000
    assert recipe.grown(0) == recipe.grown(800 * k - 1) == (0, 1.0)
    assert recipe.grown(800 * k) == (1, 0.0) and recipe.grown(1200 * k) == (1, 0.5)
    assert recipe.grown(1600 * k) == recipe.grown(2400 * k - 1) == (1, 1.0) and recipe.grown(2400 * k) == (2, 0.0)
    assert recipe.grown(12_800 * k - 1)[1] < 1 and recipe.grown(12_800 * k) == (8, 1.0)  # 8 levels of 800 + 800
    assert code.grown(9_600 * k - 1)[1] < 1 and code.grown(9_600 * k) == code.grown(10**9) == (8, 1.0)
    assert [recipe.phase(i * k) for i in (0, 1000, 2000)] == [Phase(0, 4), Phase(1, 8), Phase(2, 8)]
    batches = {recipe.phase(i).resolution: recipe.phase(i).batch for i in range(0, 14_000 * k, 100 * k)}
    assert batches == {4: None, 8: None, 16: None, 32: None, 64: None, 128: None, 256: 14, 512: 6, 1024: 3}
    batches = {code.phase(i).resolution: code.phase(i).batch for i in range(0, 14_000 * k, 100 * k)}
    assert list(batches.values()) == [512, 256, 128, 64, 32, 32, 32, 32, 32]
    assert code.lrs == {128: 0.0015, 256: 0.002, 512: 0.003}
    assert [tiny(fade=0).grown(i) for i in (0, 15, 16, 31, 32, 99)] == [(0, 1), (0, 1), (1, 1), (1, 1), (2, 1), (2, 1)]


@pytest.mark.parametrize("level", [1, 2])
def test_a_fade_begins_where_the_last_level_ended_and_ends_where_the_next_goes_on(level):
    recipe, side = tiny(), 4 << level
    z, x = normal(4, 8), normal(4, 2, side, side, seed=1)
    before = recipe.g(z, level - 1, 1.0).repeat_interleave(2, 2).repeat_interleave(2, 3)
    after = recipe.g(z, level, 1.0)
    assert torch.equal(recipe.g(z, level, 0.0), before)
    assert (recipe.g(z, level, 0.25) - (0.75 * before + 0.25 * after)).abs().max() < 1e-14
    small = x.unflatten(3, (side // 2, 2)).unflatten(2, (side // 2, 2)).mean((3, 5))
    old, nearly, new = recipe.d(small, level - 1, 1.0), recipe.d(x, level, 1 - 1e-12), recipe.d(x, level, 1.0)
    assert (recipe.d(x, level, 0.0) - old).abs().max() < 1e-6  # the deviation is in float32
    assert (new - nearly).abs().max() < 1e-6 and (new - old).abs().max() > 1e-3


def test_reals_are_faded_like_fakes(monkeypatch):
    recipe, seen = tiny(), []
    real, forward = normal(4, 2, 8, 8).clamp(-1, 1), recipe.d.forward
    monkeypatch.setattr(recipe.d, "forward", lambda x, **at: (seen.append(x), forward(x, **at))[1])
    recipe.d_loss(Batch({"real": real}), level=1, alpha=0.25)
    coarse = real.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (seen[0] - (0.75 * coarse + 0.25 * real)).abs().max() < 1e-14


def test_the_critic_s_loss_by_its_definition():
    recipe = tiny(target=750.0, group=1)
    batch = Batch({"real": normal(4, 2, 8, 8).clamp(-1, 1)})
    loss, out = recipe.d_loss(batch, level=1, alpha=1.0)
    again = Batch({"real": batch.real})
    fakes = recipe.g(again.draw(recipe.noise), 1, 1.0)
    real, fake = recipe.d(batch.real, 1, 1.0), recipe.d(fakes, 1, 1.0)
    between = (batch.real + again.draw(torch.rand).view(-1, 1, 1, 1) * (fakes - batch.real)).detach()
    slopes = torch.zeros(4)
    for n in range(4):  # numerical gradient, pixel by pixel
        moved = between[n] + 1e-5 * torch.cat([torch.eye(128), -torch.eye(128)]).double().view(256, 2, 8, 8)
        up, down = recipe.d(moved, 1, 1.0).detach().chunk(2)
        slopes[n] = ((up - down) / 2e-5).norm()
    expected = fake.mean() - real.mean() + 10 * (slopes - 750).square().mean() / 750**2 + 1e-3 * real.square().mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_samples_are_whole_images_at_every_level():
    recipe = tiny(Spec((2, 24, 16)), loss="lsgan")
    assert (recipe.h, recipe.w, recipe.last) == (6, 4, 2)
    for images, sides in [(0, (6, 4)), (20, (12, 8)), (40, (12, 8)), (50, (24, 16)), (99, (24, 16))]:
        level, alpha = recipe.grown(images)
        recipe.level.fill_(level), recipe.alpha.fill_(alpha)
        assert recipe.g(normal(2, 8), level, alpha).shape == (2, 2, *sides)
        assert recipe.d(normal(2, 2, *sides), level, alpha).shape == (2,)
        assert recipe.phase(images).resolution == min(sides)
        out = recipe.sample(normal(2, 8))
        assert out.shape == (2, 2, 24, 16) and out.abs().max() <= 1
    with pytest.raises(ValueError, match="on a sphere"):
        latent.sample(recipe, range(2), trunc=0.7)


def test_bad_arguments_say_what_to_type():
    with pytest.raises(ValueError, match="SIDE:VALUE"):
        tiny(batches="256=14")
    with pytest.raises(ValueError, match="hold is 0"):
        tiny(hold=0)


GROWING = dict(
    data="digits", preset="small", images=96, batch=8, log=16, preview=0, save=16, ema=20, quiet=True, **TINY
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return training.train("pggan", outdir=tmp_path_factory.mktemp("whole"), **GROWING)


# 4 px to 16 images, fade to 32, 8 px to 48, fade to 64, 16 px: at the edges of a fade and within
@pytest.mark.parametrize("after", [16, 24, 32, 56])
def test_a_run_interrupted_as_it_grows_ends_with_the_same_bits(after, whole, tmp_path, interrupt, monkeypatch):
    entered, enter = [], PGGAN.enter
    monkeypatch.setattr(PGGAN, "enter", lambda self, index, batch: (entered.append(index), enter(self, index, batch)))
    broken = interrupt(after, "pggan", outdir=tmp_path, **GROWING)
    torch.manual_seed(1)
    resumed = training.resume(broken, quiet=True)
    assert entered == [0, 1, 2, 3, 4]  # once each, before or after the interruption
    for file in ("state.safetensors", "weights.safetensors"):
        (a, about_a), (b, about_b) = (read_tensors(run.folder / file) for run in (whole, resumed))
        assert a.keys() == b.keys() and about_a.get("state") == about_b.get("state")
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert stats(whole) == stats(resumed)
    assert [line["d/level"] for line in stats(whole)] == [0, 0.25, 1, 1.25, 2, 2]


def stats(run: Run) -> list[dict]:
    lines = (run.folder / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def test_moments_are_of_the_last_phase_and_a_loaded_model_knows_its_level(whole):
    for opt in whole.recipe.opt.values():
        assert {int(moments["step"]) for moments in opt.state.values()} == {(96 - 64) // 8}
    for name in ("to_rgb.0", "to_rgb.1"):  # unused since the fades, so without moments
        for parameter in whole.recipe.g.get_submodule(name).parameters():
            assert not whole.recipe.opt["g"].state[parameter]["exp_avg_sq"].any()
    trained = gankit.load(whole.folder)
    assert (int(trained.recipe.level), float(trained.recipe.alpha)) == (2, 1.0)
    assert torch.equal(trained.sample(3), whole.sample(3))


def test_images_that_are_not_square_and_least_squares_train_as_they_grow(tmp_path):
    options = GROWING | dict(data="textures", resolution="16x24", batches="8:4", lrs="16:.5", loss="lsgan", images=80)
    run = training.train("pggan", outdir=tmp_path, **options)
    assert run.phase == Phase(4, 16, 4) and run.recipe.opt["d"].param_groups[0]["lr"] == 0.5
    assert run.step == 16 // 8 + (80 - 16) // 4 and run.sample(2).shape == (2, 1, 16, 24)
