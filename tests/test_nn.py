"""Layers against slow literal definitions, finite differences, and several processes against one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from gankit.losses import feature_matching, relativistic_average
from gankit.nn import (
    BatchNorm1d,
    BatchNorm2d,
    ConditionalBatchNorm2d,
    DBlock,
    DCGANDiscriminator,
    DCGANGenerator,
    DoublingConv2d,
    Dropout,
    Dropout2d,
    GBlock,
    HalvingConv2d,
    Maxout,
    MinibatchDiscrimination,
    MinibatchStddev,
    OptimizedDBlock,
    PenalisedConv2d,
    SNGANGenerator,
    VirtualBatchNorm,
    at_work,
    init_glorot,
    init_normal,
    instance_norm,
    nearest_size,
    once,
    spectral_norm,
    stages,
)
from gankit.penalties import dragan, r1
from gankit.recipe import Batch
from tests.layers_apart import CASES as LAYERS
from tests.layers_apart import measure
from tests.waiting import finished, fork


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Batch norm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, own, shape", [("1d", BatchNorm1d, (6, 3)), ("2d", BatchNorm2d, (6, 3, 2, 4))])
def test_batch_norm_alone_is_torch_s_and_shares_its_state(kind, own, shape):
    theirs, ours = getattr(nn, f"BatchNorm{kind}")(3).double(), own(3).double()
    init_normal(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = normal(*shape) * 3 + 5
    assert torch.equal(theirs(x), ours(x))
    assert all(torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), ours.state_dict().values()))
    assert torch.equal(theirs.eval()(x), ours.eval()(x))


def steps_with_penalty(net: nn.Module, xs: list[torch.Tensor], share: slice) -> list[torch.Tensor]:
    """Losses, weights and buffers of steps whose loss has a gradient penalty, on a share of the rows."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for x in xs:
        rows = x[share].clone().requires_grad_()
        out = net(rows).squeeze(1)
        (slope,) = torch.autograd.grad(out.sum(), rows, create_graph=True)
        loss = nn.functional.softplus(-out).mean() + slope.flatten(1).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        for p in net.parameters():
            if dist.is_initialized():
                dist.all_reduce(p.grad)
                p.grad /= dist.get_world_size()
        optimizer.step()
        loss = loss.detach() * len(rows) / len(x)
        if dist.is_initialized():
            dist.all_reduce(loss)
        losses.append(loss)
    return [*losses, *net.state_dict().values(), net.eval()(xs[0]).detach()]


def critic() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(16, 5), BatchNorm1d(5), nn.Softplus()
    )
    return net.append(nn.Linear(5, 1)).double()


def batches() -> list[torch.Tensor]:
    return [normal(8, 2, 4, 4, seed=s) * 3 + 100 for s in range(3)]  # far from 0: squares would lose digits


def unequal() -> tuple[torch.Tensor, nn.Module]:
    return normal(8, 3, 2, 2) * 2 + 1, BatchNorm2d(3).double()


def run_process(rank: int, world: int, folder: str) -> None:
    """Join the other processes and save what layers compute for this process's rows; of two processes also steps."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    results: dict[str, object] = {"layers": {case: measure(case, rank, world) for case in LAYERS}}
    if world == 2:
        x, norm = unequal()
        rows = x[:3] if rank == 0 else x[3:]
        results["steps"] = steps_with_penalty(critic(), batches(), slice(4 * rank, 4 * rank + 4))
        results["out"] = norm(rows).detach()
        results["buffers"] = [buffer.clone() for buffer in norm.buffers()]
        results["half"] = norm(rows.bfloat16()).detach()
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[dict]]:
    """Results of each of `world` processes; started once per world, because starting takes most of the time."""

    @cache
    def start(world: int) -> list[dict]:
        folder = tmp_path_factory.mktemp(f"world{world}")
        jobs = [fork(folder, run_process, rank, world, str(folder)) for rank in range(world)]
        for job in jobs:
            finished(job, folder)
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]

    return start


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("world", [2, 3])
def test_what_looks_across_a_batch_sees_the_rows_of_all_processes(case, world, processes):
    expected, parts = measure(case, 0, 1), [results["layers"][case] for results in processes(world)]
    for name, value in expected.items():
        has_rows = name in ("out", "first", "second")
        values = [torch.cat([part[name] for part in parts], 1)] if has_rows else [part[name] for part in parts]
        assert all((x - value).abs().max() <= 1e-12 * max(1, value.abs().max()) for x in values), name
    assert expected["first"].abs().max() > 1e-3


def test_batch_norm_over_two_processes_is_that_over_one_with_second_derivatives(processes):
    expected = steps_with_penalty(critic(), batches(), slice(None))
    assert len(expected) == 3 + len(critic().state_dict()) + 1
    for a, b in zip(expected, processes(2)[0]["steps"], strict=True):
        assert (a - b).abs().max() <= 1e-12 * max(1, a.abs().max())


def test_batch_norm_over_two_unequal_shares_and_in_half_precision(processes):
    x, norm = unequal()
    expected, first = norm(x), processes(2)[0]
    assert (first["out"] - expected[:3]).abs().max() < 1e-14
    for a, b in zip(norm.buffers(), first["buffers"], strict=True):
        assert (a - b).abs().max() < 1e-14
    assert first["half"].dtype == torch.bfloat16 and (first["half"].double() - expected[:3]).abs().max() < 0.05


def test_conditional_batch_norm_begins_as_batch_norm_and_tells_classes_apart():
    x, label = normal(6, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    layer = ConditionalBatchNorm2d(3, 4).double()
    plain = nn.BatchNorm2d(3, affine=False).double()(x)
    assert torch.allclose(layer(x, label), plain, atol=1e-15)
    layer.gain.weight.data[1], layer.bias.weight.data[1] = 2, -1
    out = layer(x, label)
    assert torch.allclose(out[[1, 4]], 2 * plain[[1, 4]] - 1, atol=1e-15)
    assert torch.allclose(out[[0, 3]], plain[[0, 3]], atol=1e-15)


def test_instance_norm_is_torch_s():
    x = normal(3, 4, 5, 6)
    assert torch.allclose(instance_norm(4)(x), nn.InstanceNorm2d(4)(x), atol=1e-14)
    assert len(list(instance_norm(4).parameters())) == 0 and len(list(instance_norm(4, affine=True).parameters())) == 2


@pytest.mark.parametrize("shape", [(3,), (3, 2, 4)])
def test_virtual_batch_norm_by_definition(shape):
    m, layer, x = 4, VirtualBatchNorm(3, 4).double(), normal(6, *shape) + 2
    layer.weight.data[:] = torch.tensor([1.0, 2.0, 3.0])
    layer.bias.data[:] = torch.tensor([0.5, 0.0, -1.0])
    out = layer(x)
    for i in range(6):
        for c in range(3):
            reference, own = x[:m, c].flatten(), x[i, c].flatten()
            mean, square = reference.mean(), reference.square().mean()
            if i >= m:
                mean = (m * mean + own.mean()) / (m + 1)
                square = (m * square + own.square().mean()) / (m + 1)
            expected = (x[i, c] - mean) / (square - mean**2 + 1e-5).sqrt() * (c + 1) + [0.5, 0.0, -1.0][c]
            assert torch.allclose(out[i, c], expected, atol=1e-12)


def test_virtual_batch_norm_keeps_samples_apart():
    layer, x = VirtualBatchNorm(3, 4).double(), normal(6, 3, 2, 2)
    other = torch.cat([x[:5], x[5:] + 9])
    assert torch.equal(layer(x)[4], layer(other)[4]) and not torch.equal(layer(x)[5], layer(other)[5])


# Layers --------------------------------------------------------------------------------------------------------------


def test_maxout_is_the_largest_of_its_pieces():
    torch.manual_seed(0)
    layer, x = Maxout(3, 2, 4).double(), normal(5, 3)
    out = layer(x)
    assert out.shape == (5, 2)
    for n in range(5):
        for unit in range(2):
            pieces = [x[n] @ layer.linear.weight[unit * 4 + k] + layer.linear.bias[unit * 4 + k] for k in range(4)]
            assert out[n, unit].item() == pytest.approx(max(p.item() for p in pieces), abs=1e-14)
    assert sum(p.numel() for p in Maxout(784, 240, 5).parameters()) == 942_000


def test_minibatch_stddev_by_definition():
    x = normal(8, 3, 2, 2)
    out = MinibatchStddev(group=4)(x.float().double())
    assert torch.equal(out[:, :3], x.float().double())
    for i in range(8):
        members = x[[j for j in range(8) if j % 2 == i % 2]]  # groups of 4 lie 8 / 4 = 2 apart
        expected = (members.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(out[i, 3], expected.expand(2, 2), atol=1e-6)


def test_minibatch_stddev_sees_collapse_and_takes_any_batch():
    layer = MinibatchStddev(4)
    assert layer(torch.ones(8, 3, 2, 2))[:, 3].max() == pytest.approx(1e-4)
    assert layer(torch.randn(8, 3, 2, 2))[:, 3].min() > 0.1
    for n in (1, 2, 3, 5, 6, 7):
        assert layer(torch.randn(n, 3, 2, 2).to(memory_format=torch.channels_last)).shape == (n, 4, 2, 2)


def test_minibatch_discrimination_by_definition():
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(3, kernels=4, dims=2).double(), normal(5, 3)
    layer.log_scale.data = normal(4, 2, seed=1)
    out = layer(x)
    assert out.shape == (5, 7) and torch.equal(out[:, :3], x)
    for i in range(5):
        for b in range(4):
            total = layer.bias[b].item()
            for j in range(5):
                distance = 0.0
                for c in range(2):
                    column = layer.weight[:, b, c] / layer.weight[:, b, c].norm() * layer.log_scale[b, c].exp()
                    distance += abs((x[i] @ column - x[j] @ column).item())
                total += math.exp(-distance) if j != i else 0
            assert out[i, 3 + b].item() == pytest.approx(total, abs=1e-12)


def test_minibatch_discrimination_has_a_gradient():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(3, kernels=2, dims=2).double()
    assert torch.autograd.gradcheck(layer, normal(4, 3).requires_grad_())


@pytest.mark.parametrize(
    "layer, shape, name, rows",
    [
        # of 24 rows, in groups of 4
        (MinibatchStddev(4), (3, 2, 2), "the minibatch deviation", {12: False, 8: False, 6: True, 2: True}),
        (MinibatchDiscrimination(3, 2, 2), (3,), "minibatch discrimination", {12: True}),
        (lambda x: feature_matching(x, 2 * x), (3,), "feature matching", {12: True}),
        (lambda x: relativistic_average.g(x, 2 * x), (), "relativistic_average", {12: True}),
        (lambda x: dragan(lambda x: x.square().sum(1), x, lambda sampler: sampler(len(x))), (3,), "dragan", {12: True}),
    ],
)
def test_what_looks_across_a_batch_says_so_where_a_piece_is_not_enough(layer, shape, name, rows):
    for n, less in (rows | {24: False}).items():
        with at_work(torch.rand, n, 24) as looked:
            layer(torch.randn(n, *shape))
        assert looked == ({name} if less else set()), n


# Dropout -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer, shape, drawn", [(Dropout, (3, 4, 5), (3, 4, 5)), (Dropout2d, (6, 4, 5), (6, 1, 1))])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_by_definition(layer, shape, drawn, p):
    x, net = torch.rand(400, *shape, dtype=torch.float64) + 1, layer(p)
    batch = Batch({"real": x}, start=8)
    with at_work(batch.draw, 400, 400):
        y, again = net(x), net(x)
        assert torch.equal(net.eval()(x), x)
    kept = y != 0
    assert (y[kept] - x[kept] / (1 - p)).abs().sum() < 1e-10
    drops_whole_maps = torch.equal(kept, kept[:, :, :1, :1].expand(kept.shape))
    assert drops_whole_maps == (layer is Dropout2d or p in (0, 1))
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=4 / math.sqrt(400 * math.prod(drawn)))
    assert torch.equal(y, again) == (p in (0, 1)), "another layer must draw anew"
    fresh = Batch({"real": x}, start=8)
    with at_work(fresh.draw, 400, 400):
        torch.manual_seed(1)
        assert torch.equal(net.train()(x), y)
    torch.manual_seed(1)
    expected = getattr(nn.functional, layer.__name__.lower())(x, p)
    torch.manual_seed(1)
    assert torch.equal(net(x), expected), "where no update is at work it is torch's"


@pytest.mark.parametrize("layer", [Dropout, Dropout2d])
def test_a_compiled_layer_draws_the_masks_of_the_plain_one(layer):
    net, x = layer(0.5), torch.rand(8, 3, 4, 4)
    compiled = torch.compile(net, backend="eager")
    for seed in (0, 1):
        masked = []
        for form in (net, compiled):
            torch.manual_seed(seed)
            with at_work(lambda sampler: sampler(8), 8, 8):
                masked.append(form(x))
        assert torch.equal(*masked) and 0 < (masked[0] == 0).float().mean() < 1
    assert torch.equal(compiled.eval()(x), x)


# Spectral norm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, rows",
    [
        (lambda: nn.Linear(7, 5), lambda w: w),
        (lambda: nn.Conv2d(3, 5, 3), lambda w: w.flatten(1)),
        (lambda: nn.ConvTranspose2d(3, 5, 3), lambda w: w.transpose(0, 1).flatten(1)),
        (lambda: nn.Embedding(6, 4), lambda w: w),
    ],
)
def test_spectral_norm_finds_the_largest_singular_value(layer, rows):
    torch.manual_seed(0)
    layer = layer().double()
    before, count = layer.weight.detach().clone(), sum(p.numel() for p in layer.parameters())
    spectral_norm(layer)
    for _ in range(500):
        assert layer.weight.shape == before.shape
    largest = torch.linalg.svdvals(rows(before))[0]
    assert torch.allclose(layer.weight, before / largest, atol=1e-12)
    assert torch.linalg.svdvals(rows(layer.weight))[0].item() == pytest.approx(1, abs=1e-12)
    assert sum(p.numel() for p in layer.parameters()) == count


def test_spectral_norm_moves_in_training_only_and_counts_u_and_v_as_constants():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(4, 3).double())
    norm, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original
    layer.eval()
    before = norm.u.clone()
    assert torch.equal(layer.weight, layer.weight) and torch.equal(norm.u, before)
    layer.train()(normal(1, 4))
    assert not torch.equal(norm.u, before)
    layer.eval()
    with torch.no_grad():
        v = nn.functional.normalize(weight.T @ norm.u, dim=0)
        u = nn.functional.normalize(weight @ v, dim=0)
    direction = normal(3, 4)
    (grad,) = torch.autograd.grad((layer.weight * direction).sum(), weight)
    sigma = (u @ weight @ v).item()
    expected = direction / sigma - (direction * weight).sum() / sigma**2 * torch.outer(u, v)
    assert torch.allclose(grad, expected, atol=1e-14)


def test_spectral_norm_reaches_every_layer_once_and_is_not_touched_by_autocast():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
    spectral_norm(net)
    net.eval()
    plain = [net[0].weight, net[1][1].weight]
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, [net[0].weight, net[1][1].weight]))
    assert len([n for n in net.state_dict() if n.endswith(".u")]) == 2


# Residual blocks -----------------------------------------------------------------------------------------------------


def up(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def down(x: torch.Tensor) -> torch.Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def conv3x3(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)


def derivatives(out: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """First derivatives of a function of `out`, and the second derivatives that a gradient penalty needs."""
    first = torch.autograd.grad((out.sin() * out).sum(), inputs, create_graph=True)
    return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), inputs)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (3, 2)])
@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("kind", [HalvingConv2d, DoublingConv2d])
def test_a_convolution_with_a_resampling_is_both_in_turn(kind, spectral, size, layout):
    torch.manual_seed(0)
    layer = kind(3, 5).double().to(memory_format=layout)
    weight = layer.weight
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {"weight": (5, 3, 3, 3), "bias": (5,)}
    if spectral:
        layer = spectral_norm(layer).eval()  # in training mode each of the two passes would advance the iteration
    x = normal(2, 3, *size).to(memory_format=layout).requires_grad_()
    out = layer(x)
    expected = conv3x3(layer, up(x)) if kind is DoublingConv2d else nn.functional.avg_pool2d(conv3x3(layer, x), 2)
    assert out.shape == expected.shape and (out - expected).abs().max() < 1e-12
    wanted = derivatives(expected, x, weight, layer.bias)
    for value, by_definition in zip(derivatives(out, x, weight, layer.bias), wanted, strict=True):
        assert (value - by_definition).abs().max() < 1e-12 * max(1, by_definition.abs().max())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "options", [dict(groups=2, padding=1), dict(groups=2, padding=1, stride=2, bias=False), dict(padding=2, dilation=2)]
)
def test_a_penalised_convolution_has_the_derivatives_of_torch_s(options, layout):
    torch.manual_seed(0)
    layer = PenalisedConv2d(4, 6, 3, **options).double().to(memory_format=layout)
    x = normal(2, 4, 5, 7).to(memory_format=layout).requires_grad_()
    inputs = [x, *layer.parameters()]
    out, expected = layer(x), nn.Conv2d.forward(layer, x)
    assert type(out.grad_fn) is not type(expected.grad_fn)
    assert torch.equal(out, expected)
    for value, wanted in zip(derivatives(out, *inputs), derivatives(expected, *inputs), strict=True):
        assert (value - wanted).abs().max() < 1e-12 * max(1, wanted.abs().max())
    assert torch.autograd.gradgradcheck(lambda x, *p: torch.func.functional_call(layer, names(layer, p), x), inputs)


def names(layer: nn.Module, parameters: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    return {name: p for (name, _), p in zip(layer.named_parameters(), parameters, strict=True)}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_gradient_penalty_of_penalised_convolutions_is_that_of_torch_s(layout):
    torch.manual_seed(0)
    convs = [PenalisedConv2d(4, 8, 1), PenalisedConv2d(8, 8, 3, padding=1, groups=4), PenalisedConv2d(8, 2, 1)]
    net = nn.Sequential(convs[0], nn.LeakyReLU(0.2), convs[1], nn.Tanh(), convs[2])
    net.double().to(memory_format=layout)
    x = normal(3, 4, 6, 5).to(memory_format=layout)

    def gradients() -> list[torch.Tensor]:
        logits = []

        def critic(at: torch.Tensor) -> torch.Tensor:
            logits.append(net(at).sin().sum((1, 2, 3)))
            return logits[0]

        loss = r1(critic, x) + logits[0].square().mean()
        return list(torch.autograd.grad(loss, list(net.parameters())))

    found = gradients()
    for conv in convs:
        conv.forward = partial(nn.Conv2d.forward, conv)
    for value, wanted in zip(found, gradients(), strict=True):
        assert (value - wanted).abs().max() < 1e-12 * max(1, wanted.abs().max())


def test_blocks_are_what_the_papers_draw():
    """With the shortcut's resampling where the papers have it: it commutes with a 1x1 convolution."""
    torch.manual_seed(0)
    x, relu = normal(2, 3, 4, 6), torch.relu
    b = GBlock(3, 5).double()
    expected = b.conv2(relu(b.norm2(conv3x3(b.conv1, up(relu(b.norm1(x))))))) + b.shortcut(up(x))
    assert torch.allclose(b(x), expected, atol=1e-13) and b(x).shape == (2, 5, 8, 12)
    b = GBlock(3, 3, up=False).double()
    assert torch.allclose(b(x), b.conv2(relu(b.norm2(b.conv1(relu(b.norm1(x)))))) + x, atol=1e-13)
    b = DBlock(3, 5).double()
    assert b.conv1.out_channels == 3
    assert torch.allclose(b(x), down(conv3x3(b.conv2, relu(b.conv1(relu(x))))) + down(b.shortcut(x)), atol=1e-13)
    b = DBlock(3, 5, hidden=5, down=False).double()
    assert torch.allclose(b(x), b.conv2(relu(b.conv1(relu(x)))) + b.shortcut(x), atol=1e-13)
    b = DBlock(3, 3, down=False).double()
    assert isinstance(b.shortcut, nn.Identity)
    b = OptimizedDBlock(3, 5).double()
    assert torch.allclose(b(x), down(conv3x3(b.conv2, relu(b.conv1(x)))) + b.shortcut(down(x)), atol=1e-13)


def test_blocks_leave_their_input_as_it_was():
    x = normal(2, 3, 4, 4)
    for block in (GBlock(3, 3, up=False), DBlock(3, 3, down=False), DBlock(3, 4), OptimizedDBlock(3, 4)):
        before = x.clone()
        block.double()(x)
        assert torch.equal(x, before)


def test_a_conditional_generator_gives_its_labels_to_every_block():
    torch.manual_seed(0)
    net = SNGANGenerator(4, (1, 8, 12), [6, 6], lambda c: ConditionalBatchNorm2d(c, 3)).double()
    z = normal(3, 4)
    assert net(z, torch.tensor([0, 1, 2])).shape == (3, 1, 8, 12)
    net.blocks[0].norm2.bias.weight.data[2] = 1.0
    a, b = net(z, torch.tensor([0, 1, 1])), net(z, torch.tensor([0, 1, 2]))
    assert not torch.allclose(a[2], b[2]) and a.abs().max() <= 1


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_sizes():
    assert [stages(s, s) for s in (8, 16, 28, 32, 48, 64, 112, 128)] == [1, 2, 2, 3, 3, 4, 4, 5]
    assert stages(64, 96) == 4 and stages(64, 256) == 4
    assert nearest_size(250, 180) == (256, 192) and nearest_size(100, 100) == (96, 96) and nearest_size(1, 1) == (8, 8)
    with pytest.raises(ValueError, match="found 250x180. Add --resolution 256x192"):
        stages(250, 180)
    with pytest.raises(ValueError, match="Add --resolution 64"):
        stages(63, 66)


@pytest.mark.parametrize("height", range(1, 300, 7))
def test_the_nearest_size_is_one_that_can_be_drawn(height):
    for width in (1, 9, 31, 63, 65, 127, 145, 250):
        near = nearest_size(height, width)
        assert nearest_size(*near) == near
        count = stages(*near)
        assert 4 <= min(near) >> count <= 7 and all(side % 2**count == 0 for side in near)


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 48), (2, 28, 28), (4, 8, 16)])
def test_convnets_at_many_sizes(shape, kernel):
    g = DCGANGenerator(5, shape, 2, kernel, unit_norm=kernel == 5)
    images = g(torch.randn(3, 5))
    assert images.shape == (3, *shape) and images.abs().max() <= 1
    for norm in (True, False):
        for pooling in (True, False):
            assert DCGANDiscriminator(shape, 2, kernel, norm, pooling)(images).shape == (3,)


def test_batch_norm_hides_contrast_unless_there_is_a_bias_before_it():
    x = normal(4, 1, 16, 16)
    for bias in (False, True):
        torch.manual_seed(0)
        d = DCGANDiscriminator((1, 16, 16), 4, bias=bias).double()
        d.features[3].eps = 1e-30
        assert torch.allclose(d(x), d(3 * x), atol=1e-12) != bias


def test_a_discriminator_without_norm_judges_each_image_alone():
    torch.manual_seed(0)
    d, x = DCGANDiscriminator((1, 16, 16), 4, norm=False).double(), normal(4, 1, 16, 16)
    assert torch.allclose(d(x), torch.cat([d(x[i : i + 1]) for i in range(4)]), atol=1e-14)
    assert torch.autograd.gradgradcheck(d, x[:2].requires_grad_())


# Initialisation ------------------------------------------------------------------------------------------------------


def test_init_normal():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 5), nn.ConvTranspose2d(64, 32, 5), nn.Linear(300, 300), nn.BatchNorm2d(9999))
    init_normal(net)
    for layer, mean in zip(net, (0, 0, 0, 1)):
        assert layer.weight.mean().item() == pytest.approx(mean, abs=1e-3)
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert layer.bias.abs().max() == 0
    init_normal(nn.BatchNorm2d(3, affine=False))


def test_init_glorot():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 3), nn.Conv2d(32, 64, 1), nn.Linear(300, 100))
    init_glorot(net)
    for layer, bound in zip(net, (2**0.5 * (6 / (9 * 96)) ** 0.5, (6 / 96) ** 0.5, (6 / 400) ** 0.5)):
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01) and layer.bias.abs().max() == 0


# One forward pass -----------------------------------------------------------------------------------------------------


def test_once_calls_a_network_again_only_for_other_arguments_and_keeps_the_graph_of_a_frozen_one():
    net, calls = nn.Linear(3, 2).double().requires_grad_(False), []
    net.register_forward_hook(lambda *_: calls.append(1))
    x, run = normal(4, 3), once(net)
    out = run(x)
    assert run(x[:]) is out and len(calls) == 1, "the same memory"
    assert out.requires_grad and not net.weight.requires_grad
    net.requires_grad_(True)
    torch.autograd.backward(out.sum(), inputs=[net.weight])
    assert torch.allclose(net.weight.grad, x.sum(0).expand(2, -1)) and net.bias.grad is None
    assert torch.equal(run(x[::2]), net(x[::2])) and run(x.clone()) is not out
    assert once(net)(x) is not out, "another step"
