"""Waits for other processes that follow their progress, not the clock: on a busy machine everything takes longer."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

PATIENCE = 900  # seconds in which nothing at all changes; imports alone take some ten of them on a busy machine


def start(words: list[str], folder: Path, **environment: str) -> subprocess.Popen:
    """A process of this Python in a folder, which writes what it prints to <its number>.txt there."""
    into_file = ["/bin/sh", "-c", 'exec "$@" >$$.txt 2>&1', "sh"]
    return subprocess.Popen(
        [*into_file, sys.executable, *words], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment
    )


def torchrun(folder: Path, *words: str, processes: int = 2, restarts: int = 0) -> subprocess.Popen:
    """`gankit` with these words on several processes."""
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        "--max-restarts",
        str(restarts),
    ]
    return start([*command, "-m", "gankit", *words], folder, PYTHONPATH=str(Path(__file__).parents[1]))


class Forked(ForkServerProcess):
    """A process that begins with gankit and PyTorch imported, which a new Python takes seconds for."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.exitcode

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`."""
        return self.exitcode


def fork(folder: Path, function: Callable[..., None], *arguments: object, **environment: str) -> Forked:
    """A function in a process of its own, in a folder, which writes what it prints to <its number>.txt there.

    Its environment is that of the first call in this process of tests, with these changes.
    """
    multiprocessing.set_forkserver_preload(["torch._dynamo", "gankit.training", "tests.small_runs"])
    job = Forked(target=_enter, args=(str(folder), environment, function, *arguments), daemon=True)
    job.start()
    return job


def _enter(folder: str, environment: dict[str, str], function: Callable[..., None], *arguments: object) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(f"{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(output, 1), os.dup2(output, 2)
    function(*arguments)


def printed(job: subprocess.Popen | Forked, folder: Path) -> str:
    path = folder / f"{job.pid}.txt"
    return path.read_text() if path.exists() else ""


def until(happened: Callable[[], object], folder: Path, *jobs: subprocess.Popen | Forked) -> None:
    """Wait for something to be true, as long as one of the jobs runs and files in the folder change.

    Raises:
        AssertionError: the jobs are over, or nothing has changed for long; says what they printed.
    """
    seen, since = None, time.monotonic()
    while not happened():
        over = jobs and all(job.poll() is not None for job in jobs)
        now = [(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.exists()]
        seen, since = (now, time.monotonic()) if now != seen else (seen, since)
        if (over and not happened()) or time.monotonic() - since > PATIENCE:
            for job in jobs:
                job.kill()
            why = "the processes are over" if over else f"nothing has changed for {PATIENCE} s"
            raise AssertionError("\n".join([why, *(printed(job, folder) for job in jobs)]))
        time.sleep(0.05)


def finished(job: subprocess.Popen | Forked, folder: Path) -> str:
    """Wait for a process to end well; gives what it printed."""
    until(lambda: job.poll() is not None, folder, job)
    text = printed(job, folder)
    assert job.returncode == 0, text
    return text
