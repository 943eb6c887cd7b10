"""StyleGAN2: layers against slow literal definitions in float64, penalties, order of updates, mixing, styles."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gankit
from gankit import models, training
from gankit.models.stylegan2 import Block, Conv, Layer, Mapping, StyleGAN2
from gankit.nn import MinibatchStddev, ModulatedConv2d
from gankit.penalties import path_length
from gankit.recipe import Batch, Spec
from gankit.runs.files import read_tensors

SPEC = Spec((2, 16, 16))
TINY = dict(z_dim=6, w_dim=5, layers=2, channel_base=32, channel_max=6, group=2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Convert to float64, with all parameters changed, noise strengths and biases included."""
    module = module.double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = 0.6 * normal(*parameter.shape, seed=i + 1) + 0.3
    return module


def tiny(spec: Spec = SPEC, **more: object) -> StyleGAN2:
    torch.manual_seed(0)
    recipe = fill(StyleGAN2(spec, **TINY | more))
    for layer in recipe.g.mapping.layers:  # which are divided by 100 at run time
        layer.weight.data *= 100
    for layer in recipe.g.synthesis.to_rgb:  # images within [-1, 1]
        layer.weight.data *= 0.03
        layer.bias.data *= 0.1
    return recipe


def batch(n: int = 4, classes: int = 3, side: int = 16, seed: int = 0) -> Batch:
    return Batch({"real": normal(n, 2, side, side, seed=seed).tanh(), "label": torch.arange(n) % classes}, seed=7)


# Literal definitions -------------------------------------------------------------------------------------------------


def correlate(x: Tensor, weight: Tensor, step: int = 1, pad: int = 0) -> Tensor:
    """(C, H, W) and (O, C, k, k) to (O, ...): each output is the sum over its receptive field."""
    x, k = F.pad(x, (pad,) * 4), weight.shape[-1]
    rows, columns = ((side - k) // step + 1 for side in x.shape[1:])
    out = x.new_zeros(len(weight), rows, columns)
    for i in range(rows):
        for j in range(columns):
            out[:, i, j] = (x[None, :, step * i : step * i + k, step * j : step * j + k] * weight).sum((1, 2, 3))
    return out


def fir(x: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    """(C, H, W): zero insertion, zero padding, (1, 3, 3, 1) along both sides, decimation."""
    wide = x.new_zeros(x.shape[0], x.shape[1] * up, x.shape[2] * up)
    wide[:, ::up, ::up] = x
    row = torch.tensor([1, 3, 3, 1], dtype=x.dtype) / 8
    wide = F.pad(wide, (*pad, *pad))
    kernel = gain * torch.outer(row, row)[None, None]
    return torch.cat([correlate(c[None], kernel, down) for c in wide])


def spread(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution with stride 2: each pixel of (C, H, W) adds its kernel at twice its position."""
    k = weight.shape[-1]
    out = x.new_zeros(len(weight), 2 * x.shape[1] - 2 + k, 2 * x.shape[2] - 2 + k)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            out[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += torch.einsum("c,ocab->oab", x[:, i, j], weight)
    return out


def modulated(layer: ModulatedConv2d, x: Tensor, w: Tensor) -> Tensor:
    """The paper's eq. 1 and 3, with weights computed for each sample, without the bias."""
    out = []
    for row, style in zip(x, w):
        s = layer.style.weight @ style / style.numel() ** 0.5 + layer.style.bias
        weight = layer.weight * s[None, :, None, None]
        if layer.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        else:
            weight = weight / layer.weight[0].numel() ** 0.5
        k = weight.shape[-1]
        if layer.blur is None:
            out.append(correlate(row, weight, pad=k // 2))
        else:
            out.append(fir(spread(row, weight), pad=((5 - k) // 2,) * 2, gain=4))
    return torch.stack(out)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("kernel, demodulate", [(3, True), (3, False), (1, False), (1, True)])
def test_modulated_convolution_is_its_definition(kernel, up, demodulate):
    layer = fill(ModulatedConv2d(3, 4, kernel, 5, up, demodulate))
    x, w, noise = normal(2, 3, 4, 6), normal(2, 5, seed=1), normal(2, 1, 8 if up else 4, 12 if up else 6, seed=2)
    expected = modulated(layer, x, w) + layer.bias[:, None, None]
    assert expected.shape == (2, 4, 8 if up else 4, 12 if up else 6)
    assert (layer(x, w) - expected).abs().max() < 1e-12
    assert (layer(x, w, noise, gain=1.7) - 1.7 * (expected + noise)).abs().max() < 1e-12
    again, by = modulated(layer, x, w).square().sum(), [layer.weight, *layer.style.parameters()]
    plain = layer(x, w) - layer.bias[:, None, None]
    for a, b in zip(torch.autograd.grad(plain.square().sum(), by), torch.autograd.grad(again, by)):
        assert (a - b).abs().max() < 1e-10


def test_modulated_convolution_has_second_derivatives():
    layer, x, w = fill(ModulatedConv2d(2, 1, 3, 2, up=True)), normal(1, 2, 1, 2), normal(1, 2, seed=1)
    names = [name for name, _ in layer.named_parameters()]

    def out(x: Tensor, w: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values)), (x, w))

    inputs = [t.clone().requires_grad_() for t in (x, w, *layer.parameters())]
    assert torch.autograd.gradgradcheck(out, inputs, fast_mode=True)


def test_demodulation_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    layer, w = ModulatedConv2d(8, 8, 3, 5), torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer.scales(w, 1.0)
        assert layer(torch.randn(2, 8, 4, 4), w).dtype == torch.bfloat16
    for a, b in zip(half, layer.scales(w, 1.0)):
        assert a.dtype == torch.float32 and torch.equal(a, b)


def test_a_layer_adds_noise_and_bias_before_the_activation():
    layer = fill(Layer(3, 4, 5, (4, 6), False, 0.9))
    x, w, noise = normal(2, 3, 4, 6), normal(2, 5, seed=1), normal(2, 1, 4, 6, seed=2)
    for given, used in ((noise, noise), (None, layer.noise)):
        h = modulated(layer.conv, x, w) + used * layer.strength + layer.conv.bias[:, None, None]
        expected = (F.leaky_relu(h, 0.2) * 2**0.5).clamp(-0.9, 0.9)
        assert (layer(x, w, given) - expected).abs().max() < 1e-12 and expected.abs().max() == 0.9


@pytest.mark.parametrize("residual", [True, False])
def test_a_block_of_the_discriminator_is_its_definition(residual):
    block, x = fill(Block(3, 4, residual, clamp=0.8)), normal(2, 3, 6, 8)
    for actual, row in zip(block(x), x):
        first, second = block.first, block.second
        h = correlate(row, first.weight / 27**0.5, pad=1) + first.bias[:, None, None]
        h = (F.leaky_relu(h, 0.2) * 2**0.5).clamp(-0.8, 0.8)
        h = correlate(fir(h, pad=(2, 2)), second.weight / 27**0.5, step=2) + second.bias[:, None, None]
        h = (F.leaky_relu(h, 0.2) * 2**0.5).clamp(-0.8, 0.8)
        if residual:
            h = (h + correlate(fir(row, down=2, pad=(1, 1)), block.skip / 3**0.5)) / 2**0.5
        assert h.shape == (4, 3, 4) and (actual - h).abs().max() < 1e-12


def test_the_mapping_network_is_its_definition():
    net, z, label = fill(Mapping(4, 3, 5, 2)), normal(2, 4), torch.tensor([2, 0])

    def sphere(v: Tensor) -> Tensor:
        return v / (v.square().mean() + 1e-8).sqrt()

    for actual, row, k in zip(net(z, label), z, label):
        w = torch.cat([sphere(row), sphere(net.embed.weight[:, k] / 3**0.5 + net.embed.bias)])
        for layer in net.layers:
            w = 2**0.5 * F.leaky_relu(0.01 * (layer.weight @ w / len(w) ** 0.5 + layer.bias), 0.2)
        assert (actual - w).abs().max() < 1e-14
    torch.manual_seed(0)
    assert Mapping(512, 0, 512, 8)(torch.randn(256, 512)).std().item() == pytest.approx(1.04, abs=0.06)


def test_the_discriminator_s_end_and_its_projection():
    recipe, images, label = tiny(Spec((2, 8, 8), 3), conditional=True), normal(4, 2, 8, 8), torch.tensor([0, 2, 1, 2])
    d = recipe.d
    h = d.conv(MinibatchStddev(2)(d.blocks(d.from_rgb(images))))
    h = 2**0.5 * F.leaky_relu(h.reshape(4, -1) @ d.dense.weight.T / h[0].numel() ** 0.5 + d.dense.bias, 0.2)
    h = h @ d.out.weight.T / 6**0.5 + d.out.bias
    for actual, row, k in zip(d(images, label), h, label):
        assert actual.item() == pytest.approx((row @ d.mapping(None, k[None])[0]).item() / 6**0.5, abs=1e-12)
    plain = tiny(Spec((2, 8, 8), 3))
    assert plain.d(images).shape == (4,) and plain.spec.num_classes == 0
    assert (recipe.sample(normal(4, 6), label) - recipe.sample(normal(4, 6), 2 - label)).abs().max() > 1e-3


def test_fan_in_of_the_discriminator_s_weights():
    torch.manual_seed(0)
    x = torch.randn(4, 64, 8, 8)
    assert Conv(64, 64, 3)(x)[..., 1:-1, 1:-1].square().mean().item() == pytest.approx(1, abs=0.1)


# G and its interface -------------------------------------------------------------------------------------------------


def test_each_style_goes_to_its_layer_and_pictures_add_up():
    recipe, seen = tiny(), {}
    g = recipe.g.synthesis
    for name, layer in [
        *((f"layer{i}", m.conv) for i, m in enumerate(g.layers)),
        *((f"rgb{i}", m) for i, m in enumerate(g.to_rgb)),
    ]:
        layer.register_forward_hook(lambda layer, given, out, name=name: seen.update({name: (given[1], out)}))
    ws = normal(2, recipe.num_ws, 5)
    image = g(ws)
    assert recipe.num_ws == 6 and all(layer.conv.demodulate for layer in g.layers)
    assert not any(layer.demodulate for layer in g.to_rgb)
    order = dict(layer0=0, rgb0=1, layer1=1, layer2=2, rgb1=3, layer3=3, layer4=4, rgb2=5)
    assert set(order) == set(seen)
    for name, i in order.items():
        assert torch.equal(seen[name][0], ws[:, i]), name
    expected = seen["rgb0"][1]
    for name in ("rgb1", "rgb2"):
        expected = torch.stack([fir(row, up=2, pad=(2, 1), gain=4) for row in expected]) + seen[name][1]
    assert (image - expected).abs().max() < 1e-12
    with torch.device("meta"):
        assert StyleGAN2(Spec((3, 1024, 1024))).num_ws == 18


def test_what_the_latent_tools_rely_on():
    recipe = tiny()
    z = normal(5, 6)
    ws = recipe.mapping(z)
    assert ws.shape == (5, recipe.num_ws, 5) and torch.equal(ws[:, 0], ws[:, 3])
    images = recipe.sample(z)
    assert images.shape == (5, 2, 16, 16) and images.min() >= -1 and images.max() <= 1
    assert torch.equal(images, recipe.synthesis(ws)) and torch.equal(images, recipe.sample(z))
    one, two, none = recipe.synthesis(ws, 1), recipe.synthesis(ws, 2), recipe.synthesis(ws, "none")
    assert torch.equal(one, recipe.synthesis(ws, 1)) and not torch.equal(one, two) and not torch.equal(one, images)
    for noise in ("const", "none", 1):  # a sample is the same picture whatever is drawn beside it
        assert (recipe.synthesis(ws[3:4], noise) - recipe.synthesis(ws, noise)[3:4]).abs().max() < 1e-12
    for layer in recipe.g.synthesis.layers:
        layer.strength.data.zero_()
    assert torch.equal(none, recipe.synthesis(ws, 2))
    assert recipe.w_mean is recipe.g.w_mean and recipe.w_mean.shape == (5,) and recipe.trunc_layers is None
    with pytest.raises(ValueError, match='"const", "none" or a seed'):
        recipe.synthesis(ws, "random")
    names = [name for name, _ in recipe.g.named_buffers() if name in recipe.g.state_dict()]
    assert names == ["w_mean", *(f"synthesis.layers.{i}.noise" for i in range(5))]


@pytest.mark.parametrize("shape", [(1, 24, 16), (3, 10, 14)])
def test_sides_need_not_be_equal_or_powers_of_two(shape):
    recipe = tiny(Spec(shape))
    assert recipe.sample(normal(2, 6)).shape == (2, *shape)
    assert recipe.d(normal(2, *shape)).shape == (2,)


def test_bad_arguments_say_what_to_type():
    with pytest.raises(ValueError, match="choose from resnet, orig"):
        tiny(architecture="skip")
    with pytest.raises(ValueError, match="mixing is 90"):
        tiny(mixing=90)
    with pytest.raises(ValueError, match="path_weight 0 leave"):
        tiny(path_every=0)


# Mixing, penalties, turns --------------------------------------------------------------------------------------------


def test_styles_are_mixed_from_one_layer_on_alike_in_all_pieces():
    recipe, whole = tiny(mixing=1.0), batch(6)
    (_, uncut), *_ = whole.split(1, 3)
    w, ws, _ = recipe.styles(uncut)
    pieces = [recipe.styles(piece) for _, piece in whole.split(3, 3)]
    assert (whole.join([p[1] for p in pieces]) - ws).abs().max() < 1e-12
    assert (whole.join([p[0] for p in pieces]) - w).abs().max() < 1e-12
    own = (ws == w[:, None]).all(2)
    first = int(own[0].sum())
    assert 1 <= first < recipe.num_ws and all(row.tolist() == [i < first for i in range(6)] for row in own)
    torch.manual_seed(0)
    for mixing in (0.0, 0.4, 1.0):
        recipe.mixing = mixing
        cuts = torch.stack([recipe.first_mixed(3) for _ in range(4000)])
        assert (cuts[:, :1] == cuts).all()
        share = torch.bincount(cuts[:, 0], minlength=7) / 4000  # layers 1 to 5 alike, 6 for none
        assert share[0] == 0 and (share[1:6] - mixing / 5).abs().max() < 0.03 and abs(share[6] - (1 - mixing)) < 0.03


def test_path_length_is_the_length_of_y_through_the_jacobian():
    weight, w, fixed = normal(5, 12), normal(3, 2, 5, seed=1), normal(3, 1, 4, 6, seed=2)

    def synthesis(ws: Tensor) -> Tensor:
        h = (ws[:, 0] @ weight).tanh() * (ws[:, 1] @ weight + 0.5 * ws[:, 0].prod(1, keepdim=True))
        return torch.cat([h, h.sin()], 1).view(-1, 1, 4, 6)

    actual = path_length(synthesis, w, lambda sampler: fixed)
    for length, row, y in zip(actual, w, fixed):
        jacobian = torch.autograd.functional.jacobian(lambda ws: synthesis(ws[None])[0].flatten(), row)  # (24, 2, 5)
        product = torch.einsum("p,pld->ld", y.flatten() / 24**0.5, jacobian)
        assert length.item() == pytest.approx(product.square().sum(1).mean().sqrt().item(), rel=1e-12)
    flat = path_length(lambda ws: synthesis(ws.view(-1, 2, 5)), w.flatten(1), lambda sampler: fixed)
    assert (flat - actual * 2**0.5).abs().max() < 1e-12
    assert path_length(lambda ws: synthesis(0 * ws), w, lambda sampler: fixed).tolist() == [0, 0, 0]

    def lengths(weight: Tensor, w: Tensor) -> Tensor:
        return path_length(
            lambda ws: torch.einsum("nld,dk->nk", ws.tanh(), weight).view(-1, 1, 2, 2).sin(),
            w,
            lambda sampler: fixed[:2, :, :2, :2],
        )

    inputs = weight[:2, :4].clone().requires_grad_(), w[:2, :, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lengths, inputs, fast_mode=True) and torch.autograd.gradgradcheck(
        lengths, inputs, fast_mode=True
    )


class Turns:
    """A run that records its updates: names, losses and outputs."""

    def __init__(self):
        self.step, self.turn, self.seen = 0, 0, []

    def update(self, name, loss, whole):
        self.turn += 1
        ((_, piece),) = whole.split(1, self.turn)
        total, outputs = loss(piece)
        self.seen.append((self.step, name, loss.__name__, total, outputs))
        return {k: v.detach() for k, v in outputs.items()}

    def mean(self, tensor):
        return tensor


def test_penalties_come_now_and_then_at_so_many_times_their_weight():
    recipe, run, latents = tiny(gamma=3.0, path_weight=2.0), Turns(), []
    noise = recipe.noise
    recipe.noise = lambda n: latents.append(noise(n)) or latents[-1]
    mean = 0.0
    for run.step in range(17):
        run.turn, before = 0, recipe.w_mean.clone()
        recipe.step(batch(seed=run.step), run)
        w = next(out["w"] for step, _, name, _, out in run.seen if step == run.step and name == "g_loss")
        assert (recipe.w_mean - (0.995 * before + 0.005 * w.mean(0))).abs().max() < 1e-12
        for step, _, name, loss, out in run.seen:
            if step == run.step and name == "path_loss":
                assert loss.item() == pytest.approx(4 * 2.0 * out["path_penalty"].item(), rel=1e-12)
                mean = 0.99 * mean + 0.01 * out["path"].item()
            if step == run.step and name == "r1_loss":
                assert loss.item() == pytest.approx(16 * 3.0 / 2 * out["r1"].item(), rel=1e-12)
        assert recipe.path_mean.item() == pytest.approx(mean, rel=1e-12)
    order = {step: [name for at, _, name, _, _ in run.seen if at == step] for step in range(17)}
    assert order[0] == order[16] == ["g_loss", "path_loss", "d_loss", "r1_loss"]
    assert order[4] == order[8] == order[12] == ["g_loss", "path_loss", "d_loss"]
    assert all(order[i] == ["g_loss", "d_loss"] for i in range(16) if i % 4)
    assert all(
        name == loss[0] or (name, loss) in (("g", "path_loss"), ("d", "r1_loss")) for _, name, loss, _, _ in run.seen
    )
    assert len({tuple(z.flatten().tolist()) for z in latents[:6]}) == 6  # of three turns, two each


def test_the_path_penalty_moves_its_mean_within_the_loss():
    recipe, ((_, piece),) = tiny(mixing=0.0), batch().split(1, 1)
    recipe.path_mean.fill_(0.2)
    lengths = []

    def spy(*given):
        lengths.append(path_length(*given))
        return lengths[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gankit.models.stylegan2.path_length", spy)
        loss, out = recipe.path_loss(piece)
    actual = lengths[0]
    assert actual.shape == (2,) and out["path"] == actual.mean()  # half of the batch
    penalty = (actual - (0.99 * 0.2 + 0.01 * actual.mean())).square().mean()
    assert loss.item() == pytest.approx(8 * penalty.item(), rel=1e-12)
    (grad,) = torch.autograd.grad(loss, actual, retain_graph=True)
    (expected,) = torch.autograd.grad(8 * penalty, actual, retain_graph=True)
    assert torch.equal(grad, expected)
    reached = torch.autograd.grad(loss, [recipe.g.mapping.layers[0].weight, recipe.g.synthesis.const])
    assert all(g.abs().max() > 0 for g in reached)  # the mapping network learns from it too


def test_adam_is_corrected_for_the_updates_in_between():
    with torch.device("meta"):
        recipe = StyleGAN2(Spec((3, 32, 32)))
    g, d = recipe.opt["g"].param_groups[0], recipe.opt["d"].param_groups[0]
    assert g["lr"] == pytest.approx(0.0016) and g["betas"] == (0, pytest.approx(0.991992, abs=5e-7))
    assert d["lr"] == pytest.approx(0.00188235, abs=5e-9) and d["betas"] == (0, pytest.approx(0.990585, abs=5e-7))
    assert g["eps"] == d["eps"] == 1e-8


def test_the_running_means_are_saved_and_come_back(tmp_path):
    options = dict(preset="small", data="digits", images=8, batch=8, preview=0, quiet=True, conditional=True) | TINY
    run = training.train("stylegan2", outdir=tmp_path, **options)
    tensors, _ = read_tensors(run.folder / "state.safetensors")
    assert run.recipe.path_mean > 0 and any(
        k.endswith("path_mean") and v == run.recipe.path_mean for k, v in tensors.items()
    )
    trained = gankit.load(run.folder).recipe
    assert trained.w_mean.abs().max() > 0 and torch.equal(trained.w_mean, run.recipe.w_mean)
    assert trained.g.mapping.embed.weight.shape == (5, 10)
    for a, b in zip(trained.g.synthesis.layers, run.recipe.g.synthesis.layers):
        assert torch.equal(a.noise, b.noise)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cpu_and_gpu_agree():
    recipe, z, label = tiny(Spec((2, 16, 16), 3), conditional=True), normal(4, 6), torch.tensor([0, 1, 2, 1])
    here = recipe.sample(z, label), recipe.d(batch().real, label), recipe.synthesis(recipe.mapping(z, label), 3)
    recipe.cuda()
    z, label = z.cuda(), label.cuda()
    there = recipe.sample(z, label), recipe.d(batch().real.cuda(), label), recipe.synthesis(recipe.mapping(z, label), 3)
    for a, b in zip(here, there):
        assert (a - b.cpu()).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["stylegan2", "stylegan", "pggan"])
def test_tanh_is_applied_to_the_whole_picture(name):
    kind, small = models.find(name), dict(channel_base=32, channel_max=8)
    torch.manual_seed(0)
    linear = kind(Spec((1, 8, 8)), **small)
    bounded = kind(Spec((1, 8, 8)), tanh=True, **small)
    bounded.load_state_dict(linear.state_dict())
    arguments = {"stylegan2": lambda r: (r.mapping(z),), "pggan": lambda r: (z, r.last, 0.5)}
    z = torch.randn(2, linear.z_dim)
    if name == "stylegan":
        ws, maps = linear.mapping(z), linear.g.synthesis.maps("none")
        pictures = [recipe.g.synthesis(ws, maps, 0, 1) for recipe in (linear, bounded)]
    else:
        net = {"stylegan2": lambda r: r.g.synthesis, "pggan": lambda r: r.g}[name]
        pictures = [net(recipe)(*arguments[name](linear)) for recipe in (linear, bounded)]
    assert torch.equal(pictures[1], pictures[0].tanh()) and not torch.equal(*pictures)
