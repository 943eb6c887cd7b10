"""The same checks for every file in models/, and for a recipe that uses everything a checkpoint can hold."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gankit
from gankit import build, cli, latent, models, report, training
from gankit.losses import ADVERSARIAL
from gankit.penalties import PENALTIES
from gankit.recipe import Batch, Recipe, Spec
from gankit.runs.files import read_tensors
from gankit.runs.state import set_state, state_of
from gankit.training import Run, Settings
from gankit.training.log import TIMES
from tests.small_runs import STACKGAN

ODD = str(Path(__file__).parent / "odd_gan.py")
MODELS = models.names()
COUNTED = [(name, key) for name in MODELS for key, preset in models.find(name).presets.items() if preset.parameters]


# Networks with fewer maps and smaller images than those of the preset "small", whose code they share.
SMALLER: dict[str, dict[str, object]] = {
    "acgan": dict(widths=(8, 4), width_d=2), "adain": dict(resolution="32"), "biggan": dict(width=4),
    "cogan": dict(width=8), "cyclegan": dict(width=4), "dualgan": dict(width=4),
    "f_anogan": dict(width=8), "ganimation": dict(width=4, width_d=4, resolution="16"), "pix2pix": dict(width=4),
    "r3gan": dict(widths=(16, 8, 8)), "sagan": dict(width=4),
    "singan": dict(most=40, width=4, iterations=16, updates=2), "sngan": dict(width=4),
    "stackgan": dict(STACKGAN), "stargan": dict(width=4, resolution="16"),
    "stylegan": dict(channel_base=64, channel_max=8), "stylegan2": dict(channel_base=64, channel_max=8),
    "unet": dict(width=4, levels=2, resolution="32"), "wgan_gp": dict(width=8),
}  # fmt: skip


def data_for(kind: type[Recipe]) -> str:
    default = {"points": "ring", "domains": "digits-negative"}.get(kind.data.split()[0], "digits")
    return kind.defaults.get("data", default)


def small(model: str) -> dict:
    """Options of a run small enough for a test."""
    kind = models.find(model)
    preset = "small" if "small" in kind.presets else ""
    options = dict(
        preset=preset, data=data_for(kind), images=48, batch=8, log=16, preview=16, save=16, ema=20, quiet=True
    )
    return options | SMALLER.get(model, {})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, object]]]:
    """The folder of a model's run that nothing interrupts, and the state that its recipe ends with."""

    @functools.cache
    def run(model: str) -> tuple[Path, dict[str, object]]:
        run = training.train(model, outdir=tmp_path_factory.mktemp("whole"), **small(model))
        return run.folder, run.recipe.state_dict()

    return run


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A model's run of two batches; tests change nothing of it."""

    @functools.cache
    def run(model: str) -> Run:
        return training.train(model, outdir=tmp_path_factory.mktemp("short"), **small(model) | dict(images=16))

    return run


def same(a: Path, b: Path) -> None:
    """Assert that two runs end with the same bits: weights, averages, moments, generators, pools, phase and log."""
    for file in ("state.safetensors", "weights.safetensors"):
        tensors_a, about_a = read_tensors(a / file)
        tensors_b, about_b = read_tensors(b / file)
        assert tensors_a.keys() == tensors_b.keys()
        for name, tensor in tensors_a.items():
            assert torch.equal(tensor, tensors_b[name]), f"{file}: {name} differs"
        assert about_a.get("state") == about_b.get("state")
    assert stats(a) == stats(b)
    assert (a / "fakes000000048.png").read_bytes() == (b / "fakes000000048.png").read_bytes()


def stats(folder: Path) -> list[dict]:
    lines = (folder / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


@pytest.mark.parametrize("model", [*MODELS, ODD])
def test_an_interrupted_run_ends_with_the_same_bits(model, whole, tmp_path, interrupt):
    unexplained = {key for line in stats(whole(model)[0]) for key in line if not report.meaning_of(key)} - {"images"}
    assert not unexplained or model == ODD, "add them to gankit.report.meanings"
    broken = interrupt(24, model, outdir=tmp_path / "broken", **small(model))
    torch.manual_seed(1), random.seed(1), np.random.seed(1)  # other code uses the global generators in between
    torch.randn(10)
    training.resume(broken, model=model if model == ODD else None, quiet=True)
    same(whole(model)[0], broken)


@pytest.mark.parametrize("augment", ["diffaugment", "ada"])
def test_an_interrupted_run_with_augmentation_ends_with_the_same_bits(augment, tmp_path, interrupt):
    options = small("dcgan") | dict(augment=augment, augment_p=0.4 if augment == "ada" else 0.0, augment_speed=100)
    whole = training.train("dcgan", outdir=tmp_path / "whole", **options)
    broken = interrupt(24, "dcgan", outdir=tmp_path / "broken", **options)
    training.resume(broken, quiet=True)
    same(whole.folder, broken)
    probabilities = {line.get("augment/p") for line in stats(whole.folder)}
    assert len(probabilities) > 1 if augment == "ada" else probabilities == {None}


@pytest.mark.parametrize("model", MODELS)
def test_every_discriminator_gets_augmented_images_and_other_models_refuse_augmentation(model, short, tmp_path):
    options = small(model) | dict(images=16, preview=0, augment="ada", augment_p=0.5, augment_target=0.0)
    plain = short(model)
    if not any(name.startswith("d") for name in plain.recipe.opt):
        with pytest.raises(ValueError, match="no discriminator whose images could be augmented; leave --augment out"):
            training.train(model, outdir=tmp_path, **options)
        return
    run = training.train(model, outdir=tmp_path, **options)
    assert run.augment.used, "batch.augment was never called"
    assert any(not torch.equal(a, b) for a, b in zip(plain.recipe.parameters(), run.recipe.parameters()))


@pytest.mark.parametrize("part", ["random", "optimizers", "phase", "extra", "averages", "log"])
def test_a_missing_part_of_the_state_is_noticed(part, whole, tmp_path, interrupt, monkeypatch):
    expected = whole(ODD)[0]
    broken = interrupt(24, ODD, outdir=tmp_path / "broken", **small(ODD))
    restore = set_state
    torch.manual_seed(1)

    def restore_without_part(run, state):
        fresh = state_of(run)
        restore(run, state | {part: fresh[part]})

    monkeypatch.setattr("gankit.runs.state.set_state", restore_without_part)
    training.resume(broken, model=ODD, quiet=True)
    with pytest.raises(AssertionError):
        same(expected, broken)


@pytest.mark.parametrize("model", MODELS)
def test_previews_and_saves_do_not_change_training(model, whole, tmp_path):
    never = training.train(model, outdir=tmp_path, **small(model) | dict(preview=0, save=48))
    for (name, a), b in zip(whole(model)[1].items(), never.recipe.state_dict().values(), strict=True):
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b), name


@pytest.mark.parametrize("model", MODELS)
def test_a_trained_model_loads_and_a_seed_determines_its_sample(model, short, monkeypatch):
    run = short(model)
    devices, kind = [], models.find(model)
    monkeypatch.setattr(kind, "__init__", noting_the_device(kind.__init__, devices))
    trained = gankit.load(run.folder)
    assert devices == ["meta"] and not trained.recipe.opt, "no network is built to draw, nor an optimizer"
    if "sample" not in trained.recipe.abilities():
        pytest.skip("does not sample")
    assert torch.equal(trained.sample(3), run.sample(3))
    trained.recipe.double()
    single = torch.cat([latent.sample(trained.recipe, [seed], label=None) for seed in range(5)])
    for batch in (2, 5):
        samples = latent.sample(trained.recipe, range(5), batch=batch)
        assert (samples - single).abs().max() < 2e-7  # computed in float64, returned in float32
    z = latent.latents(trained.recipe, range(5))
    assert torch.equal(z[3], latent.latents(trained.recipe, [3])[0])
    assert single.shape == (5, *trained.recipe.spec.shape)
    if single.ndim == 4:
        assert single.min() >= -1 and single.max() <= 1


def noting_the_device(init: Callable[..., None], devices: list[str]) -> Callable[..., None]:
    """A constructor that also notes on which device it makes its tensors."""

    @functools.wraps(init)
    def noting(*args: object, **options: object) -> None:
        devices.append(torch.empty(0).device.type)
        init(*args, **options)

    return noting


@pytest.mark.parametrize("model, preset", COUNTED)
def test_the_paper_s_sizes_have_the_paper_s_parameter_counts(model, preset):
    kind = models.find(model)
    expected = kind.presets[preset]
    with torch.device("meta"):
        recipe = kind(expected.spec, **expected.model)
    counts = {name: sum(p.numel() for p in getattr(recipe, name).parameters()) for name in expected.parameters}
    assert counts == expected.parameters


@pytest.mark.parametrize("model", MODELS)
def test_a_model_s_file_states_what_the_commands_show(model):
    kind, paper = models.find(model), models.paper(model)
    assert paper.title and paper.year.isdigit() and paper.url.startswith("http")
    assert "paper" in kind.presets
    assert "Deviations" in (__import__(kind.__module__, fromlist=["_"]).__doc__ or "")
    for preset in kind.presets.values():
        Settings(**(kind.defaults | preset.settings))
        assert set(preset.model) <= set(build.defaults(kind))
    assert isinstance(kind.nearest(16, 16), tuple) and kind.nearest(16, 16) == kind.nearest(*kind.nearest(16, 16))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_file_is_short_or_says_why(model):
    path = Path(models.__file__).parent / f"{model}.py"
    lines = path.read_text().splitlines()
    assert len(lines) <= 155 or "The file is long because" in "\n".join(lines[:40]), f"{len(lines)} lines"
    assert not any(".detach()" in line or "requires_grad" in line for line in lines)


def test_spec_knows_its_size():
    assert Spec((3, 4, 6)).size == 72 and Spec((3, 4, 6)).width == 6


def test_cgan_generates_vectors_from_features(tmp_path):
    rng = np.random.default_rng(0)
    words = rng.normal(size=(5, 6)).astype(np.float32)
    topic = rng.integers(5, size=64)
    features = np.eye(5, dtype=np.float32)[topic]
    np.savez(tmp_path / "tags.npz", real=words[topic], condition=features)
    options = dict(images=64, batch=8, optimizer="adam", lr=2e-3, quiet=True)
    run = training.train("cgan", data=str(tmp_path / "tags.npz"), outdir=tmp_path / "runs", **options)
    recipe = gankit.load(run.folder).recipe
    rows = recipe.words(torch.eye(5)[0], torch.from_numpy(words), samples=10, nearest=2, most=3)
    assert rows.shape == (3,)
    assert recipe.sample(recipe.noise(4), torch.eye(5)[:4]).shape == (4, 6)
    topics = torch.eye(5)
    vectors = run.sample(7, condition=topics)
    assert vectors.shape == (7, 6)
    torch.testing.assert_close(vectors[5:6], run.sample(1, seed=5, condition=topics))
    with pytest.raises(ValueError, match="give 5 numbers a sample"):
        run.sample(2)
    with pytest.raises(ValueError, match=r"\(5, 4\); CGAN takes \(N, 5\)"):
        run.sample(2, condition=topics[:, :4])
    tags, output = str(tmp_path / "tags.npz"), tmp_path / "samples.npz"
    cli.main(["sample", str(run.folder), "--n", "7", "--condition", tags, "-o", str(output)])
    with np.load(output) as file:
        condition = torch.from_numpy(features[:7])
        assert np.array_equal(file["samples"], run.sample(7, condition=condition).numpy())


@pytest.mark.parametrize("loss", sorted(ADVERSARIAL))
@pytest.mark.parametrize("penalty", ["none", *sorted(PENALTIES), "orthogonal", "lecam", "clip"])
def test_dcgan_takes_any_loss_with_any_penalty(loss, penalty, tmp_path):
    options = small("dcgan") | dict(images=16, preview=0, loss=loss, penalty=penalty, penalty_weight=0.01, norm_d=False)
    run = training.train("dcgan", outdir=tmp_path, **options)
    last = json.loads((run.folder / "stats.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(last["d/loss"]) and ("d/penalty" in last) == (penalty not in ("none", "clip"))
    if penalty == "clip":
        assert max(p.abs().max() for p in run.recipe.d.parameters()) <= 0.01


def test_a_lazy_penalty_of_dcgan_is_part_of_every_nth_update_with_n_times_its_weight():
    def losses_of_d(weight: float, every: int) -> list[tuple[float, bool]]:
        torch.manual_seed(0)
        kind, seen = models.find("dcgan"), []
        recipe = kind(Spec((1, 8, 8)), width=4, norm_d=False, penalty="r1", penalty_weight=weight, penalty_every=every)
        real = torch.rand(4, 1, 8, 8)

        def update(name, loss_fn, batch, *more):
            loss, outputs = loss_fn(batch, *more)
            if name == "d":
                seen.append((loss.item(), "penalty" in outputs))
            return outputs

        for step in range(5):
            run = SimpleNamespace(step=step, done=0.0, augment=None, update=update)
            recipe.step(Batch({"real": real}, start=4 * step), run)
        return seen

    always, second = losses_of_d(20.0, 1), losses_of_d(10.0, 2)
    assert [penalised for _, penalised in second] == [True, False, True, False, True]
    assert second[::2] == always[::2] and all(a > b for (a, _), (b, _) in zip(always[1::2], second[1::2]))


@pytest.mark.parametrize("model", ["gan", "cgan", "dcgan"])
def test_g_is_updated_after_every_kth_update_of_d(model, tmp_path, monkeypatch):
    changed, step = [], models.find(model).step

    def watched(self: Recipe, batch: Batch, run: Run) -> None:
        before = {name: [p.clone() for p in getattr(self, name).parameters()] for name in "dg"}
        step(self, batch, run)
        after = {name: [*getattr(self, name).parameters()] for name in "dg"}
        changed.append("".join(n for n in "dg" if not all(map(torch.equal, before[n], after[n]))))

    monkeypatch.setattr(models.find(model), "step", watched)
    options = dict(data="digits", preset="small", batch=8, images=48, preview=0, quiet=True, outdir=tmp_path)
    training.train(model, n_dis=3, **options)
    assert changed == ["d", "d", "dg"] * 2


def test_dcgan_refuses_a_penalty_that_is_never_due():
    with pytest.raises(ValueError, match="penalty_every is 0; give 1"):
        models.find("dcgan")(Spec((1, 8, 8)), penalty_every=0)
