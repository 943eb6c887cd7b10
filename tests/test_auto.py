"""`gankit train auto`: a sensible choice for each kind of data, printed as a command that can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from time import perf_counter as now

import pytest
from picture_files import noise, picture

import gankit
from gankit import cli, models
from gankit.choosing import choice as choosing
from gankit.choosing import looking, sizing
from gankit.recipe import Phase, Recipe
from gankit.runs.config import read_config
from gankit.training import budget
from gankit.training.pace import Pace
from gankit.training.setup import small_preset


@pytest.fixture
def rate(monkeypatch):
    """Sets the seconds that an image takes on this machine, as a function of (model, side, arguments)."""

    def set_rate(seconds) -> list[tuple[int, dict[str, object]]]:
        asked: list[tuple[int, dict[str, object]]] = []

        def measure(kind: type[Recipe], spec, settings, arguments: dict[str, object], *_: object, **__: object) -> Pace:
            asked.append((spec.shape[1], arguments))
            return Pace({Phase(): seconds(spec.shape[1], arguments)}, batches={Phase(): settings.batch})

        monkeypatch.setattr(sizing, "measure", measure)
        monkeypatch.setattr(budget, "measure", measure)
        return asked

    set_rate(lambda side, arguments: 1e-4)
    return set_rate


def images(folder: Path, n: int, size: tuple[int, int] = (20, 24), seed: int = 0) -> Path:
    for i in range(n):
        picture(folder / f"{i}.png", noise(*size, 3, seed=seed + i))
    return folder


def made(what: str, root: Path) -> Path:
    """A small folder of a kind."""
    if what == "images":
        return images(root, 6)
    if what == "labels":
        for name in ("cats", "dogs"):
            images(root / name, 20)
    if what == "pairs":
        images(root, 4, (16, 32))
    if what == "domains":
        images(root / "trainA", 4), images(root / "trainB", 3, seed=9)
    if what == "one":
        picture(root / "one.png", noise(40, 50, 3, seed=0))
    if what == "captions":
        for path in images(root, 6).iterdir():
            path.with_suffix(".txt").write_text(f"bird {path.stem}\n")
    if what == "masks":
        images(root / "images", 3), [picture(root / "masks" / f"{i}.png", noise(20, 24, seed=i) % 3) for i in range(3)]
    if what == "normal":
        images(root / "train" / "good", 4), images(root / "test" / "broken", 2, seed=50)
    return root


EXPECTED = {
    "images": "dcgan",
    "labels": "acgan",
    "pairs": "pix2pix",
    "domains": "cyclegan",
    "one": "singan",
    "captions": "stackgan",
    "masks": "unet",
    "normal": "dcgan",
}


@pytest.mark.parametrize("what", EXPECTED)
def test_each_kind_of_data_gets_its_model_as_a_command_that_can_be_typed(what, rate, capsys, tmp_path, monkeypatch):
    path = made(what, tmp_path / what)
    cli.main(["train", "auto", "--data", str(path), "--time", "20m", "-n"])
    lines = capsys.readouterr().err.splitlines()
    starts = ["data: ", "model: ", "size: ", "augmentation: ", "command: gankit train "]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=False)), lines
    assert lines[1].startswith(f"model: {EXPECTED[what]}, preset ")
    command = shlex.split(lines[4].removeprefix("command: "))
    assert command[:5] == ["gankit", "train", EXPECTED[what], "--data", str(path)] and command[-2:] == ["--time", "20m"]
    taken = {}
    monkeypatch.setattr(
        "gankit.training.loop.begin", lambda *given: taken.update(zip(("kind", "preset", "settings"), given))
    )
    cli.main(command[1:])
    assert taken["kind"] is models.find(EXPECTED[what]) and taken["preset"] in ("cpu", "small")
    assert taken["preset"] == "cpu" or "cpu" not in taken["kind"].presets
    assert taken["settings"].data == str(path)
    offers = [line for line in lines[5:] if "f_anogan" in line]
    assert bool(offers) == (what == "normal"), lines


@pytest.mark.parametrize("what", ["images", "labels", "pairs", "domains", "one"])
def test_what_is_chosen_trains(what, rate, monkeypatch, tmp_path):
    rate(lambda side, arguments: 1e9)  # the smallest size, and one batch
    monkeypatch.setattr(sizing, "SIDES", {"cpu": (16,), "gpu": (16,)})
    monkeypatch.setattr(sizing, "ONE_IMAGE", (25,))
    run = gankit.train("auto", data=str(made(what, tmp_path / what)), time="5s", batch=4, outdir=tmp_path, quiet=True)
    assert read_config(run.folder)["model"] == EXPECTED[what]
    assert run.images == run.settings.images > 0 and (run.folder / "report.html").is_file()


def test_sizes_and_widths_fit_the_time(rate, tmp_path):
    """A side is taken at which enough images fit; a short time also narrows the networks, a long one widens them."""
    path = images(tmp_path / "pics", 6, (80, 90))
    kind = models.find("dcgan")
    wanted = sizing.ENOUGH * choosing.plan(kind, small_preset(kind), {})[0].images
    usual = kind.presets[small_preset(kind)].model["width"]

    def chosen(images_at_32: float) -> dict[str, object]:
        rate(lambda side, arguments: 600 / images_at_32 * (side / 32) ** 2 * (arguments["width"] / usual) ** 2)
        return choosing.choose({"data": str(path)}, "10m", now(), say=False).options

    assert chosen(5 * wanted)["resolution"] == "64" and "width" not in chosen(5 * wanted)
    assert chosen(2.8 * wanted)["resolution"] == "48"
    assert chosen(1.3 * wanted)["resolution"] == "32" and "width" not in chosen(1.3 * wanted)
    assert chosen(0.1 * wanted) | {"resolution": "32", "width": max(4, round(usual / 8) * 4)} == chosen(0.1 * wanted)
    assert chosen(40 * wanted)["width"] == round(usual * 2 / 4) * 4 and chosen(40 * wanted)["resolution"] == "64"


def test_a_smaller_size_or_width_is_taken_only_if_many_more_images_fit(rate, tmp_path):
    """Small networks cost much the same at every size: their time goes into calls and not into pixels."""
    path = images(tmp_path / "pics", 6, (80, 90))
    rate(lambda side, arguments: 1.0 + side / 64 + arguments["width"] / 1000)
    found = choosing.choose({"data": str(path)}, "10m", now(), say=False)
    assert found.options["resolution"] == "64" and "width" not in found.options
    assert "fewer than" in found.lines[2]


@pytest.mark.parametrize("what", ["images", "pairs", "domains", "masks", "one"])
def test_sizes_are_measured_on_data_that_is_read_once(what, monkeypatch, tmp_path):
    """The steps are real, at each size; only the largest is read from the files, but for a single image."""
    opened, measured = [], []
    open_for, measure = sizing.open_for, sizing.measure

    def opening(*given):
        opened.append(given[1].resolution)
        return open_for(*given)

    def measuring(kind, spec, settings, arguments, dataset, *rest, **more):
        pace = measure(kind, spec, settings, arguments, dataset, *rest, **more)
        rows = next(dataset.stream(0, 2))
        assert all(rows[name].shape[1:] == spec.shape for name in ("real", "a") if name in rows)
        assert all(rows[name].shape[-2:] == spec.shape[1:] for name in ("b", "mask") if name in rows)
        measured.append(min(spec.shape[1:]))
        assert all(cost > 0 for cost in pace.cost.values())
        return pace

    monkeypatch.setattr(sizing, "open_for", opening)
    monkeypatch.setattr(sizing, "measure", measuring)
    monkeypatch.setattr(sizing, "WORTH", 0.0)
    monkeypatch.setattr(sizing, "SIDES", {"cpu": (32, 16), "gpu": (32, 16)})
    monkeypatch.setattr(sizing, "ONE_IMAGE", (25,))
    found = choosing.choose({"data": str(made(what, tmp_path / what)), "batch": 2}, "2s", now(), say=False)
    assert measured[:2] == [measured[0], 16] if what != "one" else measured[0] < 25
    assert len(set(opened)) == 1 and (what == "one" or found.options["resolution"] == "16")


def test_images_that_are_shown_often_get_augmentation_with_the_number_and_the_reason(rate, tmp_path):
    path = images(tmp_path / "pics", 6, (32, 32))
    rate(lambda side, arguments: 1.0)
    few = choosing.choose({"data": str(path)}, "6000s", now(), say=False)
    assert few.options["augment"] == "diffaugment"
    assert re.search(r"each of 6 images is shown [\d,]+ times, over 100, and D would learn them by heart", few.lines[3])
    many = choosing.choose({"data": str(path)}, "60s", now(), say=False)
    assert "augment" not in many.options and re.search(r"none, as each image is shown \d+ times", many.lines[3])
    user = choosing.choose({"data": str(path), "augment": "none"}, "6000s", now(), say=False)
    assert user.options["augment"] == "none"


def test_few_images_a_class_are_taken_without_labels(rate, tmp_path):
    for name in "abc":
        images(tmp_path / "set" / name, 3)
    found = choosing.choose({"data": str(tmp_path / "set")}, "1m", now(), say=False)
    assert found.model == "dcgan" and "3 images a class are fewer than 20" in found.lines[5]


def test_folders_of_equal_names_are_pairs_and_small_images_are_not_enlarged(rate, tmp_path):
    images(tmp_path / "set" / "A", 3, (28, 28)), images(tmp_path / "set" / "B", 3, (28, 28), seed=5)
    found = choosing.choose({"data": str(tmp_path / "set")}, "1m", now(), say=False)
    assert found.model == "pix2pix" and any("gankit train cyclegan" in line for line in found.lines)
    assert found.options["resolution"] == "32", "the side nearest to 28 that the model draws"
    assert looking.look("digits", looking.data.Reading()).side == 16
    joined = images(tmp_path / "joined", 3, (48, 96))
    assert looking.look(str(joined), looking.data.Reading()).side == 48, "each side is 48x48"


def test_domains_of_unlike_channels_have_no_identity_loss(rate, tmp_path):
    for name, channels in (("alike", (3,)), ("unlike", ())):
        images(tmp_path / name / "trainA", 4)
        for i in range(4):
            picture(tmp_path / name / "trainB" / f"b{i}.png", noise(20, 24, *channels, seed=i))
    weights = {"alike": 0.5, "unlike": 0.0}
    for name, weight in weights.items():
        found = choosing.choose({"data": str(tmp_path / name)}, "1m", now(), say=False)
        arguments = choosing.plan(models.find("cyclegan"), found.preset, found.options)[1]
        assert (found.model, found.preset) == ("cyclegan", "cpu") and arguments["identity_weight"] == weight


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "auto needs data: add --data PATH"),
        (["--data", "digits", "--images", "5k"], "auto takes --time, which sets the length"),
        (["--data", "digits", "--preset", "small"], "auto chooses the preset"),
        (["--data", "ring"], "gankit train gan --data ring"),
        (["--data", "digits", "--time", "soon"], "--time is 'soon', which is no time"),
        (["--data", "no-such-folder"], "no-such-folder"),
    ],
)
def test_what_auto_cannot_do_is_refused_in_words(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "auto", *words])
    assert left.value.code == 2 and said in capsys.readouterr().err
