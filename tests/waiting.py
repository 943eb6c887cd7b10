"""Waits for other processes that follow their progress, not the clock: on a busy machine everything takes longer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
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


def printed(job: subprocess.Popen, folder: Path) -> str:
    path = folder / f"{job.pid}.txt"
    return path.read_text() if path.exists() else ""


def until(happened: Callable[[], object], folder: Path, *jobs: subprocess.Popen) -> None:
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


def finished(job: subprocess.Popen, folder: Path) -> str:
    """Wait for a process to end well; gives what it printed."""
    until(lambda: job.poll() is not None, folder, job)
    text = printed(job, folder)
    assert job.returncode == 0, text
    return text
