"""What a run says of its speed, and `--time`: measured steps, the length that fits, and schedules that stay whole."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import torch

import gankit
from gankit import cli, models, training
from gankit.recipe import Phase, Recipe
from gankit.runs.config import read_config
from gankit.runs.files import read_tensors
from gankit.text import about, clock
from gankit.training import budget, log, loop, pace
from gankit.training.budget import Budget, length_for, seconds_of
from gankit.training.pace import Pace, outlined, shares_of, step_kinds
from gankit.training.progress import Progress
from gankit.training.settings import Settings, plan, with_length
from gankit.training.setup import open_for, spec_of

TINY = dict(data="digits", preset="small", width=4, z_dim=4, batch=8, workers=0, quiet=True, device="cpu")


# Speed and the time left ---------------------------------------------------------------------------------------------


def test_the_time_left_is_that_of_the_usual_step_and_never_negative():
    progress = Progress(total=10_000, images=0, now=100.0)
    assert progress.left() == float("inf") and clock(progress.left()) == "?"
    now, images = 109.0, 10  # a slow first step
    progress.see(images, now)
    assert progress.left() == pytest.approx(9_990 / 10 * 9)
    for step in range(100):
        now, images = now + (200.0 if step == 60 else 1.0), images + 10  # something else kept the machine once
        progress.see(images, now)
    assert progress.rate() == pytest.approx(10.0)
    assert progress.left() == pytest.approx((10_000 - images) / 10)
    progress.see(10_024, now + 1)
    assert progress.left() == 0.0


def test_the_time_left_follows_work_where_images_differ():
    """A model whose second half costs nine times as much is not half done after half of its images."""
    progress = Progress(1000, 0, 0.0, work=lambda n: n + 8 * max(0, n - 500))
    for n in range(0, 501, 10):
        progress.see(n, n * 0.1)
    assert progress.left() == pytest.approx(500 * 9 * 0.1)


def test_times_in_words():
    assert [about(s) for s in (40, 700, 18_720, 544_320)] == ["40 s", "12 min", "5.2 hours", "6.3 days"]


class Clock:
    """Seconds that go on by a step each time a run takes one."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def said(monkeypatch, capsys, tmp_path, seconds: float, **options: object) -> str:
    """What a run prints whose steps take so long."""
    ticking, before = Clock(), log.Log.tick

    def tick(self: log.Log, run: training.Run) -> None:
        ticking.time += seconds
        before(self, run)

    monkeypatch.setattr(log.Log, "tick", tick)
    monkeypatch.setattr(loop, "Log", lambda *given: log.Log(*given, now=ticking))
    gankit.train("dcgan", outdir=tmp_path, **TINY | dict(quiet=False, log=10**6, save=10**6) | options)
    return capsys.readouterr().err


def test_a_run_soon_says_how_fast_it_is_and_then_prints_lines_by_time(monkeypatch, capsys, tmp_path):
    text = said(monkeypatch, capsys, tmp_path, 3.0, images=8 * 60, preview=80)
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if "until the end" in line)
    assert re.search(
        r"2\.67 images/s: about 2?3? ?min until|2\.67 images/s: about \d+ (s|min) until the end", lines[first]
    )
    assert f"the next preview in about 24 s: {tmp_path / '00000-dcgan-digits'}/fakes*.png" in lines[first]
    by_time = [line for line in lines if re.match(r"\d+/480 .*d/loss [\d.]+ .*images/s +[\d:]+ left", line)]
    assert len(by_time) >= 4, text
    stats = (tmp_path / "00000-dcgan-digits" / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in stats] == [480], "lines by time are not records"


def test_a_run_of_days_says_what_would_take_minutes(monkeypatch, capsys, tmp_path):
    preset = "cpu" if "cpu" in models.find("dcgan").presets else "small"
    text = said(monkeypatch, capsys, tmp_path, 90_000.0, images=40, preview=0, preset=preset)
    assert "long for this machine; a run of minutes has --time 30m" in text and "preview" not in text
    text = said(monkeypatch, capsys, tmp_path, 90_000.0, images=40, preview=0, preset="")
    assert re.search(r"a run of minutes has --preset (cpu|small), or --time 30m", text)


def test_a_first_step_that_takes_long_is_announced(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(log, "SLOW", 0.0)
    step = models.find("dcgan").step

    def slow(self: Recipe, batch: object, run: training.Run) -> None:
        if run.step == 0:
            run.log.waiting.join()
        step(self, batch, run)

    monkeypatch.setattr(models.find("dcgan"), "step", slow)
    gankit.train("dcgan", outdir=tmp_path, **TINY | dict(quiet=False, images=16))
    assert "the first step takes more than 0 s on cpu" in capsys.readouterr().err


# --time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, seconds",
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1:30:00", 5400), ("75:00", 4500), (90, 90)],
)
def test_times_as_users_write_them(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["90", "soon", "-5m", "0s", "1:75:00", "", "nan", "5 parsecs", True, float("nan"), -3])
def test_other_times_are_refused_in_words(text):
    with pytest.raises(ValueError, match="--time is .*write 90s, 30m, 2h or 1:30:00"):
        seconds_of(text)


def test_a_time_and_a_length_are_refused_together(capsys, tmp_path):
    with pytest.raises(ValueError, match="leave one of them out"):
        gankit.train("dcgan", data="digits", images=100, time="1m", outdir=tmp_path)
    for words in (["--images", "5k"], ["--kimg", "5"]):
        with pytest.raises(SystemExit):
            cli.main(["train", "dcgan", "--data", "digits", "--time", "1m", *words])
        assert "leave one of them out" in capsys.readouterr().err


def fitted(model: str, preset: str, cost: dict[Phase, float], seconds: float, **options: object):
    """Settings, arguments, the recipe and its spec for a time, at this cost of an image in each phase."""
    kind = models.find(model)
    settings, arguments = plan(kind, preset, options)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    spec = spec_of(dataset)
    chosen, changed = length_for(
        kind, spec, settings, arguments, Pace(cost), Budget(seconds, 0.0, frozenset(options)), 0.0
    )
    recipe = outlined(kind, spec, changed)
    return with_length(chosen, recipe), changed, recipe, outlined(kind, spec, arguments), settings


@pytest.mark.parametrize(
    "model, options, names",
    [
        ("pggan", dict(data="digits"), ["hold", "fade"]),
        ("stylegan", dict(data="digits"), ["hold", "fade"]),
        ("f_anogan", dict(data="digits"), ["gan_images"]),
        ("lapgan", dict(data="digits"), ["turn", "epoch"]),
        ("stackgan", {}, ["text_images", "stage1_images"]),
        ("singan", {}, ["iterations"]),
        ("gan", dict(data="digits"), ["momentum_images"]),
    ],
)
def test_a_time_sets_a_length_with_whole_schedules(model, options, names):
    """Each phase keeps its share of the run, and the run takes the time."""
    kind = models.find(model)
    settings, arguments = plan(kind, "small", options)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    whole = outlined(kind, spec_of(dataset), arguments)
    length = with_length(settings, whole).images
    shares = shares_of(whole, length)
    cost = {phase: 0.1 * (i + 1) for i, phase in enumerate(shares)}
    usual = sum(share * cost[phase] for phase, share in shares.items()) * length
    chosen, changed, recipe, _, _ = fitted(model, "small", cost, usual / 4, **options)
    assert chosen.images == pytest.approx(length / 4, rel=0.1)
    for name in names:
        assert changed[name] == pytest.approx(arguments[name] * chosen.images / length, rel=0.02)
    now = shares_of(recipe, chosen.images)
    assert now.keys() == shares.keys()
    for phase, share in shares.items():
        assert now[phase] == pytest.approx(share, abs=0.02)
    spent = sum(share * cost[phase] for phase, share in now.items()) * chosen.images
    assert usual / 4 * 0.9 <= spent <= usual / 4 * 1.01


def test_decays_by_steps_end_where_they_would_have_ended():
    for model in ("gan", "cgan"):
        arguments = plan(models.find(model), "small", {})[1]
        shorter = models.find(model).stretched(arguments, 0.25)
        assert shorter["lr_decay"] ** 100 == pytest.approx(arguments["lr_decay"] ** 400)
    arguments = plan(models.find("adain"), "small", {})[1]
    assert models.find("adain").stretched(arguments, 0.25)["lr_decay"] * 100 == pytest.approx(
        arguments["lr_decay"] * 400
    )


def test_intervals_follow_a_short_run_unless_the_user_set_them():
    cost = {Phase(): 0.01}
    short = fitted("dcgan", "small", cost, 60.0, data="digits")[0]
    assert short.images == pytest.approx(6000, rel=0.05)
    assert short.preview <= short.images / 8 and short.log <= short.images / 10
    assert short.save <= short.images < short.ema * 20
    user = fitted("dcgan", "small", cost, 60.0, data="digits", preview=50, log=77, save=99, ema=3)[0]
    assert (user.preview, user.log, user.save, user.ema) == (50, 77, 99, 3)
    assert fitted("dcgan", "small", cost, 60.0, data="digits", preview=0)[0].preview == 0


def test_steps_of_each_kind_are_measured_by_their_share():
    assert step_kinds({"width": 3}) == [(0, 1.0)]
    assert step_kinds({"n_critic": 5}) == [(1, 0.6), (0, 0.2), (4, 0.2)]
    kinds = step_kinds({"r1_every": 16, "path_every": 4})
    assert sum(share for _, share in kinds) == 1.0 and (0, 1 / 16) in kinds and len(kinds) == 5


class Steps:
    """A stand-in for measured steps: seconds by their number and size."""

    full = 32

    def __init__(self, usual: float, rare: float):
        self.usual, self.rare, self.time = usual, rare, 0.0

    def now(self) -> float:
        return self.time

    def seconds(self, size: int, number: int) -> float:
        took = (self.rare if number == 4 else self.usual) * size
        self.time += took
        return took


def test_the_cost_of_an_image_is_that_of_all_kinds_of_steps():
    kinds = step_kinds({"n_critic": 5})
    cost, size = pace.cost_of(Steps(0.001, 0.011), kinds, room=10.0)
    assert size == 32 and cost == pytest.approx(0.8 * 0.001 + 0.2 * 0.011)
    cost, size = pace.cost_of(Steps(1.0, 1.0), kinds, room=20.0)  # a whole batch takes longer than all of the time
    assert size < 32 and cost == pytest.approx(1.0)


def test_a_run_in_a_given_time_is_the_run_of_that_length_and_resumes_exactly(monkeypatch, tmp_path, interrupt):
    """Measuring real steps changes nothing; what was decided is in config.json as ordinary settings."""
    given: list[Settings] = []
    fit = loop.fit

    def short(*arguments: object) -> tuple[object, ...]:
        settings, changed, measured, line = fit(*arguments)
        assert measured.cost[Phase()] > 0 and measured.save > 0 and measured.report > 0
        given.append(loop.dataclasses.replace(settings, images=48, save=16, log=8, preview=16))
        return given[0], changed, None, line  # so that its end stays where it is

    monkeypatch.setattr(loop, "fit", short)
    monkeypatch.setattr(budget, "measure", lambda *a, **k: pace.measure(*a[:6], 0.0, *a[7:], **k))
    timed = training.train("dcgan", time="20s", outdir=tmp_path / "timed", **TINY)
    settings = vars(timed.settings)
    options = TINY | {name: settings[name] for name in ("images", "save", "log", "preview", "ema", "augment_speed")}
    typed = training.train("dcgan", outdir=tmp_path / "typed", **options)
    left = interrupt(24, "dcgan", outdir=tmp_path / "left", **options)
    resumed = training.resume(left, quiet=True)
    assert read_config(timed.folder)["settings"] == read_config(typed.folder)["settings"]
    weights = [read_tensors(run.folder / "weights.safetensors")[0] for run in (timed, typed, resumed)]
    for a, b in itertools.pairwise(weights):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Steady(models.find("dcgan")):
    """A dcgan with a schedule that follows the share of the run that is done."""

    def step(self, batch: object, run: training.Run) -> None:
        assert 0 <= run.done < 1
        super().step(batch, run)


@pytest.mark.parametrize("taken", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("kind", [models.find("dcgan"), Steady, models.find("gan")])
def test_the_end_of_a_run_moves_with_its_speed_unless_a_schedule_depends_on_it(kind, taken, monkeypatch, tmp_path):
    """Steps take another time than was measured: the run ends in time, or at the images that were decided."""
    ticking, before = Clock(), log.Log.tick

    def tick(self: log.Log, run: training.Run) -> None:
        ticking.time += taken
        before(self, run)

    def measure(*_: object, **__: object) -> Pace:
        return Pace({Phase(): 1 / 8}, save=0.5, report=2.0, batches={Phase(): 8})  # a second a step

    monkeypatch.setattr(budget, "measure", measure)
    monkeypatch.setattr(log.Log, "tick", tick)
    monkeypatch.setattr(loop, "Log", lambda *given: log.Log(*given, now=ticking))
    monkeypatch.setattr(loop, "budget_of", lambda time, options: Budget(200.0, 0.0, frozenset(options), ticking))
    options = TINY if kind.__name__ != "GAN" else {k: v for k, v in TINY.items() if k not in ("width", "z_dim")}
    run = training.train(kind, time="200s", outdir=tmp_path, **options | dict(preview=0, save=400))
    config = read_config(run.folder)
    assert config["settings"]["images"] == run.settings.images == run.log.settings.images
    assert run.settings.images <= run.images < run.settings.images + 8
    if kind is models.find("dcgan"):
        assert 0.93 * 200 < ticking.time <= 200, "besides the report, which this clock does not count"
        assert run.images == pytest.approx(8 * 195 / taken, rel=0.05)
    else:
        assert run.images == pytest.approx(8 * 195, rel=0.03)


def test_a_restarted_job_goes_on_with_what_was_decided(monkeypatch, tmp_path):
    """A second measurement would give another length, and so another run."""
    lengths = iter([40, 64])

    def fit(kind: type[Recipe], spec: object, settings: Settings, arguments: dict[str, object], *_: object):
        chosen = loop.dataclasses.replace(settings, images=next(lengths), save=16)
        return chosen, arguments, None, ""

    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(loop.Log, "finish", lambda self, run: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        training.train("dcgan", time="20s", outdir=tmp_path, **TINY)
    config = read_config(folder := next(tmp_path.iterdir()))
    config["images"] = 16
    loop.write_config(folder, config)
    monkeypatch.undo()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert training.train("dcgan", time="20s", outdir=tmp_path, **TINY).settings.images == 40
    assert len([*tmp_path.iterdir()]) == 1


def test_data_says_the_cost_of_a_model(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gankit.cli.data.LIMIT", 0.0)
    cli.main(["data", "digits", "--model", "dcgan", "--preset", "small", "--sheet", ""])
    text = capsys.readouterr().out
    assert re.search(r"dcgan at batch 64: about [\d.]+ s a step, [\d.e+]+ images/s, \d+ MB more memory, ", text)
    assert re.search(r"150k images take about .* here", text)
    assert not [*Path().iterdir()], "no run is left"


@pytest.mark.parametrize("model", [name for name in models.names() if "data" not in models.find(name).defaults])
def test_no_model_trains_on_data_that_nobody_named(model):
    kind = models.find(model)
    with pytest.raises(ValueError, match=f"{model} needs data: add --data PATH"):
        open_for(kind, *plan(kind, "", {}))
