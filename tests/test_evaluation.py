"""Evaluation: values by another route, records, resuming, processes, training that is not touched, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gankit
from gankit import cli, data, evaluation, metrics, report, training
from gankit.data.reading import cache
from gankit.evaluation import catalogue, extraction, figures, plan, sources
from gankit.evaluation.families import distribution
from gankit.evaluation.needs import Metric
from gankit.evaluation.subject import Subject, share_error
from gankit.runs.files import digest, read_tensors
from tests.waiting import finished, fork

TINY = dict(data="digits", images=64, batch=16, z_dim=4, width=4, preview=0, quiet=True)


TINY_CGAN = dict(data="digits", images=200, batch=20, z_dim=4, preview=0, quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two dcgans, a cgan, a vae and a gan of points, all hardly trained."""
    folder = tmp_path_factory.mktemp("judged") / "runs"
    training.train("dcgan", outdir=folder, **TINY)
    training.train("dcgan", outdir=folder, seed=1, **TINY)
    training.train("cgan", preset="small", outdir=folder, data="digits", images=2000, preview=0, quiet=True)
    training.train("vae", preset="small", outdir=folder, data="digits", images=2000, preview=0, quiet=True)
    training.train("gan", preset="ring", outdir=folder, data="ring", images=5120, preview=0, quiet=True)
    return folder


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """A fresh copy of the runs, and a fresh cache, in the current folder."""
    shutil.copytree(runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def by_name(scores):
    return {score.name: score for score in scores}


def test_values_are_those_of_the_pure_functions(here):
    found = by_name(gankit.evaluate("00000", metrics="fd,kd,is,precision", n=300))
    fake = gankit.load("runs/00000-dcgan-digits").sample(300)
    reals = data.normalise(data.open("digits").rows(np.sort(np.random.default_rng(0).permutation(1400)[:300]))["real"])
    x, y = metrics.features(reals), metrics.features(fake)
    assert found["fd_digits"].value == pytest.approx(metrics.frechet_distance(x, y), rel=1e-6)
    assert found["kd_digits"].value == pytest.approx(metrics.kernel_distance(x, y), rel=1e-5)
    assert (found["precision_digits"].value, found["recall_digits"].value) == metrics.precision_recall(x, y)
    assert found["fd_digits"].n_real == found["fd_digits"].n_fake == 300


def test_the_data_itself_is_near_and_its_negative_far(here):
    near = by_name(gankit.evaluate(write(here / "near.npz", "digits:test"), against="digits", metrics="fd"))[
        "fd_digits"
    ].value
    far = by_name(gankit.evaluate(write(here / "far.npz", "digits:test", -1), against="digits", metrics="fd"))[
        "fd_digits"
    ].value
    same = by_name(gankit.evaluate(write(here / "same.npz", "digits"), against="digits", metrics="fd,precision,parzen"))
    assert 100 < same["parzen"].value < 300
    assert same["fd_digits"].value < 1e-6 < near < far / 50
    assert same["precision_digits"].value == same["recall_digits"].value == 1


def write(path: Path, name: str, sign: int = 1) -> str:
    rows = data.open(name).rows(np.arange(len(data.open(name))))["real"].permute(0, 2, 3, 1).numpy()
    np.savez(path, samples=rows if sign > 0 else 255 - rows)
    return str(path)


@pytest.mark.parametrize(("run", "expected", "refused"), [
    ("00000", {"fd_digits", "swd", "ppl_z_full_digits"}, {"accuracy", "psnr", "emd", "modes"}),
    ("00002", {"fd_per_class", "accuracy_digits", "cas", "gan_test", "ms_ssim", "support"}, {"psnr", "emd"}),
    ("00003", {"psnr", "ssim"}, {"cas"}),
    ("00004", {"modes", "emd", "fd", "kd", "high_quality"}, {"swd", "ppl", "is"}),
])  # fmt: skip
def test_all_takes_what_applies_and_says_why_the_rest_does_not(run, expected, refused, here):
    said = []
    scores = by_name(gankit.evaluate(run, metrics="all", n=600, say=said.append))
    assert expected <= {
        name if name in scores else name.removesuffix("_digits")
        for name in {*scores, *(n.removesuffix("_digits") for n in scores)}
    }
    assert all(np.isfinite(score.value) for score in scores.values())
    for name in refused:
        assert any(text.startswith(f"{name} does not apply: ") for text in said), said
    folder = next((here / "runs").glob(f"{run}*"))
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == list(scores)
    weights = read_tensors(folder / "weights.safetensors")[0]
    for line in lines:
        assert line["fake"]["weights"] == digest(weights) and line["versions"]["torch"]
        assert (
            line["real"]["fingerprint"]
            and line["seed"] == 0
            and line["fake"]["trunc"] == 1.0
            and line["metric"] in evaluation.METRICS
        )
        assert line["error"] is None or line["error_of"]
    page = report.write(folder).read_text()
    assert all(f"<b>{name}</b>" in page for name in scores)
    if run != "00004":
        assert {"neighbours.png", "pairs.png", "manifold.png", "spectrum.json"} <= {
            p.name for p in (folder / "evaluation").iterdir()
        }
        assert "three images of the data" in page


def test_neither_batch_nor_processes_change_a_value(here):
    values = []
    for batch in (7, 64):
        found = gankit.evaluate("00000", metrics="fd,kd,precision", n=1100, batch=batch, precision="fp64")
        values.append({s.name: s.value for s in found})
    shutil.rmtree(here / "cache")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = ["evaluate", "00000", "--metrics", "fd,kd,precision", "--samples", "1100", "--precision", "fp64"]
    group = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")  # as torchrun sets them
    group["GANKIT_CACHE"] = os.environ["GANKIT_CACHE"]
    jobs = [
        fork(here, cli.main, [*words, "--device", "cpu"], **group, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")
    ]
    for job in jobs:
        finished(job, here)
    lines = evaluation.read(here / "runs/00000-dcgan-digits/evaluations.jsonl")
    assert len(lines) == 3 * len(values[0])
    values.append({line["name"]: line["value"] for line in lines[-len(values[0]) :]})
    for name, value in values[0].items():
        assert all(other[name] == pytest.approx(value, rel=1e-9, abs=1e-12) for other in values[1:]), name


def test_a_stopped_evaluation_goes_on(here, monkeypatch):
    looked = []
    honest = extraction.block

    def breaks(samples, extractor, numbers, batch, report_progress):
        if samples.recipe is not None:
            looked.append(int(numbers[0]))
            if len(looked) == 3:
                raise KeyboardInterrupt
        return honest(samples, extractor, numbers, batch, report_progress)

    monkeypatch.setattr(extraction, "block", breaks)
    with pytest.raises(KeyboardInterrupt):
        gankit.evaluate("00000", metrics="fd", n=3500)
    whole = gankit.evaluate("00000", metrics="fd", n=3500)[0].value
    assert looked == [0, 1000, 2000, 2000, 3000]
    monkeypatch.setattr(extraction, "block", honest)
    shutil.rmtree(here / "cache")
    assert gankit.evaluate("00000", metrics="fd", n=3500)[0].value == whole


def test_damaged_blocks_are_made_again_and_reals_are_kept(here):
    first = gankit.evaluate("00000", metrics="fd", n=1400)[0].value
    kept = sorted((cache.location() / "features").rglob("*.safetensors"))
    assert len(kept) == 2  # of the reals; those of samples were dropped
    kept[0].write_bytes(kept[0].read_bytes()[:-100])
    kept[1].write_bytes(b"")
    assert gankit.evaluate("00000", metrics="fd", n=1400)[0].value == first


def test_reals_are_cached_by_content_count_and_features(here):
    real, net = sources.of_data("digits"), metrics.extractor("digits")
    places = {
        extraction.cache_folder(real, net, 100, 0),
        extraction.cache_folder(real, net, 101, 0),
        extraction.cache_folder(real, net, 100, 1),
    }
    places |= {
        extraction.cache_folder(sources.of_data("digits:test"), net, 100, 0),
        extraction.cache_folder(real, metrics.extractor("digits", dtype=torch.float64), 100, 0),
    }
    other = metrics.from_module(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 4)), "mine", size=16)
    assert len({*places, extraction.cache_folder(real, other, 100, 0)}) == 6


def test_evaluation_while_training_touches_nothing(here):
    asked = dict(evaluate="fd,precision", evaluate_every=32, evaluate_n=200)
    with_, without = (training.train("dcgan", outdir=here / "new", **TINY | more) for more in (asked, {}))
    for (name, one), (_, two) in zip(
        with_.recipe.state_dict().items(), without.recipe.state_dict().items(), strict=True
    ):
        assert torch.equal(one, two), name
    lines = evaluation.read(with_.folder / "evaluations.jsonl")
    assert [line["fake"]["images"] for line in lines if line["name"] == "fd_digits"] == [32, 64]
    values = {line["fake"]["images"]: line["value"] for line in lines if line["name"] == "fd_digits"}
    best = gankit.load(with_.folder, weights="weights-best.safetensors")
    assert best.images == min(values, key=values.get)
    assert gankit.evaluate(with_.folder, metrics="fd", n=200)[0].value == pytest.approx(values[64], rel=1e-6)
    stats = [json.loads(line) for line in (with_.folder / "stats.jsonl").read_text().splitlines()]
    assert "evaluation/fd_digits" in stats[-1] and "evaluation/fd_digits" in (with_.folder / "report.html").read_text()


def test_a_resumed_run_drops_what_training_judged_after_its_save(here):
    run = training.train("dcgan", outdir=here / "new", evaluate="fd", evaluate_every=16, evaluate_n=50, **TINY)
    path = run.folder / "evaluations.jsonl"
    before = [(line["fake"]["images"], line["value"]) for line in evaluation.read(path)]
    assert [images for images, _ in before] == [16, 32, 48, 64]
    path.open("a").write('{"cut by a ki')
    gankit.evaluate(run.folder, metrics="fd", n=50)
    evaluation.records.cut(path, 32)
    assert [line["fake"]["images"] for line in evaluation.read(path)] == [
        16,
        32,
        64,
    ]  # the last one was asked for by hand
    more = training.resume(run.folder, images=96, quiet=True)
    assert [line["fake"]["images"] for line in evaluation.read(path) if line["training"]][-2:] == [
        80,
        96,
    ] and more.images == 96


def test_wrong_features_stop_a_run_before_it_trains(here, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(
        ValueError,
        match="--evaluate fd cannot be computed: .*6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ):
        training.train("dcgan", outdir=here / "new", evaluate="fd", evaluate_features="inception", **TINY)
    with pytest.raises(ValueError, match="did you mean inception"):
        training.train("dcgan", outdir=here / "new", evaluate="swd", evaluate_features="inceptoin", **TINY)
    with pytest.raises(ValueError, match="did you mean precision"):
        training.train("dcgan", outdir=here / "new", evaluate="precison", **TINY)


def test_compare_never_mixes_what_was_taken_differently(here, capsys):
    gankit.evaluate("00000", metrics="fd", n=200)
    gankit.evaluate("00001", metrics="fd", n=200)
    lines = evaluation.compare(["00000", "00001"])
    assert len(lines) == 1 and all(lines[0].values) and not lines[0].unlike
    gankit.evaluate("00001", metrics="fd", n=300)
    lines = evaluation.compare(["00000", "00001"])
    assert len(lines) == 2 and {line.unlike for line in lines} == {"n_fake 200, n_real 200", "n_fake 300, n_real 300"}
    for unseen in ("digits:test", "digits"):
        gankit.evaluate("00000", metrics="memorisation", n=200, held_out=unseen)
    assert len(evaluation.compare(["00000", "00001"], metrics="memorisation")) == 4
    assert [value is not None for value in lines[1].values] == [False, True]
    cli.main(["compare", "00000", "00001", "--metrics", "fd"])
    out = capsys.readouterr().out
    assert "cannot be compared" in out and "n_fake 300" in out
    with pytest.raises(ValueError, match="never evaluated: gankit evaluate 00002"):
        evaluation.compare(["00000", "00002"])


def test_a_folder_and_a_file_are_judged_like_the_run(here, capsys):
    cli.main(["sample", "00000", "--n", "100", "--outdir", "pngs"])
    cli.main(["sample", "00000", "--n", "100", "-o", "samples.npz"])
    values = [
        gankit.evaluate(what, against="digits", metrics="fd", n=100)[0].value
        for what in ("00000", "pngs", "samples.npz")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5) == pytest.approx(values[2], rel=1e-5)
    assert evaluation.read(here / "pngs.evaluations.jsonl") and evaluation.read(here / "samples.npz.evaluations.jsonl")
    cli.main(["evaluate", "samples.npz", "--against", "digits", "--metrics", "fd,precision", "--n", "100"])
    assert "fd_digits" in capsys.readouterr().out
    cli.main(["evaluate", "samples.npz", "--against", "digits", "--metrics", "fd", "--n", "100", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["n_fake"] == 100
    cli.main(["metrics"])
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in evaluation.METRICS)


@pytest.mark.parametrize(("words", "said"), [
    (["nowhere"], "nowhere"),
    (["00000", "--metrics", "fdd"], "did you mean fd"),
    (["00000", "--metrics", ","], "no metric was named"),
    (["00000", "--metrics", "emd"], "emd does not apply: it is for points"),
    (["00000", "--metrics", "fd", "--n", "1"], "two samples at least"),
    (["00000", "--metrics", "precision", "--n", "3"], "precision"),
    (["00000", "--features", "inceptoin"], "did you mean inception"),
    (["00000", "--features", "inception"], "pt_inception-2015-12-05-6726825d.pth"),
    (["00000", "--against", "ring"], "must be alike"),
    (["00000", "--against", "shapes"], "must be alike"),
    (["text.npz", "--against", "digits"], "text.npz: not a whole .npz"),
    (["pickled.npz", "--against", "digits"], "pickled.npz: samples holds objects, which are refused"),
    (["flat.npz", "--against", "digits"], "expected uint8"),
    (["nan.npz", "--against", "ring"], "not finite"),
    (["empty", "--against", "digits"], "empty"),
    (["00000", "--batch", "0"], "batch at least 1"),
    (["00000", "--seed", "-1"], "must not be below 0"),
    (["00000", "--metrics", "is", "--n", "20"], "give 100 at least"),
    (["00000", "--weights", "state.safetensors"], "state.safetensors"),
])  # fmt: skip
def test_bad_input_is_one_message(words, said, here, capsys, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    Path("text.npz").write_text("no zip")
    np.savez("pickled.npz", samples=np.array([{"a": 1}], dtype=object))
    np.savez("flat.npz", samples=np.zeros((10, 4, 4), np.uint8))
    np.savez("nan.npz", samples=np.full((100, 2), np.nan, np.float32))
    Path("empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *words])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and said in err and "Traceback" not in err, err
    assert not list(Path().glob("runs/*/evaluations.jsonl"))


def test_one_flat_image_again_and_again_is_refused_or_said(here):
    np.savez("flat.npz", samples=np.full((200, 16, 16, 1), 128, np.uint8))
    said = []
    scores = by_name(gankit.evaluate("flat.npz", against="digits", metrics="all", n=200, say=said.append))
    assert any(text.startswith("swd cannot be computed: channel 0 of the fake images does not vary") for text in said)
    assert (
        scores["ms_ssim"].value == pytest.approx(1)
        and scores["recall_digits"].value == 0
        and scores["is_digits"].value == pytest.approx(1)
    )
    assert (
        scores["class_js_digits"].note == "a class of the reals is missing in the samples"
        and "class_kl_digits" not in scores
    )
    assert any(text.startswith("birthday cannot be computed") for text in said) and "support" not in scores


def test_the_order_of_the_data_changes_nothing(here):
    """Sets that are sorted by class are cut to equal counts at random, not after the first classes."""
    dataset = data.open("digits")
    rows = dataset.rows(np.arange(1400))
    order = rows["label"].argsort(stable=True)
    images = rows["real"].permute(0, 2, 3, 1).numpy()
    np.savez("sorted.npz", samples=images[order.numpy()])
    np.savez("some.npz", samples=data.open("digits:test").rows(np.arange(200))["real"].permute(0, 2, 3, 1).numpy())
    scores = by_name(
        gankit.evaluate("some.npz", against="sorted.npz", metrics="precision,density,swd", features="digits")
    )
    assert scores["precision_digits"].value > 0.8 and scores["coverage_digits"].value > 0.9 and scores["swd"].value < 40


def test_classes_are_matched_by_name(here):
    from PIL import Image

    rows = data.open("digits").rows(np.arange(1400))
    for i, (image, label) in enumerate(zip(rows["real"], rows["label"].tolist())):
        for tree, classes in (("some", (3, 7)), ("others", (1, 7))):
            if label in classes:
                folder = here / tree / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    assert gankit.evaluate("some", against="digits", metrics="accuracy")[0].value > 0.98
    with pytest.raises(ValueError, match="labels of the same classes"):
        gankit.evaluate("some", against="others", metrics="fd_per_class", features="digits")


def test_the_catalogue_has_every_family_and_every_metric_once():
    folder = Path(catalogue.__file__).with_name("families")
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == {
        family.__name__.rsplit(".", 1)[1] for family in catalogue.FAMILIES
    }
    names = [name for family in catalogue.FAMILIES for name in family.METRICS]
    assert len(names) == len(set(names)) == len(evaluation.METRICS)
    used = {need for metric in evaluation.METRICS.values() for need in metric.needs}
    assert used == set(catalogue.NEEDS)
    assert {name for metric in evaluation.METRICS.values() for name in metric.figures} == set(figures.FIGURES)
    assert all(evaluation.about(name) for name in evaluation.METRICS)
    for default in (catalogue.DEFAULT, catalogue.DEFAULT_OF_TRANSLATORS, catalogue.DEFAULT_OF_ONE_IMAGE):
        assert catalogue.parse_metrics(default)


@pytest.mark.parametrize(("chosen", "files"), [
    ("fd,precision", {"manifold.png"}),
    ("ms_ssim", set()),
    ("swd", {"spectrum.json"}),
    ("memorisation", {"neighbours.png"}),
])  # fmt: skip
def test_figures_are_rendered_only_for_the_chosen_metrics(chosen, files, here, monkeypatch):
    if "memorisation" not in chosen:

        def searched(*_: object, **__: object) -> None:
            raise AssertionError("nearest neighbours were searched for metrics that do not need them")

        monkeypatch.setattr(metrics, "nearest_neighbours", searched)
    gankit.evaluate("00000", metrics=chosen, n=60)
    folder = here / "runs/00000-dcgan-digits/evaluation"
    assert {path.name for path in folder.glob("*")} == files


def test_modes_come_with_the_data_set(monkeypatch, here):
    assert data.open("ring").modes.count == 8 and data.open("grid").modes.count == 25
    assert data.open("stacked-digits").modes.count == 1000 and data.open("digits").modes is None
    two = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32) * 0.01
    two[::2] += 1
    points = data.Dataset("two", "points", (2,), 400, two.__getitem__, "two")
    points.modes = data.Modes(2, np.array([[0.0, 0.0], [1.0, 1.0]]), 0.01)
    samples = sources.of_dataset(points, "two")
    found = by_name(evaluation.METRICS["modes"].compute(Subject(samples, samples, None, None, 400)))
    assert found["modes"].value == 2 and found["high_quality"].value > 0.95


def breaks(error: Exception):
    """A metric that raises."""

    def take(s):
        raise error
        yield

    return Metric(take, ("images",))


def gives(value: float, error: float | None = None):
    """A metric of this value."""

    def take(s):
        yield evaluation.Score("odd", value, error, "of nothing" * (error is not None), n_fake=len(s.pixels[0]))

    return Metric(take, ("images",))


@pytest.mark.parametrize(("metric", "reason"), [
    (breaks(ValueError("there are too few")), "odd cannot be computed: there are too few"),
    (breaks(OSError("no such file")), "odd cannot be computed: no such file"),
    (breaks(RuntimeError("two\nlines")), "odd cannot be computed: RuntimeError: two lines"),
    (breaks(KeyError("k")), "odd cannot be computed: KeyError: 'k'"),
    (breaks(ZeroDivisionError("division by zero")), "odd cannot be computed: ZeroDivisionError: division by zero"),
    (gives(float("nan")), "odd cannot be computed: it is nan for these 40 samples"),
    (gives(float("inf")), "odd cannot be computed: it is inf for these 40 samples"),
])  # fmt: skip
def test_a_metric_that_fails_ends_no_other(metric, reason, here, capsys, monkeypatch):
    monkeypatch.setitem(catalogue.METRICS, "odd", metric)
    path = here / "runs/00000-dcgan-digits/evaluations.jsonl"
    cli.main(["evaluate", "00000", "--metrics", "swd,odd,fd", "--n", "40"])  # exit code 0
    said = capsys.readouterr()
    assert said.err == f"- {reason}\n" and "swd_16" in said.out and "fd_digits" in said.out
    assert [line["name"] for line in evaluation.read(path)] == ["swd", "swd_16", "fd_digits"]
    run = training.train("dcgan", outdir=here / "new", evaluate="odd,swd", evaluate_every=32, evaluate_n=40, **TINY)
    assert {line["metric"] for line in evaluation.read(run.folder / "evaluations.jsonl")} == {
        "swd"
    } and run.images == 64
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "00000", "--metrics", "odd", "--n", "40"])
    assert stop.value.code == 2 and capsys.readouterr().err == f"gankit: {reason}\n"


def test_an_error_that_is_not_finite_is_none(here, monkeypatch):
    monkeypatch.setitem(catalogue.METRICS, "odd", gives(1.0, float("nan")))
    (score,) = gankit.evaluate("00000", metrics="odd", n=40)
    assert (score.value, score.error, score.error_of) == (1.0, None, "")


def test_a_reason_is_said_once_and_those_of_all_stand_in_the_error(here, capsys):
    with pytest.raises(
        ValueError,
        match="^none of the metrics can be computed: fd cannot be computed: a covariance .*; "
        "is cannot be computed: 1 samples",
    ):
        gankit.evaluate("00000", metrics="fd,is", n=1)
    with pytest.raises(
        ValueError, match="^none of the metrics can be computed: emd does not apply: .*; critic does not apply"
    ):
        gankit.evaluate("00000", metrics="emd,critic")
    assert not list(here.glob("runs/*/evaluations.jsonl"))


@pytest.fixture
def pictures(here, monkeypatch):
    """A run of images that no network here knows, offline: any attempt to load one is noted."""
    from PIL import Image

    (here / "pics").mkdir()
    for i in range(48):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC).save(here / "pics" / f"{i}.png")
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    loaded, honest = [], plan.extractor
    monkeypatch.setattr(plan, "extractor", lambda name, **more: loaded.append(name) or honest(name, **more))
    training.train("dcgan", outdir=here / "runs", **TINY | dict(data=str(here / "pics")))
    return loaded


WITHOUT_EXTRACTOR = [name for name in evaluation.METRICS if not catalogue.uses_extractor(name)]


@pytest.mark.parametrize("name", WITHOUT_EXTRACTOR)
def test_metrics_of_pixels_need_no_network(name, pictures, here):
    """Each is taken, or does not apply to such a run, and nothing is loaded for it."""
    said = []
    try:
        scores = gankit.evaluate(
            "latest", metrics=f"{name},birthday", held_out=str(here / "pics"), n=40, say=said.append
        )
    except ValueError as error:
        assert "does not apply" in str(error) or "cannot be computed" in str(error)
    else:
        assert scores and all("does not apply" in text or "cannot be computed" in text for text in said)
    assert not pictures
    if name in ("swd", "ms_ssim", "memorisation"):
        assert {
            score.name for score in gankit.evaluate("latest", metrics=name, held_out=str(here / "pics"), n=40)
        } and not pictures


def test_a_network_that_cannot_be_had_leaves_out_what_looks_through_it_alone(pictures, here, capsys):
    for chosen in ("all", "fd,swd,kd,ms_ssim"):
        said = []
        names = by_name(gankit.evaluate("latest", metrics=chosen, n=40, say=said.append))
        assert {"swd", "swd_16", "ms_ssim", "ms_ssim_reals"} <= names.keys() and not any("fd" in name for name in names)
        told = [text for text in said if "pt_inception" in text]
        looking = [
            name
            for name in (evaluation.METRICS if chosen == "all" else chosen.split(","))
            if catalogue.uses_extractor(name)
        ]
        away = [text.split(" does not")[0] for text in said if "does not apply" in text]
        assert [text.split(" cannot be computed: pt_inception-")[0].split(", ") for text in told] == [
            [name for name in looking if name not in away]
        ]
    assert set(pictures) == {"inception"} and len(pictures) == 2  # asked for once an evaluation
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "latest"])
    assert stop.value.code == 2 and capsys.readouterr().err.startswith(
        "gankit: fd, kd, is, precision, density cannot be computed: pt_inception-"
    )
    run = training.train(
        "dcgan",
        outdir=here / "new",
        evaluate="fd,swd",
        evaluate_every=32,
        evaluate_n=40,
        **TINY | dict(data="pics", quiet=False),
    )
    err = capsys.readouterr().err
    assert err.count("--evaluate fd cannot be computed: pt_inception-") == 1
    assert {line["metric"] for line in evaluation.read(run.folder / "evaluations.jsonl")} == {"swd"}
    assert (run.folder / "weights-best.safetensors").exists()  # by the first of those that can be taken


@pytest.mark.parametrize(("words", "files"), [
    ("--metrics swd", 0),
    ("--metrics swd --features inception", 0),
    ("--metrics cmmd,accuracy,swd", 0),  # they are for other networks than the one that goes with these data
    ("--metrics all", 1),
    ("--metrics fd,kd,swd", 1),
    ("--metrics lpips,swd", 0),  # it does not apply
    ("--metrics ppl_lpips,swd", 1),
])  # fmt: skip
def test_what_needs_no_download_starts_none(words, files, pictures, here, capsys, monkeypatch):
    monkeypatch.delenv("GANKIT_OFFLINE")
    asked = []

    def download(file, part):
        asked.append(file.name)
        raise OSError("no network here")

    monkeypatch.setattr("gankit.downloads._download", download)
    cli.main(["evaluate", "latest", *words.split(), "--n", "40"])
    assert len(set(asked)) == files and "swd_16" in capsys.readouterr().out


def test_processes_leave_out_what_any_of_them_cannot_have(monkeypatch):
    said = ['{"fd": "no space"}', '{"lpips": "no network"}']
    monkeypatch.setattr(plan.processes, "world", lambda: 2)
    monkeypatch.setattr(plan.processes, "tell", lambda value, source: value if source == 0 else said[1])
    assert plan.agreed({"fd": "no space"}) == {"fd": "no space", "lpips": "no network"}


def test_n_is_said_where_there_are_fewer_and_refused_where_it_cannot_be_meant(here, capsys):
    write(here / "few.npz", "digits:test")
    cli.main(["evaluate", "few.npz", "--against", "digits", "--metrics", "fd", "--n", "50k"])
    assert capsys.readouterr().err == "- n is 50,000; few has 397 samples, and all of them are used\n"
    cli.main(["evaluate", "few.npz", "--against", "digits", "--metrics", "fd", "--n", "0"])
    assert not capsys.readouterr().err
    for n in ("1000000000", "-1", "1e3", "many"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", "00000", "--n", n])
        assert stop.value.code == 2 and "Traceback" not in capsys.readouterr().err


# cas, cycle and others compute shares and means in the same way
WITH_ERRORS = "fd,kd,is,precision,density,ppl,accuracy,parzen,l1,psnr,ssim,modes"


@pytest.mark.parametrize(
    ("run", "n"),
    [
        ("00000", 4),
        ("00000", 12),
        ("00000", 40),
        ("00002", 12),
        ("00002", 120),
        ("00003", 12),
        ("00004", 4),
        ("00004", 40),
    ],
)
def test_an_error_is_never_absurdly_small(run, n, here):
    """Each uncertainty is None or of the order of the deviation over choices of samples and real data."""
    found: dict[str, list[evaluation.Score]] = {}
    for seed in range(6):
        for score in gankit.evaluate(run, metrics=WITH_ERRORS, n=n, seed=1000 * seed + 7):
            found.setdefault(score.name, []).append(score)
    for name, scores in found.items():
        assert all((score.error is None) == (not score.error_of) for score in scores), name
        errors = [score.error for score in scores if score.error is not None]
        if errors and len(scores) > 2:
            spread = np.std([score.value for score in scores], ddof=1)
            assert min(errors) > 0 and np.mean(np.square(errors)) ** 0.5 > spread / 8, (name, errors, spread)
    assert any(score.error for scores in found.values() for score in scores)


@pytest.mark.parametrize(("n", "size"), [(2, 0), (3, 0), (4, 2), (300, 150), (1100, 550)])
def test_a_kernel_distance_has_an_error_of_subsets_that_differ(n, size, here):
    (score,) = gankit.evaluate("00000", metrics="kd", n=n)
    assert (score.error is None) == (not size) and score.error_of == (f"std over 50 subsets of {size}" if size else "")
    assert not size or score.error > 1e-3 * abs(score.value)


def test_shares_are_never_certain():
    assert [share_error(share, n) > 0.2 / n for share in (0.0, 1.0) for n in (1, 10, 1000)] == [True] * 6
    assert share_error(0.3, 10_000) == pytest.approx((0.3 * 0.7 / 10_000) ** 0.5, rel=1e-3)
    one, n = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)), 40
    found = evaluation.Score("x", 1.0, n_real=n, n_fake=n)
    by = distribution.over_subsets(metrics.precision_recall, one, one, 3, 0)
    assert distribution.with_error(found, torch.ones(10, 2), 0).error == share_error(1.0, n)
    assert distribution.with_error(found, by, 1).error == pytest.approx(max(float(by[:, 1].std()), share_error(1.0, n)))
    assert distribution.over_subsets(metrics.precision_recall, one[:7], one[:7], 3, 0) is None


def test_a_metric_that_cannot_be_taken_does_not_stop_training(here):
    run = training.train(
        "cgan", outdir=here / "new", evaluate="separability,fd", evaluate_every=100, evaluate_n=100, **TINY_CGAN
    )
    assert run.images >= 200 and (run.folder / "weights.safetensors").exists()
    assert {line["metric"] for line in evaluation.read(run.folder / "evaluations.jsonl")} == {"fd"}
    assert not (run.folder / "weights-best.safetensors").exists()  # by the first metric alone
    with pytest.raises(ValueError, match="--evaluate critic does not apply"):
        training.train("cgan", outdir=here / "new", evaluate="critic", **TINY_CGAN)


def test_truncation_reaches_the_path_length(here):
    whole, half = (by_name(gankit.evaluate("00003", metrics="ppl", n=100, trunc=trunc)) for trunc in (1.0, 0.5))
    assert half["ppl_z_end_digits"].value < 0.9 * whole["ppl_z_end_digits"].value


def test_memorising_is_found_in_all_of_the_training_data(here):
    assert (
        by_name(gankit.evaluate(write(here / "copies.npz", "digits"), against="digits", metrics="memorisation"))[
            "memorised"
        ].value
        == 1
    )


def test_labels_are_read_from_folders(here):
    rows = data.open("digits").rows(np.arange(300))
    from PIL import Image

    for i, (image, label) in enumerate(zip(rows["real"], rows["label"])):
        folder = here / "tree" / str(int(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    scores = by_name(gankit.evaluate("tree", against="digits", metrics="fd_per_class", n=300))
    assert scores["fd_per_class_digits"].value < 60 and "a class" in scores["fd_per_class_digits"].note


def test_help_of_evaluate_says_defaults():
    done = subprocess.run([sys.executable, "-m", "gankit", "evaluate", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and catalogue.DEFAULT in done.stdout and "--against" in done.stdout
