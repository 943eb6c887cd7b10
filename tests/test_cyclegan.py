"""CycleGAN: networks, coefficients, the pool's policy, directions of the cycle, decay of the learning rate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import training
from gankit.models.cyclegan import CycleGAN
from gankit.nn import Pool
from gankit.recipe import Batch, Spec, seeded
from gankit.runs.files import read_tensors
from gankit.training import Run

SPEC = Spec((1, 16, 16), other=(1, 16, 16))
TINY = dict(width=2, blocks=1, patch=16, jitter=False)


def tiny(spec: Spec = SPEC, **more: object) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(spec, **TINY | more).double()


def batch_of(n: int = 3, spec: Spec = SPEC) -> Batch:
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.rand(n, *shape, generator=generator, dtype=torch.float64) * 2 - 1 for shape in (spec.shape, spec.other)
    )
    return Batch({"a": a, "b": b})


# Networks ------------------------------------------------------------------------------------------------------------


def test_networks_take_any_multiple_of_four():
    with torch.device("meta"):
        recipe = CycleGAN(Spec((3, 256, 256), other=(3, 256, 256)))
        assert recipe.d_a(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)
        for side in ((256, 256), (60, 36), (8, 8)):
            assert recipe.translate(torch.empty(1, 3, *side)).shape == (1, 3, *side)
        blocks = {
            s: sum(type(m).__name__ == "Residual" for m in CycleGAN(Spec((3, s, s), other=(3, s, s))).g_ab.modules())
            for s in (64, 128, 256, 512)
        }
        assert blocks == {64: 6, 128: 6, 256: 9, 512: 9}
    assert CycleGAN.nearest(30, 3) == (32, 8) and CycleGAN.nearest(213, 320) == (212, 320)
    mixed = tiny(Spec((1, 16, 24), other=(3, 16, 24)))
    assert mixed.translate(torch.zeros(1, 1, 16, 24).double(), "b").shape == (1, 3, 16, 24)
    assert mixed.translate(torch.zeros(1, 3, 16, 24).double(), "a").shape == (1, 1, 16, 24)


def literal_g(net: nn.Module, x: Tensor) -> Tensor:
    """c7s1, d, d, one R, u, u, c7s1, written out with torch's own instance norm on contiguous images."""
    convs = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]

    def conv(i: int, x: Tensor, pad: int, *how: int) -> Tensor:
        return F.conv2d(F.pad(x, (pad,) * 4, mode="reflect") if pad else x, convs[i].weight, convs[i].bias, *how)

    norm = F.instance_norm
    x = F.relu(norm(conv(0, x, 3)))
    x = F.relu(norm(conv(1, x, 0, 2, 1)))
    x = F.relu(norm(conv(2, x, 0, 2, 1)))
    x = x + norm(conv(4, F.relu(norm(conv(3, x, 1))), 1))
    for i in (5, 6):
        x = F.relu(norm(F.conv_transpose2d(x, convs[i].weight, convs[i].bias, 2, 1, 1)))
    return conv(7, x, 3).tanh()


def test_g_is_the_paper_s_and_no_image_depends_on_another():
    recipe, x = tiny(Spec((2, 16, 24), other=(3, 16, 24))), torch.randn(3, 2, 16, 24, dtype=torch.float64).tanh()
    for mode in (True, False):
        recipe.train(mode)
        with torch.no_grad():
            made = recipe.translate(x, "b")
            assert (made - literal_g(recipe.g_ab, x)).abs().max() < 1e-12
            assert (made - torch.cat([recipe.translate(x[i : i + 1], "b") for i in range(3)])).abs().max() < 1e-12
    assert not any(isinstance(m, nn.modules.instancenorm._InstanceNorm) for m in recipe.modules())


@pytest.mark.parametrize("n", [1, 4])
def test_gradients_are_the_same_in_both_memory_layouts(n):
    """torch's instance norm has a wrong channels_last derivative on the CPU, most of all with a batch of one."""
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        recipe = tiny(width=4).to(memory_format=layout)
        x = torch.linspace(-1, 1, n * 256, dtype=torch.float64).view(n, 1, 16, 16)
        x = x.to(memory_format=layout).requires_grad_()
        (recipe.g_ab(x) * torch.linspace(0, 1, 256).view(16, 16)).sum().backward()
        grads.append([x.grad, *(p.grad for p in recipe.g_ab.parameters())])
    for a, b in zip(*grads):
        assert (a - b).abs().max() <= 1e-11 * max(1, a.abs().max())


# Losses --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycle", ["both", "forward", "backward", "none"])
@pytest.mark.parametrize("identity", [0.0, 0.5])
def test_g_s_loss_has_the_paper_s_coefficients(cycle, identity):
    recipe, batch = tiny(cycle=cycle, identity_weight=identity), batch_of()
    a, b, f, g = batch.a, batch.b, recipe.g_ab, recipe.g_ba
    with torch.no_grad():
        loss, outputs = recipe.g_loss(batch, a, b)
        expected = (recipe.d_b(f(a)) - 1).square().mean() + (recipe.d_a(g(b)) - 1).square().mean()
        expected += 10 * (g(f(a)) - a).abs().mean() * (cycle in ("both", "forward"))
        expected += 10 * (f(g(b)) - b).abs().mean() * (cycle in ("both", "backward"))
        if identity:  # 0.5 times lambda of 10: the identity loss weighs 5
            expected += 5 * ((f(b) - b).abs().mean() + (g(a) - a).abs().mean())
    assert (loss - expected).abs() < 1e-12
    assert torch.equal(outputs["fake_b"], f(a)) and torch.equal(outputs["fake_a"], g(b))
    assert ("cycle_a" in outputs, "cycle_b" in outputs) == (cycle in ("both", "forward"), cycle in ("both", "backward"))


def test_d_s_loss_is_half_the_squares_of_past_fakes():
    recipe, batch = tiny(), batch_of()
    past_a, past_b = (torch.rand(3, 1, 16, 16).double() for _ in range(2))
    loss, outputs = recipe.d_loss(batch, batch.a, batch.b, past_a, past_b)
    expected = 0.0
    for net, real, fake in (recipe.d_a, batch.a, past_a), (recipe.d_b, batch.b, past_b):
        expected = expected + 0.5 * ((net(real) - 1).square().mean() + net(fake).square().mean())
    assert (loss - expected).abs() < 1e-12 and {"real", "fake", "real_right", "fake_right"} == set(outputs)


def test_one_adam_has_both_generators_and_one_both_discriminators():
    recipe = tiny()
    for name, nets in ("g", (recipe.g_ab, recipe.g_ba)), ("d", (recipe.d_a, recipe.d_b)):
        held = {id(p) for group in recipe.opt[name].param_groups for p in group["params"]}
        assert held == {id(p) for net in nets for p in net.parameters()}
    with pytest.raises(ValueError, match="equal channels; these have 1 and 3"):
        tiny(Spec((1, 16, 16), other=(3, 16, 16)), identity_weight=0.5)
    with pytest.raises(ValueError, match="multiples of 4"):
        tiny(Spec((1, 18, 16), other=(1, 18, 16)))
    with pytest.raises(ValueError, match="patches of 70 need sides of 24 and more"):
        tiny(patch=70)
    with pytest.raises(ValueError, match="choose from both, forward, backward and none"):
        tiny(cycle="a")


# The pool ------------------------------------------------------------------------------------------------------------


def literal_pool(kept: list[float], size: int, images: list[float], coins: list[list[int]]) -> list[float]:
    """The policy in words: until full, store and return; then heads swaps with a random past image, tails returns."""
    returned = []
    for image, (heads, place) in zip(images, coins):
        if len(kept) < size:
            kept.append(image)
            returned.append(image)
        elif heads == 1:
            returned.append(kept[place])
            kept[place] = image
        else:
            returned.append(image)
    return returned


def test_the_pool_s_policy_is_the_paper_s():
    pool, kept, swapped = Pool(5), [], 0
    for start in range(0, 400, 4):
        fresh = torch.arange(start, start + 4.0)
        batch = Batch({"a": fresh.view(4, 1, 1, 1)}, start)
        returned = pool(batch.a, batch.draw).flatten().tolist()
        with seeded(0, start, 0, 1):
            coins = torch.stack([torch.randint(2, (4,)), torch.randint(5, (4,))], 1).tolist()
        assert returned == literal_pool(kept, 5, fresh.tolist(), coins), start
        assert [image.item() for image in pool.images] == kept
        if start == 0:
            assert returned == fresh.tolist() and len(kept) == 4
        swapped += sum(a != b for a, b in zip(returned, fresh.tolist()))
    assert 0.42 * 395 < swapped < 0.58 * 395, "half of them are past ones"
    assert torch.equal(Pool(0)(batch.a, batch.draw), batch.a)
    with pytest.raises(ValueError, match="at least 0"):
        Pool(-1)


def test_the_pool_keeps_copies_and_its_state_goes_on():
    first, second = Pool(3), Pool(3)
    rows = torch.rand(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    batches = [Batch({"a": row.to(memory_format=torch.channels_last)}, 4 * i) for i, row in enumerate(rows)]
    first(batches[0].a, batches[0].draw)
    before = [image.clone() for image in first.images]
    batches[0].a.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, first.images)), "the pool's images are its own"
    second.load_state_dict(first.state_dict())
    a, b = (pool(batches[1].a, Batch(batches[1].fields, 4).draw) for pool in (first, second))
    assert torch.equal(a, b) and a.is_contiguous(memory_format=torch.channels_last)


SMALL = dict(
    data="digits-negative", precision="fp64", images=32, batch=4, width=2, blocks=1, patch=16, pool=3, lr=1e-3,
    preview=0, save=16,
)  # fmt: skip


def state(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / "state.safetensors")[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return training.train("cyclegan", outdir=tmp_path_factory.mktemp("whole"), quiet=True, **SMALL).folder


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    pools = [name for name in a if "pool" in name]
    assert len(pools) == 6, "three past fakes of each domain"
    for name in [n for n in a if n.startswith("run.recipe")] + pools:
        # instance norm cancels biases, so that Adam amplifies gradients that are rounded zeros
        assert (a[name] - b[name]).abs().max() < (1e-7 if "bias" in name else 1e-10), name


def test_pieces_give_what_the_whole_batch_gives_and_a_pool_survives(whole, tmp_path, interrupt):
    close(state(whole), state(training.train("cyclegan", outdir=tmp_path, quiet=True, **SMALL | dict(pieces=2)).folder))
    broken = interrupt(16, "cyclegan", outdir=tmp_path / "broken", quiet=True, **SMALL)
    resumed = state(training.resume(broken, quiet=True).folder)
    assert all(torch.equal(state(whole)[name], value) for name, value in resumed.items())


def test_two_processes_have_one_pool(whole, tmp_path):
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "gankit", "train", "cyclegan", *flags, "--device", "cpu", "--outdir", "two"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    close(state(whole), state(next((tmp_path / "two").iterdir())))


# The schedule, and what it shows -------------------------------------------------------------------------------------


def test_the_learning_rate_is_flat_for_half_the_run_and_then_falls_to_nothing(monkeypatch, tmp_path):
    rates: dict[str, list[float]] = {"g": [], "d": []}
    moved: list[float] = []
    update = Run.update

    def watched(run: Run, name: str, *args: object) -> dict[str, Tensor]:
        before = [p.clone() for p in run.recipe.g_ab.parameters()]
        outputs = update(run, name, *args)
        rates[name] += [group["lr"] for group in run.recipe.opt[name].param_groups]
        if name == "g":
            moved.append(max((p - q).abs().max().item() for p, q in zip(run.recipe.g_ab.parameters(), before)))
        return outputs

    monkeypatch.setattr(Run, "update", watched)
    training.train("cyclegan", outdir=tmp_path, quiet=True, **SMALL | dict(images=80, lr=1e-3))
    expected = [1e-3 * min(1.0, 2 * (20 - i) / 20) for i in range(20)]
    assert rates["g"] == pytest.approx(expected, abs=1e-15) and rates["d"] == pytest.approx(expected, abs=1e-15)
    assert expected[10] == 1e-3 and expected[-1] == pytest.approx(1e-4)  # on the next batch it would be 0
    assert max(moved[-2:]) < 0.5 * max(moved[5:10]), "the weights move less, too"


def test_a_strip_shows_round_trips(whole):
    recipe, batch = tiny().eval(), batch_of()
    real_a, fake_b, rec_a, real_b, fake_a, rec_b = recipe.strip(batch)
    assert torch.equal(real_a, batch.a) and torch.equal(fake_b, recipe.translate(real_a))
    assert torch.equal(rec_a, recipe.translate(fake_b, "a"))
    assert torch.equal(real_b, batch.b) and torch.equal(fake_a, recipe.translate(real_b, "a"))
    assert torch.equal(rec_b, recipe.translate(fake_a, "b"))
    last = json.loads((whole / "stats.jsonl").read_text().splitlines()[-1])
    assert {"g/cycle_a", "g/cycle_b", "g/adversarial", "d/real_right"} <= set(last)
