"""What a preparation takes is said before it starts, where it takes more than seconds."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import encoded, put

from gankit import data
from gankit.data.reading import forecast

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def pictures(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, (forecast.FEWEST, 8, 8, 3), np.uint8)
    put(tmp_path / "set", **{f"{i:03}.png": encoded(pixels) for i, pixels in enumerate(content)})
    return tmp_path / "set"


def test_preparation_is_announced_with_time_and_space(pictures, capsys, monkeypatch):
    monkeypatch.setattr(forecast.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(forecast, "seconds", lambda sample, read, work: 2.0)
    data.open(pictures)
    assert (
        "gankit: preparing 64 images takes about 2 min with 2 cores, and 12.3 kB of the cache"
        in capsys.readouterr().err
    )
    data.open(pictures)
    assert capsys.readouterr().err == "", "it is prepared"
    data.describe(pictures)
    assert capsys.readouterr().err == "gankit: checking 64 images takes about 2 min with 2 cores\n"


def test_what_takes_seconds_is_not_announced(pictures, capsys):
    data.open(pictures)
    assert capsys.readouterr().err == ""


def test_images_that_do_not_fit_are_not_prepared(pictures, capsys, monkeypatch):
    monkeypatch.setattr(forecast, "seconds", lambda *_: pytest.fail("measured"))
    data.open(pictures, cache_limit="1K")
    assert "preparing" not in capsys.readouterr().err


@pytest.mark.parametrize("anywhere, expected", [(True, range(0, 1600, 100)), (False, range(16))])
def test_the_sample_is_spread_evenly(monkeypatch, anywhere, expected):
    samples = []
    monkeypatch.setattr(forecast, "seconds", lambda sample, *_: samples.append(list(sample)) or 0.0)
    forecast.announce(range(1600), lambda i: b"", lambda i, content: None, 0, anywhere)
    forecast.announce(range(forecast.FEWEST - 1), lambda i: b"", lambda i, content: None, 0)
    assert samples == [list(expected)]


def test_a_sample_is_read_no_longer_than_patience_allows(monkeypatch):
    times = iter([0.0, *[0.1, 0.2, 0.6], 0.9])
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(forecast.os, "cpu_count", lambda: 1)
    read = []

    def work(item, content):
        read.append(item)
        if item == 1:
            raise ValueError("damaged")

    assert forecast.seconds([0, 1, 2], lambda item: b"", work) == 0.45 and read == [0, 1]


def test_times_are_read_by_people():
    assert [forecast.duration(taken) for taken in (5.2, 89, 91, 720, 5401)] == [
        "5 s",
        "89 s",
        "2 min",
        "12 min",
        "1.5 h",
    ]
