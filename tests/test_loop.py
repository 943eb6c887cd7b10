"""`update`, the averages, signals and settings: what every recipe leans on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

import gankit
from gankit import build, losses, models, training
from gankit.recipe import Batch, Phase, Recipe, Spec, mix, seeded
from gankit.runs.config import read_config
from gankit.runs.state import Diverged, pack, unpack
from gankit.training import Run, Settings
from gankit.training.batches import make_batch
from gankit.training.log import Log, diagnose
from gankit.training.setup import build_augmentation


class Pair(Recipe):
    """Two linear maps, a and b, and a batch norm in b."""

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.a, self.b = nn.Linear(2, 1, bias=False), nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
        self.opt = {n: torch.optim.SGD(getattr(self, n).parameters(), 0.1) for n in ("a", "b")}

    ema = ("a",)


def new_run(tmp_path: Path, **settings: object) -> Run:
    chosen = Settings(**dict(batch=4, images=100, device="cpu") | settings)
    torch.manual_seed(0)
    return Run(Pair(Spec((2,))), chosen, tmp_path, {"id": "x"}, torch.device("cpu"), Log(tmp_path, chosen, quiet=True))


def batch(n: int = 4, seed: int = 0) -> Batch:
    with seeded(seed):
        return Batch({"real": torch.randn(n, 2)})


def test_update_changes_the_named_parameters_alone(tmp_path):
    run = new_run(tmp_path)
    before = {k: v.clone() for k, v in run.recipe.named_parameters()}
    seen = {}

    def loss(piece):
        seen.update({n: p.requires_grad for n, p in run.recipe.named_parameters()})
        return run.recipe.b(run.recipe.a(piece.real)).square().mean(), {}

    run.update("b", loss, batch())
    assert {n for n, on in seen.items() if on} == {n for n in seen if n.startswith("b")}
    after = dict(run.recipe.named_parameters())
    assert torch.equal(before["a.weight"], after["a.weight"])
    assert not torch.equal(before["b.1.bias"], after["b.1.bias"])


def test_a_network_that_replaces_another_in_a_new_phase_is_trained_frozen_and_averaged(tmp_path):
    run = new_run(tmp_path, ema=1)
    run.phase = Phase(0)
    run.update("a", lambda piece: (run.recipe.a(piece.real).mean(), {}), batch())
    run.recipe.a = nn.Linear(2, 1, bias=False)
    run.recipe.opt["a"] = torch.optim.SGD(run.recipe.a.parameters(), 0.1)
    run.phase = Phase(1)
    run.update("b", lambda piece: (run.recipe.b(run.recipe.a(piece.real)).square().mean(), {}), batch())
    assert not run.recipe.a.weight.requires_grad and run.recipe.a.weight.grad is None
    before = run.recipe.a.weight.clone()
    run.update("a", lambda piece: (run.recipe.a(piece.real).mean(), {}), batch())
    run.advance(4)
    assert not torch.equal(run.recipe.a.weight, before)
    assert torch.allclose(run.averages["a"].weight, run.recipe.a.weight, atol=1e-5), "with a half-life of 1/5 image"


def test_scalars_of_any_precision_are_read_as_they_are(tmp_path):
    log = Log(tmp_path, Settings(), quiet=True)
    assert log.read([]) == log.averages() == {}
    narrow, wide = torch.tensor(0.1), torch.tensor(0.1, dtype=torch.float64)
    log.add({"d/loss": narrow, "std": wide})
    log.add({"d/loss": narrow})
    assert log.read(["std", "d/loss"]) == {"std": 0.1, "d/loss": narrow.item()}
    assert log.averages() == {"d/loss": narrow.item()}


class Flat(Pair):
    layout = "NCHW"


@pytest.mark.parametrize("kind, size, layout", [(Pair, 4, "channels_last"), (Pair, 3, "NCHW"), (Flat, 4, "NCHW")])
def test_maps_and_weights_have_the_layout_of_the_recipe(kind, size, layout, tmp_path):
    chosen = Settings(batch=size, images=100, device="cpu")
    recipe = kind(Spec((2,)))
    recipe.conv = nn.Conv2d(2, 3, 3)
    run = Run(recipe, chosen, tmp_path, {"id": "x"}, torch.device("cpu"), Log(tmp_path, chosen, quiet=True))
    fields = {"real": torch.zeros(size, 4, 5, 2, dtype=torch.uint8).permute(0, 3, 1, 2)}
    for tensor in (recipe.conv.weight, make_batch(fields, run, size).real):
        assert tensor.is_contiguous() == (layout == "NCHW")
        assert tensor.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")


def test_outputs_are_averaged_or_joined(tmp_path):
    run = new_run(tmp_path, pieces=3)
    rows = batch(7)

    def loss(piece, extra):
        assert torch.equal(piece.real[:, 0], extra)
        y = run.recipe.a(piece.real)
        return y.mean(), {"each": piece.real, "mean": piece.real.mean(), "plain": 2.0}

    out = run.update("a", loss, rows, rows.real[:, 0])
    assert torch.equal(out["each"], rows.real) and not out["each"].requires_grad
    assert torch.allclose(out["mean"], rows.real.mean()) and out["plain"] == 2
    assert torch.allclose(
        out["loss"], run.recipe.a(rows.real).mean() + 0.1 * rows.real.mean(0).square().sum(), atol=1e-6
    )
    assert set(run.log.sums) == {"a/loss", "a/mean", "a/plain", "a/grad"}


def test_several_losses_from_one_pass_go_to_their_own_parameters(tmp_path):
    together, apart = new_run(tmp_path), new_run(tmp_path)
    rows = batch()

    def both(run):
        return lambda piece: ((run.recipe.a(piece.real).mean(), run.recipe.b(run.recipe.a(piece.real)).sum()), {})

    together.update(("a", "b"), both(together), rows)
    old = apart.recipe.a.weight.clone()
    apart.update("a", lambda piece: (apart.recipe.a(piece.real).mean(), {}), rows)
    new = apart.recipe.a.weight.clone()
    apart.recipe.a.weight.data.copy_(old)
    apart.update("b", lambda piece: (apart.recipe.b(apart.recipe.a(piece.real)).sum(), {}), rows)
    assert torch.equal(together.recipe.a.weight, new)
    assert torch.equal(together.recipe.b[1].bias, apart.recipe.b[1].bias)


def test_clip_bounds_the_norm_of_the_gradient(tmp_path):
    run = new_run(tmp_path, clip=0.01)
    before = run.recipe.a.weight.clone()
    run.update("a", lambda piece: (1000 * run.recipe.a(piece.real).sum(), {}), batch())
    assert torch.allclose((run.recipe.a.weight - before).norm(), torch.tensor(0.1 * 0.01), rtol=1e-4)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    run = new_run(tmp_path)
    before = run.recipe.a.weight.clone()
    with pytest.raises(Diverged, match="Pair: the gradient of a.weight .*'a' after 0 images"):
        run.update("a", lambda piece: (run.recipe.a(piece.real).sum() * float("inf"), {}), batch())
    assert torch.equal(run.recipe.a.weight, before)


def test_the_average_has_its_half_life_in_images(tmp_path):
    run = new_run(tmp_path, ema=50, images=10_000)
    run.images = 5_000
    start = run.averages["a"].weight.clone()
    run.recipe.a.weight.data += 1
    for _ in range(5):
        run.advance(10)
    assert torch.allclose(run.averages["a"].weight - start, torch.tensor(0.5), atol=1e-6)


def test_an_average_holds_no_graph_of_what_it_was(tmp_path):
    run = new_run(tmp_path, ema=8)
    for _ in range(3):
        run.update("a", lambda piece: (run.recipe.a(piece.real).square().mean(), {}), batch())
        run.advance(4)
    assert all(p.is_leaf and not p.requires_grad for p in run.averages["a"].parameters())
    learning = [p.requires_grad for p in run.recipe.parameters()]
    with run.averaged() as recipe:
        assert not any(p.requires_grad for p in recipe.parameters())
    assert any(learning) and learning == [p.requires_grad for p in run.recipe.parameters()]


def test_draws_depend_on_position_alone():
    whole = Batch({"real": torch.zeros(8, 2)}, start=16, seed=3)
    first = whole.draw(lambda n: torch.randn(n, 3))
    again = Batch({"real": torch.zeros(4, 2)}, start=16, size=8, first=4, seed=3)
    torch.manual_seed(5)
    assert torch.equal(again.draw(lambda n: torch.randn(n, 3)), first[4:])
    assert not torch.equal(whole.draw(lambda n: torch.randn(n, 3)), first), "a second draw must differ"
    state = torch.get_rng_state()
    whole.draw(torch.rand)
    assert torch.equal(state, torch.get_rng_state())
    parts = [part for _, part in whole.split(3, turn=1)]
    assert [len(p) for p in parts] == [3, 3, 2]
    drawn = whole.join([p.draw(torch.rand) for p in parts])
    ((_, one),) = whole.split(1, turn=1)
    assert torch.equal(drawn, one.draw(torch.rand))
    ((_, other),) = whole.split(1, turn=2)
    assert not torch.equal(drawn, other.draw(torch.rand)), "another update must draw anew"
    assert len({mix(a, b) for a in range(30) for b in range(30)}) == 900


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 20])
def test_parts_of_processes_are_those_of_one_and_join_again(pieces):
    rows = torch.arange(24)
    whole = Batch({"real": rows.double()[:, None]}, start=16, seed=3)
    processes = [
        Batch({"real": whole.real[8 * i : 8 * i + 8]}, start=16, size=24, first=8 * i, seed=3) for i in range(3)
    ]
    parts = [[part.real for _, part in batch.split(pieces, turn=1)] for batch in (whole, *processes)]
    assert torch.equal(whole.join(parts[0]), whole.real)
    assert torch.equal(
        whole.join([torch.cat([p, -p], 1).flatten() for p in parts[0]]),
        torch.cat([whole.real, -whole.real], 1).flatten(),
    )
    if 8 % pieces == 0:
        for piece, *of_each in zip(*parts):
            assert torch.equal(torch.cat(of_each), piece)
    numbers = [
        batch.join([part.draw(torch.rand) for _, part in batch.split(pieces, turn=1)]) for batch in (whole, *processes)
    ]
    assert torch.equal(torch.cat(numbers[1:]), numbers[0])
    assert whole.join([torch.ones(3)] * min(pieces, 2)).shape == (3 * min(pieces, 2),)


@pytest.mark.parametrize("number, left", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_and_leaves(number, left, tmp_path, monkeypatch):
    advance = Run.advance

    def stop_at_24(self, n):
        advance(self, n)
        if self.images == 24:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", stop_at_24)
        with pytest.raises(left):
            training.train(
                "dcgan", data="digits", preset="small", images=64, batch=8, preview=0, outdir=tmp_path, quiet=True
            )
    assert signal.getsignal(number) is before
    folder = next(tmp_path.iterdir())
    assert read_config(folder)["images"] == 24
    assert training.resume(folder, quiet=True).images == 64


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_precisions(precision, tmp_path):
    run = training.train(
        "dcgan",
        data="digits",
        preset="small",
        images=16,
        batch=8,
        precision=precision,
        preview=0,
        penalty="r1",
        norm_d=False,
        outdir=tmp_path,
        quiet=True,
    )
    weight = next(run.recipe.parameters())
    assert weight.dtype == (torch.float64 if precision == "fp64" else torch.float32)
    assert run.sample(2).dtype == torch.float32
    assert gankit.load(run.folder).sample(2).isfinite().all()


def test_settings_and_options_are_checked():
    with pytest.raises(ValueError, match="batch is 0"):
        Settings(batch=0)
    with pytest.raises(ValueError, match="choose from"):
        Settings(precision="fp8")
    with pytest.raises(ValueError, match="did you mean resolution"):
        gankit.train("dcgan", resolutoin="32")
    with pytest.raises(ValueError, match="no preset"):
        gankit.train("dcgan", preset="huge")


def test_augmentation_is_refused_where_it_would_do_nothing(tmp_path):
    short = dict(data="digits", preset="small", images=32, batch=8, preview=0, outdir=tmp_path, quiet=True)
    with pytest.raises(ValueError, match="no augmentation of points"):
        gankit.train("gan", augment="ada", **short | dict(data="ring", preset="ring"))
    with pytest.raises(ValueError, match="VAE .* leave --augment out"):
        gankit.train("vae", augment="diffaugment", **short)
    with pytest.raises(ValueError, match="--augment-target 0"):
        gankit.train("wgan", augment="ada", **short)
    with pytest.raises(ValueError, match="add --augment ada"):
        gankit.train("dcgan", augment="diffaugment", augment_p=0.2, **short)
    with pytest.raises(ValueError, match="without an augmentation"):
        gankit.train("dcgan", augment_policy="color", **short)
    with pytest.raises(ValueError, match="use only one"):
        gankit.train("dcgan", augment="diffaugment", consistency="cr", **short)
    with pytest.raises(ValueError, match="these images have 2. Add --augment-policy blit,geometric"):
        build_augmentation(Settings(augment="ada")).fits(2)
    assert not list(tmp_path.iterdir()), "a refused run leaves no folder that `latest` would name"
    gankit.train("wgan", augment="ada", augment_p=0.2, augment_target=0.0, **short)
    with pytest.raises(ValueError, match="did you mean translation"):
        gankit.train("dcgan", augment="diffaugment", augment_policy="color,translatoin", **short)


def test_keep_leaves_weights_of_earlier_times(tmp_path):
    run = training.train(
        "dcgan", data="digits", preset="small", images=32, batch=8, keep=16, preview=0, outdir=tmp_path, quiet=True
    )
    early = gankit.load(run.folder, weights="weights000000016.safetensors")
    assert early.images == 16
    assert not torch.equal(early.sample(1), gankit.load(run.folder).sample(1))


WINNING = [{"d/real_right": 1.0, "d/fake_right": 0.999, "d/grad": 1.0}] * 4
LOST = [{"d/real_right": 0.0, "d/fake_right": 1.0, "d/loss": 5.0, "d/grad": 1.0}] * 4
COLLAPSED = [{"samples/std": 0.5, "d/grad": 1.0}] * 3 + [{"samples/std": 0.05, "d/grad": 1.0}]
FLAT = [{"d/loss": 1.0, "d/grad": 0.0}] * 4
STILL = [{"d/loss": 0.5, "d/grad": 1.0}] * 8
TROUBLE = {"d wins": WINNING, "d lost": LOST, "collapse": COLLAPSED, "stuck": FLAT, "stuck, too": STILL}


def diagnosed(records, model="dcgan", **arguments):
    kind = models.find(model)
    return diagnose(records, kind, build.defaults(kind) | arguments)


def test_warnings_in_plain_words():
    for kind, records in TROUBLE.items():
        assert diagnosed(records).keys() == {kind.split(",")[0]} and not diagnosed(records[:3])
    assert "d wins" not in diagnosed([{"d/real_right": 0.8, "d/fake_right": 0.99, "d/grad": 1.0}] * 4)
    assert "stuck" not in diagnosed([{"d/loss": 0.5 + i, "d/grad": 1.0} for i in range(8)])


@pytest.mark.parametrize("record", [
    {"d/loss": 1.386, "g/loss": 0.693, "d/real_right": 0.5, "d/fake_right": 0.5},
    {"d/loss": 1.36, "g/loss": 0.70, "d/real_right": 0.55, "d/fake_right": 0.47},
    {"d/loss": 1.386, "g/loss": 0.693, "d/real_right": 0.0, "d/fake_right": 1.0},  # 1/2 up to rounding
    {"d/loss": 1.385, "g/loss": 0.693, "d/real_right": 1.0, "d/fake_right": 0.0},
    {"d/loss": 1.35, "g/loss": 0.71, "d/real_right": 0.99, "d/fake_right": 0.99},
    {"d/loss": 2.0, "g/loss": 0.0, "d/real_right": 0.5, "d/fake_right": 0.5},  # hinge
])  # fmt: skip
def test_a_discriminator_at_chance_is_no_trouble(record):
    assert not diagnosed([record | {"d/grad": 0.01, "g/grad": 0.02, "samples/std": 0.4 + i / 100} for i in range(8)])


def test_losses_of_a_discriminator_at_chance_are_those_of_the_docs():
    page = (Path(__file__).parents[1] / "docs" / "runs.md").read_text()
    none, half = torch.zeros(8), torch.full((8,), 0.5)
    for loss, text in ((losses.non_saturating.d(none, none), "1.386"), (losses.non_saturating.g(none), "0.693")):
        assert f"{loss:.3f}" == text and text in page
    assert losses.hinge.d(none, none) == 2 and "hinge has 2," in page
    assert losses.least_squares().d(half, half) == 0.25 and "0 and 1 has 0.25." in page


def test_a_tree_survives_packing():
    tree = {"a": [1, 2.5, None, "x", True], "b": ({"c": torch.arange(3)}, torch.ones(())), 3: {"$": "tensor"}}
    tensors: dict[str, torch.Tensor] = {}
    back = unpack(pack(tree, "t", tensors), tensors)
    assert back["a"] == tree["a"] and back[3] == {"$": "tensor"} and isinstance(back["b"], tuple)
    assert torch.equal(back["b"][0]["c"], tree["b"][0]["c"])
    with pytest.raises(TypeError, match="t.x is a .*Path"):
        pack({"x": Path()}, "t", {})
