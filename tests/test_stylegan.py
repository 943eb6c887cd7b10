"""StyleGAN: layers against literal definitions, style mixing, noise, the mean of w, growth, and R1's derivatives."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gankit
from gankit import latent, training
from gankit.models.stylegan import DownConv, Style, StyleGAN, UpConv
from gankit.nn import Fir
from gankit.recipe import Batch, Phase, Spec
from gankit.runs.files import read_tensors
from gankit.training import Run
from gankit.training.log import TIMES

SPEC = Spec((2, 16, 16))
TINY = dict(z_dim=6, w_dim=5, mapping_layers=2, channel_base=32, channel_max=8, hold=16, fade=16)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny(spec: Spec = SPEC, **more: object) -> StyleGAN:
    """A small model in float64, whose noise strengths and biases are not zero."""
    torch.manual_seed(0)
    recipe = StyleGAN(spec, **TINY | more).double()
    for style in recipe.g.synthesis.styles:
        torch.nn.init.normal_(style.strength), torch.nn.init.normal_(style.bias)
    return recipe


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution of (H, W, A) by (B, A, 3, 3) with zero padding, pixel by pixel: (H, W, B)."""
    h, w, _ = x.shape
    out = torch.zeros(h, w, len(weight), dtype=x.dtype)
    for i, j, di, dj in itertools.product(range(h), range(w), (-1, 0, 1), (-1, 0, 1)):
        if 0 <= i + di < h and 0 <= j + dj < w:
            out[i, j] += weight[:, :, di + 1, dj + 1] @ x[i + di, j + dj]
    return out


def blurred(x: Tensor) -> Tensor:
    """(H, W, C) blurred by 1/4 1/2 1/4 along both sides, with zero padding."""
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
    return convolved(x, torch.eye(x.shape[2], dtype=x.dtype)[:, :, None, None] * torch.outer(taps, taps))


# Layers --------------------------------------------------------------------------------------------------------------


def test_blur_by_definition():
    x = normal(2, 3, 5, 4)
    out = Fir((1, 2, 1)).double()(x)
    assert out.shape == x.shape
    assert (out[1].permute(1, 2, 0) - blurred(x[1].permute(1, 2, 0))).abs().max() < 1e-14


def test_doubling_by_definition():
    up, x = UpConv(3, 2).double(), normal(2, 3, 3, 4)
    wide = torch.stack([x[1, :, i // 2, j // 2] for i in range(6) for j in range(8)]).view(6, 8, 3)
    expected = blurred(convolved(wide, up.conv.weight * (2 / 27) ** 0.5))
    assert up(x).shape == (2, 2, 6, 8) and up.conv.bias is None
    assert (up(x)[1].permute(1, 2, 0) - expected).abs().max() < 1e-14


def test_halving_by_definition():
    down, x = DownConv(3, 2).double(), normal(2, 3, 6, 4)
    down.conv.bias.data = normal(2, seed=1)
    full = convolved(blurred(x[1].permute(1, 2, 0)), down.conv.weight * (2 / 27) ** 0.5)
    cells = [full[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for i in range(3) for j in range(2)]
    expected = torch.stack(cells).view(3, 2, 2) + down.conv.bias
    assert (down(x)[1].permute(1, 2, 0) - expected).abs().max() < 1e-14


def test_a_style_by_definition():
    style, x = Style(3, 4, (2, 5)).double(), normal(2, 3, 2, 5)
    w, noise = normal(2, 4, seed=1), normal(2, 1, 2, 5, seed=2)
    style.strength.data, style.bias.data = normal(3, 1, 1, seed=3), normal(3, 1, 1, seed=4)
    style.affine.bias.data = normal(6, seed=5)
    out = style(x, w, noise)
    for n, c in itertools.product(range(2), range(3)):
        values = [
            x[n, c, i, j] + style.strength[c] * noise[n, 0, i, j] + style.bias[c] for i in range(2) for j in range(5)
        ]
        values = torch.stack([v if v > 0 else 0.2 * v for v in values]).flatten()  # noise, bias, leaky ReLU
        unit = (values - values.mean()) / (((values - values.mean()) ** 2).mean() + 1e-8).sqrt()  # then instance norm
        # gain 1: weights are divided by sqrt(4)
        scale, shift = (w[n] @ style.affine.weight[k] / 2 + style.affine.bias[k] for k in (c, c + 3))
        assert (out[n, c].flatten() - (unit * (scale + 1) + shift)).abs().max() < 1e-13
    assert torch.equal(style(x, w, None), style(x, w, torch.zeros(1, 1, 2, 5, dtype=torch.float64)))
    fresh = Style(3, 4, (2, 5))
    assert not fresh.strength.any() and not fresh.bias.any() and not fresh.affine.bias.any()


def test_the_mapping_network_by_definition():
    recipe = tiny()
    z = normal(3, 6)
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in (recipe.g.mapping.layers[1], recipe.g.mapping.layers[3]):
        layer.bias.data = normal(5, seed=6)
        assert layer.weight.std() > 50  # drawn with deviation 100, and divided by 100 at run time
        x = x @ layer.weight.T * 0.01 * (2 / x.shape[1]) ** 0.5 + 0.01 * layer.bias
        x = torch.where(x > 0, x, 0.2 * x)
    ws = recipe.mapping(z)
    assert ws.shape == (3, 6, 5) and all((ws[:, i] - x).abs().max() < 1e-13 for i in range(6))


def test_synthesis_is_its_layers_in_order():
    recipe = tiny()
    g, ws, noise = recipe.g.synthesis, normal(2, 6, 5), recipe.g.synthesis.maps(3)
    assert torch.equal(StyleGAN(Spec((2, 16, 16)), **TINY).g.synthesis.const, torch.ones(8, 4, 4))
    g.const.data = normal(8, 4, 4, seed=1)
    x = g.const.expand(2, -1, -1, -1)
    for i in range(6):
        if i in (2, 4):
            wide = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = g.convs[i].blur(F.conv2d(wide, g.convs[i].conv.scaled()[0], padding=1))
        elif i:
            x = F.conv2d(x, g.convs[i].scaled()[0], padding=1)
        x = g.styles[i](x, ws[:, i], noise[i])
    rgb = g.to_rgb[2]
    weight = rgb.weight[:, :, 0, 0] / 2**0.5  # gain 1, linear
    expected = torch.einsum("nchw,kc->nkhw", x, weight) + rgb.bias[:, None, None]
    assert (g(ws, noise, 2, 1.0) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    "side, g, d", [(512, 26_179_768, None), (128, 25_843_858, 22_941_313), (64, 25_137_935, 22_498_049)]
)
def test_every_size_has_its_parameters(side, g, d):
    with torch.device("meta"):
        recipe = StyleGAN(Spec((3, side, side)))
    counts = [sum(p.numel() for p in net.parameters()) for net in (recipe.g, recipe.d, recipe.g.mapping)]
    assert counts == [g, d or counts[1], 2_101_248] and recipe.num_ws == 2 * (side.bit_length() - 1) - 2


# Mixing, noise, the mean of w ----------------------------------------------------------------------------------------


def test_mixing_uses_each_latent_where_it_should():
    recipe = tiny()
    z, other = normal(4, 6), normal(4, 6, seed=1)
    first, second, noise = recipe.mapping(z), recipe.mapping(other), recipe.g.synthesis.maps("const")
    for cut in range(1, 7):
        ws = torch.cat([first[:, :cut], second[:, cut:]], 1)
        mixed = recipe.g(z, other, torch.full((4,), cut), noise, 2, 1.0)
        assert torch.equal(mixed, recipe.g.synthesis(ws, noise, 2, 1.0))
        assert cut == 6 or (mixed - recipe.g.synthesis(first, noise, 2, 1.0)).abs().max() > 1e-3


def test_the_crossover_is_one_for_a_batch_and_even_over_the_active_layers():
    recipe = tiny(mixing=0.9)
    torch.manual_seed(0)
    drawn = [recipe.crossover(5, layers=4) for _ in range(2000)]
    assert all(len(set(cut.tolist())) == 1 for cut in drawn)
    share = torch.stack(drawn)[:, 0].bincount(minlength=5) / 2000
    assert share[0] == 0 and (share - torch.tensor([0, 0.3, 0.3, 0.3, 0.1])).abs().max() < 0.03
    assert {int(tiny(mixing=0).crossover(1, 4)) for _ in range(50)} == {4}


def test_fakes_are_the_same_in_pieces(monkeypatch):
    recipe, cuts = tiny(mixing=1.0), []
    forward = recipe.g.forward
    monkeypatch.setattr(recipe.g, "forward", lambda *a, **k: (cuts.append(a[2]), forward(*a, **k))[1])
    for turn in range(1, 5):
        batch = Batch({"real": normal(6, 2, 16, 16)}, start=96, seed=3)
        (_, whole), *_ = batch.split(1, turn)
        fakes = recipe.fakes(whole, 2, 0.5)
        parts = batch.join([recipe.fakes(part, 2, 0.5) for _, part in batch.split(4, turn)])
        assert (fakes - parts).abs().max() < 1e-12
        assert len(set(torch.cat(cuts).tolist())) == 1  # one crossover, whatever the piece
        cuts.clear()


def test_each_layer_and_each_row_has_noise_of_its_own_in_training(monkeypatch):
    recipe, seen = tiny(), []
    monkeypatch.setattr(recipe.g.synthesis, "forward", lambda ws, noise, level, alpha: seen.append(noise))
    recipe.fakes(Batch({"real": normal(3, 2, 8, 8)}), 1, 1.0)
    (noise,) = seen
    assert [tuple(m.shape) for m in noise] == [(3, 1, 4, 4)] * 2 + [(3, 1, 8, 8)] * 2
    flat = torch.cat([m.flatten(1)[:, :16] for m in noise])
    assert (torch.corrcoef(flat) - torch.eye(12)).abs().max() < 0.95


def test_noise_of_samples():
    recipe = tiny()
    recipe.level.fill_(2)
    ws = recipe.mapping(normal(3, 6))
    const, none, seed = (recipe.synthesis(ws, noise) for noise in ("const", "none", 5))
    assert torch.equal(const, recipe.synthesis(ws)) and torch.equal(seed, recipe.synthesis(ws, 5))
    different = [const, none, seed, recipe.synthesis(ws, 6)]
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(different, 2))
    for noise in ("const", "none", 5):
        assert (recipe.synthesis(ws[1:2], noise) - recipe.synthesis(ws, noise)[1:2]).abs().max() < 1e-12
    assert sum("fixed" in name for name in recipe.g.synthesis.state_dict()) == 6  # saved with the weights
    with pytest.raises(ValueError, match='give "const", "none" or a whole number'):
        recipe.synthesis(ws, "random")


def test_the_mean_of_w_by_definition_and_the_same_in_every_process():
    means = []
    for rows in (slice(0, 8), slice(0, 4), slice(4, 8)):
        recipe = tiny(w_beta=0.75)
        seen, mapping = [], recipe.g.mapping.forward
        recipe.g.mapping.forward = lambda z, label=None, seen=seen, mapping=mapping: (
            seen.append(mapping(z)),
            seen[-1],
        )[1]
        recipe.g.w_mean.copy_(normal(5))
        recipe.move_w_mean(Batch({"real": normal(8, 2, 8, 8)[rows]}, start=40, size=8, first=rows.start, seed=1))
        assert seen[0].shape == (8, 5)
        assert (recipe.w_mean - (0.75 * normal(5) + 0.25 * seen[0].mean(0))).abs().max() < 1e-14
        means.append(recipe.w_mean)
    assert torch.equal(means[0], means[1]) and torch.equal(means[0], means[2])


def test_truncation_stops_after_eight_layers():
    recipe = tiny(Spec((2, 64, 64)))
    recipe.g.w_mean.copy_(normal(5, seed=1))
    ws = recipe.mapping(normal(2, 6))
    short = latent.truncate_w(recipe, ws, 0.7)
    assert ws.shape == (2, 10, 5) and torch.equal(short[:, 8:], ws[:, 8:])
    assert (short[:, :8] - (0.3 * recipe.w_mean + 0.7 * ws[:, :8])).abs().max() < 1e-14
    mean = latent.sample(recipe, [0, 1], trunc=0.0)  # the first level's image has at most eight styles
    assert (mean[0] - mean[1]).abs().max() < 1e-6


def test_labels_reach_both_nets():
    recipe = tiny(Spec((2, 16, 16), num_classes=3), conditional=True)
    z, label = normal(2, 6), torch.tensor([2, 0])
    both = torch.cat([z, recipe.g.mapping.embed.weight[label]], 1)
    both = both / (both.square().mean(1, keepdim=True) + 1e-8).sqrt()  # normalised together
    assert (recipe.mapping(z, label)[:, 0] - recipe.g.mapping.layers[1:](both)).abs().max() < 1e-13
    x = normal(2, 2, 8, 8)
    logits = torch.stack([recipe.d(x, 1, 1.0, torch.full((2,), k)) for k in range(3)], 1)
    assert torch.equal(recipe.d(x, 1, 1.0, label), torch.stack([logits[0, 2], logits[1, 0]]))
    assert tiny(Spec((2, 16, 16), num_classes=3)).spec.num_classes == 0  # the paper's has no labels


# Growth --------------------------------------------------------------------------------------------------------------


def test_the_paper_s_schedule():
    with torch.device("meta"):
        recipe = StyleGAN(Spec((3, 1024, 1024)), **StyleGAN.presets["paper"].model)
    k = 1000
    assert recipe.phase(0) == Phase(2, 8, 256) and recipe.grown(600 * k - 1) == (1, 1.0)
    assert (
        recipe.grown(600 * k) == (2, 0.0) and recipe.grown(900 * k) == (2, 0.5) and recipe.grown(1200 * k) == (2, 1.0)
    )
    assert recipe.grown(8_400 * k - 1)[1] < 1 and recipe.grown(8_400 * k) == recipe.grown(10**9) == (8, 1.0)
    batches = {recipe.phase(i).resolution: recipe.phase(i).batch for i in range(0, 9_000 * k, 100 * k)}
    assert batches == {8: 256, 16: 128, 32: 64, 64: 32, 128: 32, 256: 32, 512: 32, 1024: 32}
    assert recipe.lrs == {128: 0.0015, 256: 0.002, 512: 0.003} and recipe.lr == 1e-3
    assert [tiny(start=side).first for side in (4, 8, 16, 1024)] == [0, 1, 2, 2]
    assert tiny(Spec((1, 28, 28))).first == 1 and tiny(Spec((1, 28, 28))).phase(0).resolution == 14


@pytest.mark.parametrize("level", [1, 2])
def test_a_fade_begins_where_the_last_level_ended_and_ends_where_the_next_goes_on(level):
    recipe, side = tiny(), 4 << level
    ws, x, noise = normal(4, 6, 5), normal(4, 2, side, side, seed=1), recipe.g.synthesis.maps("const")
    before = recipe.g.synthesis(ws, noise, level - 1, 1.0).repeat_interleave(2, 2).repeat_interleave(2, 3)
    after = recipe.g.synthesis(ws, noise, level, 1.0)
    assert after.shape == (4, 2, side, side) and torch.equal(recipe.g.synthesis(ws, noise, level, 0.0), before)
    assert (recipe.g.synthesis(ws, noise, level, 0.25) - (0.75 * before + 0.25 * after)).abs().max() < 1e-13
    small = x.unflatten(3, (side // 2, 2)).unflatten(2, (side // 2, 2)).mean((3, 5))
    old, nearly, new = recipe.d(small, level - 1, 1.0), recipe.d(x, level, 1 - 1e-12), recipe.d(x, level, 1.0)
    assert (recipe.d(x, level, 0.0) - old).abs().max() < 1e-12
    assert (new - nearly).abs().max() < 1e-9 and (new - old).abs().max() > 1e-3


def test_samples_are_whole_images_at_every_level():
    recipe = tiny(Spec((2, 24, 16)))
    for images, sides in [(0, (12, 8)), (20, (24, 16)), (99, (24, 16))]:
        level, alpha = recipe.grown(images)
        recipe.level.fill_(level), recipe.alpha.fill_(alpha)
        z = normal(2, 6)
        raw = recipe.g.synthesis(recipe.mapping(z), recipe.g.synthesis.maps("const"), level, alpha)
        assert raw.shape == (2, 2, *sides) and recipe.d(raw, level, alpha).shape == (2,)
        enlarged = raw.repeat_interleave(24 // sides[0], 2).repeat_interleave(16 // sides[1], 3).clamp(-1, 1)
        assert torch.equal(recipe.sample(z), enlarged) and raw.abs().max() > 1


def test_bad_arguments_say_what_to_type():
    with pytest.raises(ValueError, match="SIDE:VALUE"):
        tiny(batches="256=14")
    with pytest.raises(ValueError, match="hold is 0"):
        tiny(hold=0)


GROWING = dict(
    data="digits", preset="small", images=48, batch=8, log=16, preview=0, save=16, ema=20, quiet=True, **TINY
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return training.train("stylegan", outdir=tmp_path_factory.mktemp("whole"), **GROWING)


def stats(run: Run) -> list[dict]:
    lines = (run.folder / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


@pytest.mark.parametrize("after", [16, 24, 32])  # 8 px to 16 images, fade to 32, 16 px: at a fade's edges and within
def test_a_run_interrupted_as_it_grows_ends_with_the_same_bits(after, whole, tmp_path, interrupt, monkeypatch):
    entered, enter = [], StyleGAN.enter
    monkeypatch.setattr(
        StyleGAN, "enter", lambda self, index, batch: (entered.append(index), enter(self, index, batch))
    )
    broken = interrupt(after, "stylegan", outdir=tmp_path, **GROWING)
    torch.manual_seed(1)
    resumed = training.resume(broken, quiet=True)
    assert entered == [2, 3, 4]  # once each, whether before or after the interruption
    for file in ("state.safetensors", "weights.safetensors"):
        (a, about_a), (b, about_b) = (read_tensors(run.folder / file) for run in (whole, resumed))
        assert a.keys() == b.keys() and about_a.get("state") == about_b.get("state")
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert stats(whole) == stats(resumed)
    assert [line["d/level"] for line in stats(whole)] == [1, 1.25, 2]


def test_a_loaded_model_knows_its_level_noise_and_mean(whole):
    for opt in whole.recipe.opt.values():
        assert {int(moments["step"]) for moments in opt.state.values()} == {(48 - 32) // 8}
    trained = gankit.load(whole.folder)
    assert (int(trained.recipe.level), float(trained.recipe.alpha)) == (2, 1.0)
    assert trained.recipe.w_mean.any() and torch.equal(trained.recipe.w_mean, whole.recipe.w_mean)
    assert torch.equal(trained.sample(3), whole.sample(3))
    assert (trained.sample(3, trunc=0.5) - trained.sample(3)).abs().max() > 1e-4


def test_pieces_agree_with_the_whole_batch(tmp_path):
    options = GROWING | dict(images=8, precision="fp64", group=1, w_beta=0.5)
    runs = [training.train("stylegan", outdir=tmp_path / str(n), **options | dict(pieces=n)) for n in (1, 4)]
    states = [run.recipe.state_dict() for run in runs]
    assert (
        max((states[0][name] - states[1][name]).abs().max() for name in states[0]) < 1e-6
    )  # Adam divides by small moments
    a, b = (json.loads((run.folder / "stats.jsonl").read_text()) for run in runs)
    assert all(a[name] == pytest.approx(b[name], rel=1e-9) for name in ("d/loss", "d/penalty", "d/grad"))


def test_labels_sides_tables_and_all_stages_train(tmp_path):
    options = GROWING | dict(data="digits", batches="8:4 16:2", lrs="16:.5", images=40, conditional=True, start=4)
    run = training.train("stylegan", outdir=tmp_path, **options)
    assert run.phase == Phase(3, 16, 2) or run.phase.resolution == 8
    assert run.sample(3, label=2).shape == (3, 1, 16, 16)
    run = training.train("stylegan", outdir=tmp_path, **GROWING | dict(data="textures", resolution="16x24", images=40))
    assert run.phase == Phase(4, 16) and run.sample(2).shape == (2, 1, 16, 24)


# R1 ------------------------------------------------------------------------------------------------------------------


def test_reals_are_faded_like_fakes_and_seen_augmented_by_d_alone(monkeypatch):
    recipe, seen = tiny(group=1), []
    real, forward = normal(4, 2, 8, 8).clamp(-1, 1), recipe.d.forward
    monkeypatch.setattr(recipe.d, "forward", lambda x, *at: (seen.append(x), forward(x, *at))[1])
    loss, out = recipe.d_loss(Batch({"real": real}, augmenter=lambda x, draw: 2 * x), level=1, alpha=0.25)
    coarse = real.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    faded = 0.75 * coarse + 0.25 * real
    assert len(seen) == 2 and (seen[0] - 2 * faded).abs().max() < 1e-14
    slopes = slope_squares(lambda x: forward(2 * x, 1, 0.25), faded)
    assert out["penalty"].item() == pytest.approx(slopes.mean().item(), rel=1e-6)
    batch = Batch({"real": real}, augmenter=lambda x, draw: 2 * x)
    fake = forward(2 * recipe.fakes(batch, 1, 0.25), 1, 0.25)
    expected = F.softplus(-forward(2 * faded, 1, 0.25)).mean() + F.softplus(fake).mean() + 5 * slopes.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def slope_squares(critic, x: Tensor) -> Tensor:
    """|d output / dx|^2 of each row from finite differences, for a critic whose outputs do not depend on other rows."""
    ways = torch.eye(x[0].numel(), dtype=x.dtype).view(-1, *x.shape[1:]) * 1e-5
    with torch.no_grad():
        slopes = [(critic(row + ways) - critic(row - ways)) / 2e-5 for row in x]
    return torch.stack(slopes).square().sum(1)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_r1_s_derivative_by_d_s_weights_is_the_numeric_one(alpha):
    recipe = tiny(group=2)
    real = normal(2, 2, 8, 8)

    def penalty() -> Tensor:
        return recipe.d_loss(Batch({"real": real}), 1, alpha)[1]["penalty"]

    weights = [p for n, p in recipe.d.named_parameters() if "blocks.1" not in n and "from_rgb.2" not in n]
    weights = [p for p in weights if p.dim() > 1][1 if alpha == 1 else 0 :]  # biases have none but at kinks
    grads = torch.autograd.grad(penalty(), weights)
    for weight, grad in zip(weights, grads):
        way = normal(*weight.shape, seed=7)
        kept, ends = weight.data, []
        for step in (1e-6, -1e-6):
            weight.data = kept + step * way
            ends.append(penalty().item())
        weight.data = kept
        assert (grad * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cpu_and_gpu_agree():
    torch.manual_seed(0)
    recipe = StyleGAN(Spec((3, 32, 32)), channel_max=64)
    recipe.level.fill_(3)
    z, x = torch.randn(4, 512), torch.randn(4, 3, 32, 32)
    cpu = recipe.sample(z), recipe.d(x, 3, 1.0)
    recipe.cuda()
    gpu = recipe.sample(z.cuda()), recipe.d(x.cuda(), 3, 1.0)
    assert all((a - b.cpu()).abs().max() < 1e-2 for a, b in zip(cpu, gpu))
