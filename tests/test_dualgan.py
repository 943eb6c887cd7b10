"""DualGAN: its losses and clipped critics, dropout as noise, and the authors' TensorFlow networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import training
from gankit.models.dualgan import DualGAN, ShiftedInstanceNorm, down, up
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Spec
from gankit.training import Run

SPEC = Spec((1, 16, 16), other=(3, 16, 16))
TINY = dict(width=3, patch=16)


def tiny(spec: Spec = SPEC, **more: object) -> DualGAN:
    torch.manual_seed(0)
    return DualGAN(spec, **TINY | more).double()


def batch_of(n: int = 3, spec: Spec = SPEC) -> Batch:
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.rand(n, *shape, generator=generator, dtype=torch.float64) * 2 - 1 for shape in (spec.shape, spec.other)
    )
    return Batch({"a": a, "b": b})


def test_losses_are_the_paper_s():
    recipe, batch, again = tiny(cycle_weight_a=3.0, cycle_weight_b=7.0), batch_of(), batch_of()
    z, y = recipe.drawn(again)
    assert not torch.equal(z, y) and set(z.unique().tolist()) == {0, 1}
    a, b, g_a, g_b, d_a, d_b = batch.a, batch.b, recipe.g_ab, recipe.g_ba, recipe.d_b, recipe.d_a  # the paper's names
    loss, outputs = recipe.d_loss(batch)
    expected = (d_a(g_a(a, z)).mean() - d_a(b).mean()) + (d_b(g_b(b, y)).mean() - d_b(a).mean())
    assert (loss - expected).abs() < 1e-12 and set(outputs) == {"real", "fake"}
    batch.draws = 0
    loss, outputs = recipe.g_loss(batch)
    expected = 3 * (a - g_b(g_a(a, z), y)).abs().mean() + 7 * (b - g_a(g_b(b, y), z)).abs().mean()
    assert (loss - expected + d_b(g_b(b, y)).mean() + d_a(g_a(a, z)).mean()).abs() < 1e-12


def test_the_gradient_penalty_is_the_sum_over_both_critics():
    recipe, batch, again = tiny(penalty="gp", penalty_weight=10.0, dropout=0.0), batch_of(), batch_of()
    loss, _ = recipe.d_loss(batch)
    z, y = recipe.drawn(again)
    expected = 0.0
    for net, real, fake in (
        (recipe.d_a, again.a, recipe.g_ba(again.b, y)),
        (recipe.d_b, again.b, recipe.g_ab(again.a, z)),
    ):
        critic = lambda x, net=net: net(x).mean((1, 2, 3))  # noqa: E731
        expected = expected + net(fake).mean() - net(real).mean() + 10 * wgan_gp(critic, real, fake, again.draw)
    assert (loss - expected).abs() < 1e-12


def test_critics_learn_from_every_batch_and_are_clipped_and_g_from_every_nth(monkeypatch, tmp_path):
    names: list[str] = []
    update = Run.update

    def watched(run: Run, name: str, *args: object) -> dict[str, Tensor]:
        if name == "d" and names:
            largest = max(p.abs().max().item() for net in (run.recipe.d_a, run.recipe.d_b) for p in net.parameters())
            assert largest <= 0.02
        names.append(name)
        return update(run, name, *args)

    monkeypatch.setattr(Run, "update", watched)
    options = dict(
        data="digits-negative", images=28, batch=4, preview=0, quiet=True, clip_value=0.02, n_critic=3, lr=1e-3
    )
    run = training.train("dualgan", outdir=tmp_path, **TINY | options)
    assert names == ["d", "d", "d", "g", "d", "d", "d", "g", "d"]
    largest = [p.abs().max().item() for net in (run.recipe.d_a, run.recipe.d_b) for p in net.parameters()]
    assert max(largest) <= 0.02 and sum(value == pytest.approx(0.02) for value in largest) > 2, "the bound is reached"
    assert isinstance(run.recipe.opt["g"], torch.optim.RMSprop) and run.recipe.opt["g"].defaults["alpha"] == 0.9
    assert len(run.recipe.opt) == 2


@pytest.mark.parametrize("form", ["paper", "code"])
def test_no_translation_depends_on_another_image(form):
    spec = Spec((1, 32, 64), other=(3, 32, 64))
    recipe = tiny(spec, form=form).eval()
    x = torch.randn(3, 1, 32, 64, dtype=torch.float64).tanh()
    z = recipe.noise(3, 32, 64).double()
    with torch.no_grad():
        whole = recipe.translate(x, z, "b")
        alone = torch.cat([recipe.translate(x[i : i + 1], z[i : i + 1], "b") for i in range(3)])
        back = recipe.translate(whole, z, "a")
        assert whole.shape == (3, 3, 32, 64) and (whole - alone).abs().max() < 1e-12
        assert (recipe.translate(x, z.flip(0)) - whole).abs().max() > 1e-9, "noise does nothing"
    assert back.shape == x.shape and recipe.multiple == 32
    batch = batch_of(3, spec)
    columns = recipe.strip(batch)
    assert torch.equal(columns[0], batch.a) and torch.equal(columns[3], batch.b) and len(columns) == 6


# The authors' TensorFlow code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer, kernel", [(False, 3), (True, 5)])
def test_convolutions_pad_as_tensorflow_does(outer, kernel):
    """SAME at stride 2 pads by (0, 1) for a kernel of 3 and by (1, 2) for one of 5; `up` is its transpose."""
    conv, x = down(2, 3, True, outer).double(), torch.randn(1, 2, 8, 12, dtype=torch.float64)
    before, after = {3: (0, 1), 5: (1, 2)}[kernel]
    weight = conv[1].weight
    assert weight.shape == (3, 2, kernel, kernel)
    padded = torch.zeros(1, 2, 8 + kernel - 2, 12 + kernel - 2, dtype=torch.float64)
    padded[:, :, before : before + 8, before : before + 12] = x
    assert padded.shape[2] == 8 + before + after

    def window(i: int, j: int) -> Tensor:
        return padded[0, :, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]

    expected = torch.stack(
        [
            torch.stack([(window(i, j) * weight).sum((1, 2, 3)) for j in range(6)], 1)
            for i in range(4)
        ], 1,
    )  # fmt: skip
    assert (conv(x)[0] - expected - conv[1].bias.view(3, 1, 1)).abs().max() < 1e-12
    turned, y = up(3, 2, True, outer).double(), torch.randn(1, 3, 4, 6, dtype=torch.float64)
    turned[0].weight.data.copy_(weight)
    left = ((conv(x) - conv[1].bias.view(3, 1, 1)) * y).sum()  # <A x, y> = <x, A' y>
    right = (x * (turned(y) - turned[0].bias.view(2, 1, 1))).sum()
    assert turned(y).shape == x.shape and (left - right).abs() < 1e-10


def test_the_code_s_norm_leaves_of_one_pixel_its_bias():
    norm = ShiftedInstanceNorm(4).double()
    norm.bias.data.copy_(torch.arange(4))
    assert (norm(torch.randn(1, 4, 1, 1, dtype=torch.float64)).flatten() - torch.arange(4)).abs().max() < 1e-12
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    assert (norm(x) - F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=1e-6)).abs().max() < 1e-12


def test_the_code_s_networks_have_its_maps():
    with torch.device("meta"):
        recipe, seen = DualGAN(Spec((3, 256, 256), other=(3, 256, 256)), **DualGAN.presets["code"].model), []
        for block in (*recipe.g_ab.down, *recipe.g_ab.up, *recipe.d_a):
            block.register_forward_hook(lambda _, x, y: seen.append(tuple(y.shape[1:3])))
        assert recipe.noise(1, 256, 256).shape == (1, 0), "no dropout unless asked for"
        recipe.g_ab(torch.empty(1, 3, 256, 256), torch.empty(1, 0))
        assert seen == [
            *((64, 128), (128, 64), (256, 32), (512, 16), (512, 8), (512, 4), (512, 2), (512, 1)),
            *((512, 2), (512, 4), (512, 8), (512, 16), (256, 32), (128, 64), (64, 128), (3, 256)),
        ]
        seen.clear()
        assert recipe.d_a(torch.empty(2, 3, 256, 256)).shape == (2, 1)
        maps = [(64, 128), (128, 64), (256, 32), (512, 16), (512, 8)]
        assert [s for i, s in enumerate(seen[:-2]) if i in (0, 2, 5, 8, 11)] == maps
        kernels = [m.kernel_size[0] for m in recipe.g_ab.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        assert kernels == [5] + [3] * 14 + [5]
        normed = [
            any(isinstance(layer, ShiftedInstanceNorm) for layer in block)
            for block in (*recipe.g_ab.down, *recipe.g_ab.up)
        ]
        assert normed == [False] + [True] * 14 + [False], "even on one pixel"
        assert recipe.penalty == "gp" and recipe.n_critic == 1 and recipe.penalty_weight == 10


def test_the_code_s_form_trains(tmp_path):
    run = training.train(
        "dualgan", form="code", penalty="gp", n_critic=1, dropout=0.0, width=2, data="digits-negative", resolution="32",
        images=3, batch=1, preview=0, outdir=tmp_path, quiet=True,
    )  # fmt: skip
    assert all(torch.isfinite(p).all() for p in run.recipe.parameters())


def test_errors_say_what_to_type():
    for options, words in (
        (dict(form="tf"), "form is 'tf'; choose from paper and code"),
        (dict(penalty="r1"), "choose from clip and gp"),
        (dict(n_critic=0), "at least 1"),
        (dict(form="code"), "needs sides of 32 and more; found 16x16. Add --resolution 32"),
        (dict(patch=70), "Add --patch 34"),
        (dict(levels=1), "has 2 levels or more"),
    ):
        with pytest.raises(ValueError, match=words):
            tiny(**options)
