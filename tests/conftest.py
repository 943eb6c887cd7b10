"""What all tests share: one thread, their own cache, and a way to interrupt a run."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from picture_files import noise, picture
from PIL import Image

from gankit import training
from gankit.runs.config import read_config
from gankit.training import Run

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_flushes() -> Iterator[None]:
    """No waiting for the disk: tests end processes, not the machine, and what is written outlives a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["GANKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def fresh_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache for one test, and no warning from Pillow that escapes."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder to fill with images."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """pics/A with 5 colour images of 16x20, pics/B with 5 grey ones of the same names in reversed order of writing."""
    for i in range(5):
        picture(tmp_path / "pics" / "A" / f"{i}.png", noise(16, 20, 3, seed=i))
        picture(tmp_path / "pics" / "B" / f"{4 - i}.bmp", noise(16, 20, seed=14 - i))
    return tmp_path / "pics"


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Train, with a real SIGTERM once so many images were seen; gives back the folder that is left."""

    def run(after: int, *args: object, **options: object) -> Path:
        advance = Run.advance

        def advance_and_stop(self: Run, n: int) -> None:
            advance(self, n)
            if self.images >= after:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Run, "advance", advance_and_stop)
            with pytest.raises(SystemExit) as left:
                training.train(*args, **options)
            assert left.value.code == 128 + signal.SIGTERM
        folder = next(Path(options["outdir"]).iterdir())
        assert read_config(folder)["images"] < options["images"], "the run was not interrupted"
        return folder

    return run
