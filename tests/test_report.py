"""report.html and its charts: what a reader sees, and that nothing is made to look like what it is not."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from PIL import Image

from gankit import report, training
from gankit.html import frames, page
from gankit.pictures import Mark, chart, inline
from gankit.pictures.curves import axis_of, tick_text
from gankit.report import run_page
from gankit.report.meanings import MEANINGS, chance, chart_of
from gankit.report.verdict import verdict

LINE = dict(error=0.1, error_of="", better="lower", note="", n_fake=90, n_real=90, fake={"images": 64, "weights": "w"})
CONFIG = {"data": {"name": "pics", "fingerprint": "train"}, "preview": "samples"}


def line(name: str, value: float, **more: object) -> dict:
    return LINE | dict(name=name, metric=name.split("_")[0], value=value, real={"fingerprint": "train"}) | more


def heights(svg: str) -> list[float]:
    return [float(y) for y in re.findall(r"[\d.]+,([\d.]+)", re.search(r"points='([^']*)'", svg)[1])]


# Charts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.389, 0.3891], 0.34, 0.44),  # flat: a fifth of the value at least
        ([0.0, 0.0], 0.0, 0.5),
        ([1.3, 0.2], 0.0, 1.5),  # far apart: from 0
        ([-3.0, 5.0], -4.0, 6.0),
        ([100.0, 90.0], 85.0, 105.0),
        ([-1e300, 1e300], -1e300, 1e300),
    ],
)
def test_an_axis_has_round_ends_and_does_not_stretch_what_is_flat(values, low, high):
    axis = axis_of(values)
    assert axis.low == pytest.approx(low) and axis.high == pytest.approx(high)
    assert 3 <= len(axis.ticks()) <= 8


def test_a_flat_series_is_drawn_flat_and_a_steep_one_on_a_logarithmic_axis():
    flat = heights(chart("std", {"samples/std": [(0, 0.389), (10, 0.3894), (20, 0.3899)]}))
    assert max(flat) - min(flat) < 5  # of 240 pixels
    steep = {"fd": [(0, 1000.0), (10, 100.0), (20, 10.0)]}
    y = heights(chart("fd", steep, may_be_log=True))
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2) and "log scale" in chart("fd", steep, may_be_log=True)
    assert "log scale" not in chart("fd", steep)


def test_both_axes_have_ticks_and_units():
    svg = chart(
        "loss", {"d/loss": [(0, 0.1), (25_000, 0.2), (50_000, 0.18)]}, unit_y="nats", marks=[Mark(0.15, "chance")]
    )
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"10k", "50k", "images", "nats", "0.10", "0.18", "chance", "d/loss"} <= set(texts), texts
    svg = chart("s", {"images": [(0.101, 0.5), (0.2, 0.1)]}, unit="score", marks=[Mark(0.25, "threshold", True)])
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"0.12", "0.24", "score", "threshold"} <= set(texts), texts  # an axis reaches its marks


@pytest.mark.parametrize("value", [0.0, 1e308, -1e308, 1e-320, 2.0**62, 1.386])
def test_any_finite_numbers_can_be_drawn(value):
    for series in ({"x": [(0, value)]}, {"x": [(1, value), (2, 0.5)], "y": [(value, value), (3, -value)]}):
        svg = chart("x", series, may_be_log=True, limits=(0, 1))
        assert not re.search(r"\b(nan|inf)\b", svg)


def test_ticks_are_written_as_flags_take_counts_and_with_the_decimals_that_they_need():
    assert [tick_text(v, 1, True) for v in (0, 500, 2500, 20_000, 5e6)] == ["0", "500", "2.5k", "20k", "5M"]
    assert [tick_text(v, 0.05) for v in (0.1, 0.15, 1)] == ["0.10", "0.15", "1.00"]


# The words -----------------------------------------------------------------------------------------------------------


def test_each_meaning_is_plain_and_a_loss_at_chance_is_marked():
    for name, meaning in MEANINGS.items():
        assert meaning.text.endswith(".") and len(meaning.text) > 20, name
    assert chart_of("d/fake_right") == "real_right" and chart_of("gan/d_loss") == "loss"
    assert [m.value for m in chance("dcgan", {"loss": "non_saturating"}, "loss")] == [2 * math.log(2)]
    assert not chance("dcgan", {"loss": "hinge"}, "loss") and not chance("wgan", {}, "loss")


def said(lines: list[dict], deviations: tuple[float, ...] = ()) -> dict[str, str]:
    return {s.topic: f"{s.kind}: {s.text} {' '.join(s.commands)}" for s in verdict(CONFIG, "run", lines, deviations)}


def test_what_was_not_measured_is_said_with_what_to_type():
    texts = list(said([]).values())
    assert len(texts) == 5 and all(text.startswith("missing: Not measured") and "gankit " in text for text in texts)


def test_the_verdict_is_in_words():
    lines = [line("precision_digits", 0.7), line("recall_digits", 0.1), line("fd_digits", 15.0)]
    copies = line("memorised", 0.2, metric="memorisation", note="copies: 20 % of the fakes lie within 1 of ...")
    texts = said([*lines, copies, line("fd_digits", 16.0, real={"fingerprint": "test"})], (0.4, 0.3, 0.02))
    assert texts["Does it copy training images?"].startswith("bad: By pixels, of 90 samples: copies")
    assert "a sign of overfitting" in texts["Is it nearer to its training images than to unseen ones?"]
    assert "modes are missing" in texts["Does it cover the data?"]
    assert texts["Have the samples become alike?"].startswith("bad: Yes")
    fine = line("memorised", 0.0, metric="memorisation", note="no sign of memorising: ...")
    lines = [line("precision", 0.7), line("recall", 0.8), fine, line("fd", 15.0)]
    texts = said([*lines, line("fd", 15.1, real={"fingerprint": "test"})], (0.4, 0.3))
    assert [text.split(":")[0] for text in texts.values()] == ["", "good", "good", "good", "good"]
    other = line("fd", 25.1, real={"fingerprint": "test"}, n_real=30)  # other counts do not compare
    assert "Not measured" in said([*lines, other])["Is it nearer to its training images than to unseen ones?"]
    assert "good: It found 8 modes" in said([line("modes", 8, note="of 8; one sample")])["Does it cover the data?"]


# Pictures ------------------------------------------------------------------------------------------------------------


def test_the_slider_works_by_keyboard_and_a_still_picture_stays_without_javascript():
    html = page(
        "x", [frames([(b"1", "after 1 <b>", "png"), (b"2", "after 2", "png"), (b"3", "after 3", "webp")], "time")]
    )
    assert "<input type=range" in html and "aria-label='time'" in html and "<form hidden>" in html
    assert len(re.findall(r"<img [^>]*hidden>", html)) == 2 and re.search(
        r"alt='after 3' src='data:image/webp[^']*'>", html
    )
    assert html.count("<script>") == 1 and "http" not in html and "<b>" not in html
    assert "<script" not in page("x", [frames([(b"1", "one", "png")], "time")])  # nothing to slide over


def test_large_pictures_are_compressed_in_pages(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert inline(tmp_path / "a.png", 10**6) == ((tmp_path / "a.png").read_bytes(), "png")
    content, kind = inline(tmp_path / "a.png", 1000)
    assert kind == "webp" and len(content) < (tmp_path / "a.png").stat().st_size
    (tmp_path / "b.png").write_bytes(b"no picture" * 100)
    assert inline(tmp_path / "b.png", 10)[1] == "png"


def test_a_report_shows_the_previews_over_time_the_words_and_the_curves(tmp_path):
    run = training.train(
        "dcgan", data="digits", outdir=tmp_path, images=48, batch=16, z_dim=4, width=4, preview=16, log=16, quiet=True
    )
    text = report.write(run.folder).read_text()
    assert len(re.findall("<img ", text)) == 4 and text.count("class=frames") == 1
    for words in ("D at chance: 2 ln 2", "Not measured.", "What each network minimises", "real data", "samples/std"):
        assert words in text, words
    keys = {key for record in report.read_stats(run.folder / "stats.jsonl") for key in record} - {"images", "seconds"}
    assert all(report.meaning_of(key) for key in keys), keys
    assert run.folder.name in run._repr_html_() and "<img " in run._repr_html_()


def test_a_report_keeps_below_a_size_with_many_previews(tmp_path, monkeypatch):
    config = dict(CONFIG, settings={"evaluate": ""})
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for i in range(60):
        Image.fromarray(noise).save(tmp_path / f"fakes{i:09d}.png")
    parts = "".join(run_page.previews(tmp_path, config, []))
    assert parts.count("<img ") == run_page.MOST_FRAMES and "after 0 images" in parts and "after 59 images" in parts


def test_the_seconds_of_resumed_parts_add_up():
    assert run_page.time_of([{"seconds": 5.0}, {"seconds": 9.0}, {"seconds": 2.0}, {"seconds": 3.0}]) == 12.0


def test_the_best_and_the_last_weights_are_shown_beside_each_other(tmp_path):
    for images in (16, 32):
        Image.new("L", (8, 8)).save(tmp_path / f"fakes{images:09d}.png")
    lines = [line("fd", value, training=True, fake={"images": images}) for images, value in ((16, 1.0), (32, 2.0))]
    text = "".join(run_page.previews(tmp_path, CONFIG, lines))
    assert "best: fd 1 after 16 images (weights-best.safetensors)" in text and "last: fd 2, after 32 images" in text
    assert "is that of the last weights" in "".join(run_page.previews(tmp_path, CONFIG, lines[:1]))
