"""What all tests share: one thread, their own cache, and a way to interrupt a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gankit import training
from gankit.runs.config import read_config
from gankit.training import Run

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["GANKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


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
