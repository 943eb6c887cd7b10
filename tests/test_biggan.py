"""BigGAN: truncation, standing statistics, the inputs of z and class, deep blocks, the order of updates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import cli, training
from gankit.models.biggan import BigGAN, DeepDBlock, DeepGBlock, LinearBatchNorm
from gankit.models.dcgan import DCGAN
from gankit.nn import BatchNorm2d, standing
from gankit.recipe import Batch, Spec
from gankit.runs.files import read_tensors
from gankit.training import Run


def small(height: int = 16, width: int = 16, deep: bool = False) -> BigGAN:
    torch.manual_seed(0)
    shape = (1, height, width)
    return BigGAN(Spec(shape, num_classes=3), deep=deep, width=8, chunk=5, z_dim=7, embed_dim=6).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("trunc", [0.3, 1.5])
def test_truncation_resamples_components_beyond_the_threshold(trunc):
    recipe, z = small(), normal(4000, 15)
    out, inside = recipe.truncate(z, trunc), z.abs() <= trunc
    assert torch.equal(out[inside], z[inside]) and out.abs().max() <= trunc
    assert torch.equal(recipe.truncate(z[7:8], trunc), out[7:8])
    density, share = math.exp(-(trunc**2) / 2) / math.sqrt(2 * math.pi), math.erf(trunc / math.sqrt(2))
    variance = 1 - 2 * trunc * density / share  # of N(0, 1) within +-trunc
    for values in (out, out[~inside]):
        assert abs(values.mean().item()) < 0.02 and values.square().mean().item() == pytest.approx(variance, rel=0.04)
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


def test_each_chunk_of_z_goes_to_its_block_and_the_class_to_all():
    recipe, conditions = small(), {}
    for i, block in enumerate(recipe.g.blocks):
        block.register_forward_hook(lambda block, inputs, out, i=i: conditions.update({i: inputs[1]}))
    z, label = normal(2, 15), torch.tensor([2, 0])
    recipe.g.dense.register_forward_hook(lambda layer, inputs, out: conditions.update(dense=inputs[0]))
    recipe.sample(z, label)
    assert torch.equal(conditions["dense"], z[:, :5])
    for i in range(2):
        assert torch.equal(conditions[i], torch.cat([recipe.g.embed.weight[label], z[:, 5 * i + 5 : 5 * i + 10]], 1))


def test_in_the_deep_form_all_of_z_and_the_class_go_to_every_layer_of_g():
    recipe, conditions = small(deep=True), []
    for layer in recipe.g.modules():
        if isinstance(layer, LinearBatchNorm):
            layer.register_forward_hook(lambda layer, inputs, out: conditions.append(inputs[1]))
    recipe.g.dense.register_forward_hook(lambda layer, inputs, out: conditions.append(inputs[0]))
    z, label = normal(2, 7), torch.tensor([2, 0])
    recipe.sample(z, label)
    assert len(conditions) == 1 + 4 * 4
    assert all(torch.equal(condition, torch.cat([z, recipe.g.embed.weight[label]], 1)) for condition in conditions)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("height, width", [(8, 8), (16, 24), (32, 32), (64, 64), (56, 56)])
def test_other_sizes(height, width, deep):
    recipe = small(height, width, deep).float()
    z, label = recipe.noise(2), torch.tensor([2, 0])
    images = recipe.sample(z, label)
    assert images.shape == (2, 1, height, width) and images.abs().max() <= 1
    recipe.d(images, label).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in recipe.parameters())


@pytest.mark.parametrize("deep", [False, True])
def test_attention_is_at_the_chosen_side_in_both_networks(deep):
    torch.manual_seed(0)
    recipe, shapes = BigGAN(Spec((3, 64, 64), num_classes=3), deep=deep, width=8, embed_dim=6, attention=16), []
    attention = [m for m in recipe.modules() if type(m).__name__ == "SelfAttention"]
    for layer in attention:
        layer.register_forward_hook(lambda layer, inputs, out: shapes.append(tuple(out.shape[1:])))
    label = torch.tensor([2])
    recipe.d(recipe.sample(recipe.noise(1), label), label)
    assert len(attention) == 2 and shapes == [(64, 16, 16), (32 if deep else 16, 16, 16)]


@pytest.mark.parametrize(
    "side, attention, g, d",
    [
        (64, 32, 31_866_116, 20_571_842),
        (128, 64, 31_978_628, 39_448_258),
    ],  # at 64 px from the author's code, including attention
)
def test_parameters_of_the_author_s_own_sizes(side, attention, g, d):
    with torch.device("meta"):
        recipe = BigGAN(Spec((3, side, side), num_classes=1000), width=64, attention=attention)
    assert [sum(p.numel() for p in net.parameters()) for net in (recipe.g, recipe.d)] == [g, d]


@pytest.mark.parametrize("out_channels, up", [(8, False), (4, True)])
def test_a_deep_block_of_g_by_definition(out_channels, up):
    torch.manual_seed(0)
    block = DeepGBlock(8, out_channels, lambda channels: LinearBatchNorm(channels, 4), up).double()
    x, condition = normal(3, 8, 2, 4), normal(3, 4, seed=1)

    def double(a: Tensor) -> Tensor:
        return a.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else a

    (a, b, c, d), (n0, n1, n2, n3) = block.convs, block.norms
    h = torch.einsum("oi,nihw->nohw", a.weight[:, :, 0, 0], n0(x, condition).relu()) + a.bias[:, None, None]
    h = F.conv2d(double(n1(h, condition).relu()), b.weight, b.bias, padding=1)
    h = F.conv2d(n2(h, condition).relu(), c.weight, c.bias, padding=1)
    h = torch.einsum("oi,nihw->nohw", d.weight[:, :, 0, 0], n3(h, condition).relu()) + d.bias[:, None, None]
    assert h.shape[1] == out_channels and a.weight.shape == (2, 8, 1, 1)
    assert torch.allclose(block(x, condition), h + double(x[:, :out_channels]), atol=1e-12)


@pytest.mark.parametrize("out_channels, down", [(8, False), (8, True), (12, True)])
def test_a_deep_block_of_d_by_definition(out_channels, down):
    torch.manual_seed(0)
    block, x = DeepDBlock(8, out_channels, down).double(), normal(3, 8, 4, 6)

    def halve(a: Tensor) -> Tensor:
        return (a[..., ::2, ::2] + a[..., 1::2, ::2] + a[..., ::2, 1::2] + a[..., 1::2, 1::2]) / 4 if down else a

    a, b, c, d = block.convs
    h = F.conv2d(x.relu(), a.weight, a.bias)
    h = F.conv2d(h.relu(), b.weight, b.bias, padding=1)
    h = F.conv2d(h.relu(), c.weight, c.bias, padding=1)
    h = F.conv2d(halve(h.relu()), d.weight, d.bias)
    added = [F.conv2d(halve(x), block.shortcut.weight, block.shortcut.bias)] if out_channels > 8 else []
    before = x.clone()
    assert torch.allclose(block(x), h + torch.cat([halve(x), *added], 1), atol=1e-12)
    assert torch.equal(x, before) and (block.shortcut is None) == (out_channels == 8)


def test_a_deep_run_resumes_bit_for_bit(tmp_path, interrupt):
    options = dict(
        data="digits", preset="small-deep", width=8, images=16, batch=4, save=8, preview=0, log=4, ema=20, quiet=True
    )
    whole = training.train("biggan", outdir=tmp_path / "whole", **options).folder
    broken = interrupt(8, "biggan", outdir=tmp_path / "broken", **options)
    training.resume(broken, quiet=True)
    (a, _), (b, _) = (read_tensors(folder / "state.safetensors") for folder in (whole, broken))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_standing_statistics_by_definition():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Tanh(), nn.BatchNorm1d(4)).double().eval()
    other = nn.ModuleDict(dict(net=net, idle=BatchNorm2d(4)))
    other["idle"].running_mean.fill_(7.0)
    batches = [normal(6, 3, seed=i) for i in range(5)]
    first = [net[0](x) for x in batches]  # dropout stays off
    second = [((x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()).tanh() for x in first]
    standing(other, lambda i: net(batches[i]), 5)
    for norm, inputs in ((net[2], first), (net[4], second)):
        assert torch.allclose(norm.running_mean, torch.stack([x.mean(0) for x in inputs]).mean(0), atol=1e-14)
        assert torch.allclose(norm.running_var, torch.stack([x.var(0) for x in inputs]).mean(0), atol=1e-14)
        assert not norm.training and norm.momentum == 0.1
    assert other["idle"].running_mean.eq(7).all() and not net.training and other["idle"].training


def test_standing_statistics_that_fail_leave_the_network_unchanged():
    norm = BatchNorm2d(2).eval()
    norm.running_mean.fill_(7.0)
    with pytest.raises(ValueError, match="no batch norm"):
        standing(norm, lambda i: None, 3)
    with pytest.raises(ZeroDivisionError):
        standing(norm, lambda i: norm(torch.ones(2, 2, 1, 1)) / (0 if i else 1) if i == 0 else 1 / 0, 3)
    assert norm.running_mean.eq(7).all() and not norm.training and norm.momentum == 0.1


def test_samples_with_standing_statistics_repeat_and_leave_the_run_unchanged(tmp_path, capsys):
    options = dict(data="digits", images=32, batch=8, preview=0, outdir=tmp_path, quiet=True)
    run = training.train("biggan", preset="small", width=4, **options)
    weights = (run.folder / "weights.safetensors").read_bytes()

    def sampled(*flags: str) -> np.ndarray:
        cli.main(["sample", str(run.folder), "--n", "5", "--trunc", "0.5", "-o", str(tmp_path / "out.npz"), *flags])
        return np.load(tmp_path / "out.npz")["samples"]

    plain, once = sampled(), sampled("--standing", "2")
    assert np.array_equal(once, sampled("--standing", "2", "--batch", "2")) and not np.array_equal(once, plain)
    assert not np.array_equal(once, sampled("--standing", "3"))
    assert (run.folder / "weights.safetensors").read_bytes() == weights
    mlp = training.train("gan", **options)
    with pytest.raises(SystemExit):
        cli.main(["sample", str(mlp.folder), "--standing", "2"])
    assert "no batch norm" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["sample", str(run.folder), "--standing", "-1"])
    assert "--standing" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("deep", [False, True])
def test_cpu_and_gpu_agree(deep):
    recipe, label = small(deep=deep).eval(), torch.tensor([2, 0])
    z = normal(2, recipe.z_dim)
    images = recipe.sample(z, label)
    logits = recipe.d(images, label)
    recipe.cuda()
    assert torch.allclose(recipe.sample(z.cuda(), label.cuda()).cpu(), images, atol=1e-10)
    assert torch.allclose(recipe.d(images.cuda(), label.cuda()).cpu(), logits, atol=1e-9)


@pytest.mark.parametrize("deep", [False, True])
def test_initial_weights_are_orthogonal_and_all_but_g_s_embedding_are_spectrally_normalised(deep):
    recipe = small(deep=deep)
    layers = [(n, m) for n, m in recipe.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding))]
    plain = [name for name, layer in layers if not hasattr(layer, "parametrizations")]
    assert plain == ["g.embed"]
    conv = recipe.g.blocks[0].convs[1] if deep else recipe.g.blocks[0].conv1
    raw = conv.parametrizations.weight.original.flatten(1)
    assert torch.allclose(raw @ raw.T, torch.eye(len(raw), dtype=torch.float64), atol=1e-5)  # initialised in float32


def test_d_has_two_updates_per_update_of_g(tmp_path, monkeypatch):
    updates, update = [], Run.update
    monkeypatch.setattr(Run, "update", lambda run, name, *rest: (updates.append(name), update(run, name, *rest))[1])
    training.train(
        "biggan", data="digits", preset="small", width=4, images=32, batch=8, preview=0, outdir=tmp_path, quiet=True
    )
    assert updates == ["d", "d", "g", "d", "d", "g"]


@pytest.mark.parametrize("kind", ["none", "cr", "bcr", "icr"])
@pytest.mark.parametrize("model", ["biggan", "dcgan"])
def test_consistency_adds_its_terms_with_the_papers_weights(model, kind):
    def loss_of(kind: str, net: str) -> tuple[float, dict[str, Tensor]]:
        torch.manual_seed(0)
        options = dict(width=4, consistency=kind)
        if model == "biggan":
            recipe = BigGAN(Spec((1, 16, 16), num_classes=3), **options).double()
        else:
            recipe = DCGAN(Spec((1, 16, 16)), norm_d=False, **options).double()
        batch = Batch({"real": normal(4, 1, 16, 16).clamp(-1, 1), "label": torch.tensor([0, 1, 2, 1])}, seed=3)
        loss, outputs = getattr(recipe, f"{net}_loss")(batch)
        return loss.item(), outputs

    for net, weights in ("d", dict(cr=10, bcr=10, zcr=20)), ("g", dict(zcr=0.5)):
        (plain, _), (loss, outputs) = loss_of("none", net), loss_of(kind, net)
        expected = {"none": [], "cr": ["cr"], "bcr": ["cr", "bcr"], "icr": ["cr", "bcr", "zcr"]}[kind]
        terms = [name for name in ("cr", "bcr", "zcr") if name in outputs]
        assert terms == [name for name in expected if name in weights]
        assert all((outputs[name] > 0) == (net == "d") for name in terms)
        assert loss == pytest.approx(plain + sum(weights[name] * outputs[name].item() for name in terms), rel=1e-12)


@pytest.mark.parametrize("model", [BigGAN, DCGAN])
def test_an_unknown_consistency_is_refused(model):
    with pytest.raises(ValueError, match="'foo'; choose from none, cr, bcr, icr"):
        model(Spec((1, 16, 16), num_classes=3), consistency="foo")


@pytest.mark.parametrize("model", ["biggan", "dcgan"])
def test_consistency_transforms_the_reals_and_then_this_step_s_fakes(model, monkeypatch):
    transformed = []
    monkeypatch.setattr("gankit.augment.consistency.flip_shift", lambda x, draw: transformed.append(x) or x)
    recipe = (BigGAN if model == "biggan" else DCGAN)(Spec((1, 16, 16), num_classes=3), width=4, consistency="bcr")
    recipe.double().eval()
    batch = Batch({"real": normal(4, 1, 16, 16).clamp(-1, 1), "label": torch.tensor([0, 1, 2, 1])}, seed=3)
    recipe.d_loss(batch)
    batch.draws = 0
    fake = recipe.g(*recipe.latents(batch)) if model == "biggan" else recipe.g(batch.draw(recipe.noise))
    assert torch.equal(transformed[0], batch.real) and torch.equal(transformed[1], fake)
