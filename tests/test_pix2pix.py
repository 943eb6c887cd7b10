"""pix2pix: the paper's U-Net and PatchGAN, dropout masks as noise, both sides of a pair transformed alike."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import data, training
from gankit.augment import Augment
from gankit.models.pix2pix import Pix2Pix
from gankit.nn import (
    OwnBatchNorm2d,
    PatchDiscriminator,
    UNetGenerator,
    instance_norm,
    patch_layers,
    unet_levels,
    unet_size,
)
from gankit.recipe import Batch, Spec
from gankit.training.setup import open_data

SPEC = Spec((1, 16, 16), other=(3, 16, 16))
TINY = dict(width=4, patch=16, jitter=False)


def tiny(spec: Spec = SPEC, **more: object) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(spec, **TINY | more).double()


def pairs(n: int = 3, spec: Spec = SPEC, **more: object) -> Batch:
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.rand(n, *shape, generator=generator, dtype=torch.float64) * 2 - 1 for shape in (spec.shape, spec.other)
    )
    return Batch({"a": a, "b": b}, **more)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


class Kept:
    """A run that records the arguments of `update` and trains nothing."""

    def __init__(self) -> None:
        self.done, self.step, self.calls = 0.0, 0, {}

    def update(self, name: str, loss_fn: object, batch: Batch, *more: Tensor) -> dict[str, Tensor]:
        self.calls[name] = more
        return loss_fn(batch, *more)[1]


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("norm", ["batch", "image"])
def test_losses_and_gradients_are_the_same_in_both_memory_layouts(norm, n):
    values = []
    for layout in (torch.contiguous_format, torch.channels_last):
        recipe, batch = tiny(norm=norm).to(memory_format=layout), pairs(n)
        a, b = (batch.fields[side].contiguous(memory_format=layout) for side in "ab")
        z = batch.draw(partial(recipe.noise, height=16, width=16))
        for loss, net in ((recipe.d_loss, recipe.d), (recipe.g_loss, recipe.g)):
            value = loss(batch, a, b, z)[0]
            values.append([value, *torch.autograd.grad(value, list(net.parameters()))])
    for found, expected in zip(values[2] + values[3], values[0] + values[1], strict=True):
        assert (found - expected).abs().max() <= 1e-11 * max(1, expected.abs().max())


# Networks ------------------------------------------------------------------------------------------------------------


def test_networks_have_the_paper_s_counts_and_maps():
    with torch.device("meta"):
        for net, parameters in (
            (UNetGenerator(3, 3, 8), 54_413_955),
            (UNetGenerator(3, 3, 8, bias=True), 54_419_459),
            (UNetGenerator(3, 3, 8, bias=True, norm_inner=True), 54_420_483),
            (UNetGenerator(3, 3, 8, norm=instance_norm, bias=True), 54_409_603),
            (UNetGenerator(3, 3, 7), 41_828_995),
            (UNetGenerator(3, 3, 7, norm=instance_norm, bias=True), 41_825_667),
        ):
            assert count(net) == parameters
        for layers, plain, biased, side, larger in (
            (0, 9_024, None, 256, 286),
            (1, 139_585, 139_713, 126, 141),
            (2, 666_433, None, 62, 69),
            (3, 2_768_705, 2_769_601, 30, 33),
            (4, 6_964_033, None, 14, 15),
            (5, 11_159_361, 11_161_281, 6, 6),
            (6, 15_354_689, None, 2, 2),
        ):
            net = PatchDiscriminator(6, layers=layers)
            assert count(net) == plain
            assert biased is None or count(PatchDiscriminator(6, layers=layers, bias=True)) == biased
            for at, out in (256, side), (286, larger):
                assert net(torch.empty(1, 6, at, at)).shape == (1, 1, out, out)
        assert count(PatchDiscriminator(3, norm=instance_norm, bias=True)) == 2_764_737
        assert count(PatchDiscriminator(3)) == 2_765_633
        g = Pix2Pix(Spec((3, 256, 512), other=(1, 256, 512))).g
        assert g(torch.empty(1, 3, 256, 512), torch.empty(1, 86_016)).shape == (1, 1, 256, 512)


def test_maps_of_the_unet_are_the_paper_s():
    with torch.device("meta"):
        seen, net = [], UNetGenerator(3, 3, 8)
        for block in (*net.down, *net.up):
            block.register_forward_hook(lambda _, x, y: seen.append((x[0].shape[1], y.shape[1], y.shape[2])))
        net(torch.empty(1, 3, 256, 256), torch.empty(1, net.noise(1, 256, 256).shape[1]))
    downs = [*((3, 64, 128), (64, 128, 64), (128, 256, 32), (256, 512, 16)), *((512, 512, s) for s in (8, 4, 2, 1))]
    ups = [(512, 512, 2), *((1024, 512, s) for s in (4, 8, 16)), (1024, 256, 32), (512, 128, 64), (256, 64, 128)]
    ups += [(128, 3, 256)]
    assert seen == downs + ups
    assert net.noise(1, 256, 256).shape[1] == 512 * (2 * 2 + 4 * 4 + 8 * 8), "masks of the three innermost maps"
    normed = [any(isinstance(layer, nn.BatchNorm2d) for layer in block) for block in (*net.down, *net.up)]
    assert normed == [False] + [True] * 6 + [False] + [True] * 7 + [False], "none at 1x1, where it would leave nothing"
    without = UNetGenerator(3, 3, 8, skips=False, width=2)
    assert [block[1].in_channels for block in without.up] == [16, 16, 16, 16, 16, 8, 4, 2]


def test_a_patch_is_as_large_as_it_says():
    for patch in (1, 16, 34, 70, 142):
        net = PatchDiscriminator(1, width=1, layers=patch_layers(patch, 512, 512), norm=None).double()
        for p in net.parameters():
            p.data.fill_(0.1)
        x = torch.ones(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
        out = net(x)
        out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
        rows = x.grad[0, 0].abs().sum(1).nonzero()
        assert rows.max() - rows.min() + 1 == patch


def literal_unet(net: UNetGenerator, x: Tensor, masks: list[Tensor]) -> Tensor:
    """The paper's appendix written out, with each image's own statistics."""

    def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)

    downs = [F.conv2d(x, net.down[0][0].weight, None, 2, 1)]
    for i, block in enumerate(net.down[1:], 1):
        h = F.conv2d(F.leaky_relu(downs[-1], 0.2), block[1].weight, None, 2, 1)
        downs.append(normed(h, block[2]) if i < net.levels - 1 else h)
    h = downs.pop()
    for i, block in enumerate(net.up):
        h = F.conv_transpose2d(F.relu(h), block[1].weight, block[1].bias, 2, 1)
        if i == net.levels - 1:
            return h.tanh()
        h = normed(h, block[2])
        h = torch.cat([downs.pop(), h * masks[i] * 2 if i < len(masks) else h], 1)


def cut(net: UNetGenerator, z: Tensor, height: int, width: int) -> list[Tensor]:
    """The dropout masks of each map."""
    masks, at = [], 0
    for i, c in enumerate(net.masked):
        h, w = (side >> net.levels - 1 - i for side in (height, width))
        masks.append(z[:, at : at + c * h * w].view(-1, c, h, w))
        at += c * h * w
    assert at == z.shape[1]
    return masks


def test_g_equals_the_paper_s_appendix_and_no_image_depends_on_another():
    recipe = tiny(Spec((1, 32, 48), other=(3, 32, 48)), levels=4, width=3).eval()
    x = torch.randn(4, 1, 32, 48, dtype=torch.float64).tanh()
    z = recipe.noise(4, 32, 48).double()
    assert set(z.unique().tolist()) == {0, 1} and 0.45 < z.mean() < 0.55
    with torch.no_grad():
        whole = recipe.translate(x, z)
        assert (whole - literal_unet(recipe.g, x, cut(recipe.g, z, 32, 48))).abs().max() < 1e-12
        alone = torch.cat([recipe.translate(x[i : i + 1], z[i : i + 1]) for i in range(4)])
        assert (whole - alone).abs().max() < 1e-12
        assert (recipe.translate(x, z.flip(0)) - whole).abs().max() > 1e-6, "noise does nothing"


def test_training_s_norms_go_by_the_batch_and_with_one_image_by_the_image():
    recipe, batch = tiny(), pairs()
    z = recipe.noise(3, 16, 16).double()
    with torch.no_grad():
        whole = recipe.train().translate(batch.a, z)
        one = recipe.translate(batch.a[:1], z[:1])
        own = tiny(norm="image").train().translate(batch.a, z)
        alone = recipe.eval().translate(batch.a, z)
    assert (whole[:1] - one).abs().max() > 1e-6 and (alone[:1] - one).abs().max() < 1e-12
    assert (own - alone).abs().max() < 1e-12
    assert not list(recipe.buffers()), "no running statistics"
    norm, x = OwnBatchNorm2d(2).double(), torch.randn(3, 2, 4, 5, dtype=torch.float64)
    assert (norm(x) - F.batch_norm(x, None, None, training=True)).abs().max() < 1e-12
    assert (norm.eval()(x) - F.instance_norm(x)).abs().max() < 1e-12


def test_a_batch_of_one_trains_though_the_innermost_map_is_one_pixel():
    recipe, run = tiny(), Kept()
    recipe.step(pairs(1), run)
    with pytest.raises(ValueError, match="more than 1 value"):
        UNetGenerator(1, 1, 4, width=2, norm_inner=True)(torch.zeros(1, 1, 16, 16), torch.ones(1, 2 * 336))


def test_sizes_follow_the_image_and_errors_say_what_to_type():
    sizes = ((256, 256), (512, 512), (256, 768), (64, 64), (96, 64), (48, 80))
    assert [unet_levels(*size) for size in sizes] == [8, 8, 8, 6, 5, 4]
    for size in ((1, 1), (16, 16), (100, 60), (213, 320), (480, 640), (1080, 1920)):
        near = unet_size(*size)
        levels = unet_levels(*near)
        assert near == unet_size(*near) and levels >= 2 and (levels == 8 or min(near) >> levels <= 3)
    assert unet_size(256, 256) == (256, 256) and unet_size(213, 320) == (192, 320)
    recipe = tiny(Spec((1, 32, 48), other=(3, 32, 48)))
    assert recipe.multiple == 16 and tiny(levels=2).multiple == 4 and tiny(levels=5).multiple == 16
    for options, words in (
        (dict(patch=70), "patches of 70 need sides of 24 and more; found 16x16. Add --patch 34"),
        (dict(patch=3), "there are patches of 1, 16, 34, 70, 142, 286 pixels"),
        (dict(loss="bce"), "choose from minimax, non_saturating"),
        (dict(direction="a"), "choose from AtoB and BtoA"),
        (dict(norm="none"), "choose from batch and image"),
        (dict(dropout=1.0), "at least 0 and below 1"),
        (dict(levels=1), "has 2 levels or more"),
    ):
        with pytest.raises(ValueError, match=words):
            tiny(**options)


# Losses --------------------------------------------------------------------------------------------------------------


def test_losses_are_the_paper_s():
    recipe, batch = tiny(), pairs()
    x, y, z = batch.a, batch.b, recipe.noise(3, 16, 16).double()
    fake = recipe.g(x, z)
    real_map, fake_map = (recipe.d(torch.cat([x, side], 1)) for side in (y, fake))  # the side given first
    bce = F.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(real_map), torch.zeros_like(real_map)
    loss, outputs = recipe.d_loss(batch, x, y, z)
    assert (loss - 0.5 * (bce(real_map, one) + bce(fake_map, zero))).abs() < 1e-12
    loss, outputs = recipe.g_loss(batch, x, y, z)
    assert (outputs["l1"] - (y - fake).abs().mean()).abs() < 1e-12
    assert (loss - bce(fake_map, one) - 100 * (y - fake).abs().mean()).abs() < 1e-12
    assert (tiny(l1_weight=0.0).g_loss(batch, x, y, z)[0] - bce(fake_map, one)).abs() < 1e-12
    alone = tiny(conditional=False)
    assert alone.d.net[0].in_channels == 3
    assert torch.equal(alone.judge(batch, x, y), alone.d(y))
    for loss in ("least_squares", "relativistic"):
        losses = [getattr(tiny(loss=loss), f"{n}_loss")(batch, x, y, z)[0] for n in "dg"]
        assert all(torch.isfinite(value) for value in losses)


def test_l1_alone_trains_no_discriminator_and_direction_turns_the_pair_round():
    run, batch = Kept(), pairs()
    tiny(gan_weight=0.0).step(batch, run)
    assert list(run.calls) == ["g"]
    recipe, run = tiny(direction="BtoA"), Kept()
    recipe.step(batch, run)
    assert list(run.calls) == ["d", "g"], "D before G"
    assert all(torch.equal(given, expected) for given, expected in zip(run.calls["g"], (batch.b, batch.a)))
    assert all(torch.equal(d, g) for d, g in zip(run.calls["d"], run.calls["g"])), "the same images and masks for both"
    assert recipe.g.down[0][0].in_channels == 3
    assert recipe.translate(batch.b, recipe.noise(3, 16, 16).double()).shape == (3, 1, 16, 16)
    columns = recipe.eval().strip(pairs())
    assert torch.equal(columns[0], batch.b) and torch.equal(columns[2], batch.a) and columns[1].shape == (3, 1, 16, 16)
    assert all(torch.equal(x, y) for x, y in zip(columns, recipe.strip(pairs())))


# Sides are changed alike ---------------------------------------------------------------------------------------------


def test_jitter_cuts_both_sides_at_one_place_drawn_by_position():
    x = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 63), torch.linspace(-1, 1, 72), indexing="ij"))
    x = x.double().expand(6, -1, -1, -1)
    recipe, run = tiny(Spec((2, 56, 64), other=(1, 56, 64)), jitter=True, levels=2), Kept()
    assert recipe.load_size == (63, 72), "286 / 256 times as large, rounded"
    recipe.step(Batch({"a": x, "b": x[:, :1]}), run)
    a, b = run.calls["g"][:2]
    assert torch.equal(a[:, :1], b) and a.shape == (6, 2, 56, 64)
    assert len({tuple(image[:, 0, 0].tolist()) for image in a}) > 1, "each row at its own place"
    windows = x.unfold(2, 56, 1).unfold(3, 64, 1)
    for i in range(6):
        assert (windows[i] - a[i, :, None, None]).abs().amax((0, 3, 4)).min() == 0, "a window of what was read"


def test_augmentation_moves_both_sides_alike():
    batch = pairs(
        4, Spec((1, 16, 16), other=(1, 16, 16)), augmenter=Augment("ada", "blit,geometric", 1.0, 0.0, 1).double()
    )
    same, other = batch.augment_alike(batch.a, batch.a)
    assert torch.equal(same, other) and not torch.equal(same, batch.a)
    again = batch.augment(batch.a)
    assert not torch.equal(again, same), "the next call draws anew"


def test_pieces_give_what_the_whole_batch_gives(tmp_path):
    """With dropout, jitter and norms by image."""
    states = []
    for pieces in (1, 3):
        run = training.train(
            "pix2pix", data="photo-edges", resolution="16", precision="fp64", images=18, batch=6, pieces=pieces,
            width=2, patch=16, levels=3, norm="image", mirror=True, lr=1e-3, preview=0, quiet=True,
            outdir=tmp_path / str(pieces),
        )  # fmt: skip
        states.append(run.recipe.state_dict())
    for name, value in states[0].items():
        assert (value - states[1][name]).abs().max() < 1e-9, name  # Adam divides by gradients' size


@pytest.mark.parametrize("pieces, passes", [(1, 1), (2, 4)])
@pytest.mark.parametrize("norm, loss", [("image", "non_saturating"), ("batch", "relativistic_average")])
def test_one_forward_pass_of_g_serves_both_updates_with_the_same_bits(
    norm, loss, pieces, passes, monkeypatch, tmp_path
):
    states, calls = [], []
    forward = UNetGenerator.forward
    monkeypatch.setattr(UNetGenerator, "forward", lambda *arguments: (calls.append(1), forward(*arguments))[1])
    for name in ("once", "twice"):
        if name == "twice":
            monkeypatch.setattr("gankit.models.pix2pix.once", lambda net: net)
        calls.clear()
        run = training.train(
            "pix2pix", data="photo-edges", resolution="16", images=16, batch=4, pieces=pieces, width=4, patch=16,
            norm=norm, loss=loss, mirror=True, lr=1e-3, augment="diffaugment", preview=0, quiet=True,
            outdir=tmp_path / name,
        )  # fmt: skip
        assert len(calls) == 4 * (passes if name == "once" else 2 * pieces)
        states.append(run.recipe.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_learns_a_pair_and_a_seed_is_one_picture(tmp_path):
    """A few steps with only L1 give a smaller distance than the mean colour."""
    run = training.train(
        "pix2pix", data="photo-grey", resolution="16", images=400, batch=8, width=8, patch=16, gan_weight=0.0,
        jitter=False, lr=5e-3, norm="image", dropout=0.0, preview=0, outdir=tmp_path, quiet=True,
    )  # fmt: skip
    with run.averaged() as recipe:
        row = next(open_data(run.settings, Pix2Pix).stream(0, 32, seed=9))
        grey, colour = (data.normalise(row[side]) for side in "ab")
        made = recipe.translate(grey, recipe.noise(32, 16, 16))
    baseline = (colour - colour.mean((0, 2, 3), keepdim=True)).abs().mean()
    assert (made - colour).abs().mean() < 0.6 * baseline
    assert np.isfinite(made.numpy()).all()
