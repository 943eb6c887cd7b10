"""Evaluation: values by another route, records, resuming, processes, training that is not touched, and refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gankit
from gankit import checkpoint, cli, data, evaluation, loop, metrics, report
from gankit.data import cache
from gankit.evaluation import evaluator, features, sources
from tests.test_processes import torchrun

TINY = dict(data="digits", images=64, batch=16, z_dim=4, width=4, preview=0, quiet=True)


TINY_CGAN = dict(data="digits", images=200, batch=20, z_dim=4, preview=0, quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two dcgans, a cgan, a vae and a gan of points, all hardly trained."""
    folder = tmp_path_factory.mktemp("judged") / "runs"
    loop.train("dcgan", outdir=folder, **TINY)
    loop.train("dcgan", outdir=folder, seed=1, **TINY)
    loop.train("cgan", preset="small", outdir=folder, data="digits", images=2000, preview=0, quiet=True)
    loop.train("vae", preset="small", outdir=folder, data="digits", images=2000, preview=0, quiet=True)
    loop.train("gan", preset="ring", outdir=folder, data="ring", images=5120, preview=0, quiet=True)
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
    near = by_name(gankit.evaluate(write(here / "near.npz", "digits:test"), against="digits", metrics="fd"))["fd_digits"].value
    far = by_name(gankit.evaluate(write(here / "far.npz", "digits:test", -1), against="digits", metrics="fd"))["fd_digits"].value
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
    assert expected <= {name if name in scores else name.removesuffix("_digits") for name in {*scores, *(n.removesuffix("_digits") for n in scores)}}
    assert all(np.isfinite(score.value) for score in scores.values())
    for name in refused:
        assert any(text.startswith(f"{name} does not apply: ") for text in said), said
    folder = next((here / "runs").glob(f"{run}*"))
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == list(scores)
    weights = checkpoint.read_tensors(folder / "weights.safetensors")[0]
    for line in lines:
        assert line["fake"]["weights"] == checkpoint.digest(weights) and line["versions"]["torch"]
        assert line["real"]["fingerprint"] and line["seed"] == 0 and line["fake"]["trunc"] == 1.0 and line["metric"] in evaluation.METRICS
        assert line["error"] is None or line["error_of"]
    page = report.write(folder).read_text()
    assert all(f"<b>{name}</b>" in page for name in scores)
    if run != "00004":
        assert {"neighbours.png", "pairs.png", "manifold.png", "spectrum.svg"} <= {p.name for p in (folder / "evaluation").iterdir()}
        assert "three images of the data" in page


def test_neither_batch_nor_processes_change_a_value(here):
    values = []
    for batch in (7, 64):
        found = gankit.evaluate("00000", metrics="fd,kd,precision", n=1100, batch=batch, precision="fp64")
        values.append({s.name: s.value for s in found})
    shutil.rmtree(here / "cache")
    job = torchrun(here, "evaluate", "00000", "--metrics", "fd,kd,precision", "--samples", "1100", "--precision", "fp64", "--device", "cpu")
    out, _ = job.communicate(timeout=200)
    assert job.returncode == 0, out
    lines = evaluation.read(here / "runs/00000-dcgan-digits/evaluations.jsonl")
    assert len(lines) == 3 * len(values[0])
    values.append({line["name"]: line["value"] for line in lines[-len(values[0]) :]})
    for name, value in values[0].items():
        assert all(other[name] == pytest.approx(value, rel=1e-9, abs=1e-12) for other in values[1:]), name


def test_a_stopped_evaluation_goes_on(here, monkeypatch):
    looked = []
    honest = features.block

    def breaks(source, extractor, numbers, batch, tell):
        if source.recipe is not None:
            looked.append(int(numbers[0]))
            if len(looked) == 3:
                raise KeyboardInterrupt
        return honest(source, extractor, numbers, batch, tell)

    monkeypatch.setattr(features, "block", breaks)
    with pytest.raises(KeyboardInterrupt):
        gankit.evaluate("00000", metrics="fd", n=3500)
    whole = gankit.evaluate("00000", metrics="fd", n=3500)[0].value
    assert looked == [0, 1000, 2000, 2000, 3000]
    monkeypatch.setattr(features, "block", honest)
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
    places = {features.place(real, net, 100, 0), features.place(real, net, 101, 0), features.place(real, net, 100, 1)}
    places |= {features.place(sources.of_data("digits:test"), net, 100, 0), features.place(real, metrics.extractor("digits", dtype=torch.float64), 100, 0)}
    other = metrics.from_module(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 4)), "mine", size=16)
    assert len({*places, features.place(real, other, 100, 0)}) == 6


def test_evaluation_while_training_touches_nothing(here):
    asked = dict(evaluate="fd,precision", evaluate_every=32, evaluate_n=200)
    with_, without = (loop.train("dcgan", outdir=here / "new", **TINY | more) for more in (asked, {}))
    for (name, one), (_, two) in zip(with_.recipe.state_dict().items(), without.recipe.state_dict().items(), strict=True):
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
    run = loop.train("dcgan", outdir=here / "new", evaluate="fd", evaluate_every=16, evaluate_n=50, **TINY)
    path = run.folder / "evaluations.jsonl"
    before = [(line["fake"]["images"], line["value"]) for line in evaluation.read(path)]
    assert [images for images, _ in before] == [16, 32, 48, 64]
    path.open("a").write('{"cut by a ki')
    gankit.evaluate(run.folder, metrics="fd", n=50)
    evaluation.records.cut(path, 32)
    assert [line["fake"]["images"] for line in evaluation.read(path)] == [16, 32, 64]  # the last one was asked for by hand
    more = loop.resume(run.folder, images=96, quiet=True)
    assert [line["fake"]["images"] for line in evaluation.read(path) if line["training"]][-2:] == [80, 96] and more.images == 96


def test_wrong_features_stop_a_run_before_it_trains(here, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"):
        loop.train("dcgan", outdir=here / "new", evaluate="fd", evaluate_features="inception", **TINY)
    with pytest.raises(ValueError, match="Did you mean precision"):
        loop.train("dcgan", outdir=here / "new", evaluate="precison", **TINY)


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
    values = [gankit.evaluate(what, against="digits", metrics="fd", n=100)[0].value for what in ("00000", "pngs", "samples.npz")]
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
    (["00000", "--metrics", "fdd"], "Did you mean fd"),
    (["00000", "--metrics", ","], "no metric was named"),
    (["00000", "--metrics", "emd"], "emd does not apply: it is for points"),
    (["00000", "--metrics", "fd", "--n", "1"], "two samples at least"),
    (["00000", "--metrics", "precision", "--n", "3"], "precision"),
    (["00000", "--features", "inceptoin"], "Did you mean inception"),
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
    assert any(text.startswith("swd cannot be taken: channel 0 of the fake images does not vary") for text in said)
    assert scores["ms_ssim"].value == pytest.approx(1) and scores["recall_digits"].value == 0 and scores["is_digits"].value == pytest.approx(1)
    assert scores["class_js_digits"].note == "a class of the reals is missing in the samples" and "class_kl_digits" not in scores
    assert any(text.startswith("birthday cannot be taken") for text in said) and "support" not in scores


def test_the_order_of_the_data_changes_nothing(here):
    """Sets that are sorted by class are cut to equal counts at random, not after the first classes."""
    dataset = data.open("digits")
    rows = dataset.rows(np.arange(1400))
    order = rows["label"].argsort(stable=True)
    images = rows["real"].permute(0, 2, 3, 1).numpy()
    np.savez("sorted.npz", samples=images[order.numpy()])
    np.savez("some.npz", samples=data.open("digits:test").rows(np.arange(200))["real"].permute(0, 2, 3, 1).numpy())
    scores = by_name(gankit.evaluate("some.npz", against="sorted.npz", metrics="precision,density,swd", features="digits"))
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


def test_numbers_that_were_taken_are_kept_when_a_later_metric_fails(here):
    with pytest.raises(ValueError, match="is: 5 samples make no ten splits"):
        gankit.evaluate("00000", metrics="fd,is", n=5)
    assert [line["name"] for line in evaluation.read(here / "runs/00000-dcgan-digits/evaluations.jsonl")] == ["fd_digits"]


def test_a_metric_that_cannot_be_taken_does_not_stop_training(here):
    run = loop.train("cgan", outdir=here / "new", evaluate="separability,fd", evaluate_every=100, evaluate_n=100, **TINY_CGAN)
    assert run.images >= 200 and (run.folder / "weights.safetensors").exists()
    assert {line["metric"] for line in evaluation.read(run.folder / "evaluations.jsonl")} == {"fd"}
    assert not (run.folder / "weights-best.safetensors").exists()  # by the first metric alone
    with pytest.raises(ValueError, match="--evaluate critic does not apply"):
        loop.train("cgan", outdir=here / "new", evaluate="critic", **TINY_CGAN)


def test_truncation_reaches_the_path_length(here):
    whole, half = (by_name(gankit.evaluate("00003", metrics="ppl", n=100, trunc=trunc)) for trunc in (1.0, 0.5))
    assert half["ppl_z_end_digits"].value < 0.9 * whole["ppl_z_end_digits"].value


def test_memorising_is_found_in_all_of_the_training_data(here):
    assert by_name(gankit.evaluate(write(here / "copies.npz", "digits"), against="digits", metrics="memorisation"))["memorised"].value == 1


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
    assert done.returncode == 0 and evaluator.USUAL in done.stdout and "--against" in done.stdout
