"""Kills runs with SIGKILL at any moment, and checks that they resume from their last save and end with the same bits.

    python benchmarks/kill.py                     # 60 kills at random moments, then two kills at each rename of a run

A tiny model that uses everything that a checkpoint can hold (tests/odd_gan.py) trains with a save every few steps.
Each process is a fork of this one, which has already imported torch, and runs the real command line. Half of the
random kills come at any moment; the others wait for a temporary file in the run folder and follow within two
milliseconds. After each kill every file under its final name must be complete, and `gankit resume` must continue from
the last save. At the end all runs are finished and compared with one that was never killed: tensors, generators, log
and pictures, bit for bit. TensorBoard's event files are only appended to and are not compared. The exit code is 1 if
a check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# Set before torch is imported, since a pool of threads does not survive a fork.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np
import torch
from PIL import Image

from gankit import cli
from gankit.runs.config import read_config
from gankit.runs.files import read_tensors
from gankit.runs.schema import BadCheckpoint
from gankit.training.log import TIMES

MODEL = str(Path(__file__).parents[1] / "tests" / "odd_gan.py")
FLAGS = ["--data", "digits", "--width", "1024", "--device", "cpu", "--threads", "1"]
LONG = ["--images", "1600", "--save", "16", "--log", "40", "--preview", "160", "--keep", "160"]
SHORT = ["--images", "48", "--save", "16", "--log", "8", "--preview", "24", "--keep", "24"]


class Bench:
    """Starts and kills processes, counts what each kill interrupted, and collects violations.

    Args:
        place: an empty folder.
        rng: chooses the moments.
    """

    def __init__(self, place: Path, rng: random.Random):
        self.place, self.rng = place, rng
        self.hit: Counter[str] = Counter()
        self.violations: list[str] = []

    def start(self, words: list[str], before: Callable[[], None] = lambda: None) -> int:
        """Run `gankit WORDS` in a fork, and return its process id."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            output = os.open(self.place / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            random.seed(), np.random.seed(), torch.seed()  # as in a new process
            before()
            cli.main(words)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        os._exit(code)

    def wait(self, pid: int, words: list[str]) -> bool:
        """Wait for a process and return whether it was killed; one that ended by itself must have succeeded."""
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            return True
        if code := os.waitstatus_to_exitcode(status):
            output = (self.place / "output").read_text(errors="replace").strip()
            self.violations.append(f"gankit {' '.join(words[:2])} left with {code}: {output[-600:]}")
        return False

    # Kills -----------------------------------------------------------------------------------------------------------

    def kill_at_random(self, kills: int, kills_per_run: int, window: float) -> list[Path]:
        """Train and resume under kills, and return the folders of the runs."""
        outdir, kills_of_run = self.place / "random", 0
        while self.hit["kills"] < kills and len(self.violations) < 100:
            folder = newest(outdir)
            is_new = not is_run(folder) or kills_of_run >= kills_per_run or finished(folder)
            kills_of_run = 0 if is_new else kills_of_run
            words = ["train", MODEL, *FLAGS, *LONG, "--outdir", str(outdir)] if is_new else resume(folder)
            start = Start(None if is_new else folder)
            here = (lambda old=folder: newest(outdir, than=old)) if is_new else (lambda same=folder: same)
            is_aimed = self.hit["kills"] % 2 == 1
            pid = self.start(words)
            # The first kill of a run comes early, when it may have no save or no folder yet.
            time.sleep(self.rng.uniform(0, window / 2 if is_new else window))
            if is_aimed:
                self.await_temporary(pid, here, start.temporaries)
            os.kill(pid, signal.SIGKILL)
            if not self.wait(pid, words):
                self.hit["ended before the kill came (not counted)"] += 1
                kills_of_run = kills_per_run
                continue
            kills_of_run += 1
            self.hit["kills"] += 1
            self.hit["kills " + ("aimed into writing" if is_aimed else "at any moment")] += 1
            self.check(here(), start)
        return sorted(outdir.iterdir())

    def await_temporary(self, pid: int, here: Callable[[], Path | None], before: set[str]) -> None:
        """Wait until the process writes a new temporary file, or ends."""
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            folder = here()
            if folder and temporaries(folder) - before:
                time.sleep(self.rng.choice([0.0, self.rng.uniform(0, 0.002)]))
                return

    def kill_at_renames(self, reference: Path) -> None:
        """Kill a short run right before and right after each of its renames, finish it, and compare."""
        for number in itertools.count():
            for after in (False, True):
                outdir = self.place / f"rename{number}{'after' if after else 'before'}"
                words = ["train", MODEL, *FLAGS, *SHORT, "--outdir", str(outdir)]
                if not self.wait(self.start(words, lambda n=number, late=after: kill_self_at_rename(n, late)), words):
                    return  # there are no more renames
                self.hit["kills right before or after a rename"] += 1
                self.check(newest(outdir), Start(None))
                self.finish(sorted(outdir.iterdir()), reference)

    # Checks ----------------------------------------------------------------------------------------------------------

    def check(self, folder: Path | None, start: Start) -> None:
        """Check a run folder after a kill: complete files, a resume from the last save, no lost save."""
        if not is_run(folder):
            self.hit["hit: before config.json was there (no run yet)"] += 1
        if folder is None:
            return
        left = temporaries(folder) - start.temporaries
        for name in left:
            kind = "weights" if "weights" in name else name.split(".")[1] if name.endswith(".tmp") else "tensors"
            self.hit[f"hit: while writing {kind}"] += 1
            self.hit["hit: a file that was half written"] += bool(self.damage(folder / name))
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and (damage := self.damage(path)):
                self.violations.append(f"half-written: {path}: {damage}")
        if not is_run(folder) or self.damage(folder / "config.json"):
            return
        config, images = read_config(folder), saved(folder)
        if images < start.images:
            self.violations.append(f"{folder}: the save at {start.images} images was lost, now {images}")
        if len(config["history"]) > start.resumes and config["history"][-1]["images"] != start.images:
            self.violations.append(f"{folder}: resumed from {config['history'][-1]['images']}, not {start.images}")
        self.hit["hit: before the first save"] += images == 0
        self.hit["hit: between the files of one save"] += images != config["images"]

    def damage(self, path: Path) -> str:
        """What is wrong with a file; empty when it is complete."""
        try:
            if ".safetensors" in path.name or path.name.startswith(".tmp"):
                read_tensors(path)
            elif ".json" in path.suffixes:
                json.loads(path.read_text())
            elif ".png" in path.suffixes:
                with Image.open(path) as picture:
                    picture.load()
            elif ".html" in path.suffixes and not path.read_text().endswith("</html>"):
                return "cut off"
            elif ".jsonl" in path.suffixes:  # the last line may be cut; a resume drops it
                [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def finish(self, folders: list[Path], reference: Path) -> None:
        """Finish each run, and compare it with the one that was never killed."""
        for folder in folders:
            if not is_run(folder):
                continue
            before, words = Start(folder), resume(folder)
            violations_before = len(self.violations)
            if self.wait(self.start(words), words):
                self.violations.append(f"{folder}: was killed by another process")
            if len(self.violations) > violations_before:
                continue
            resumed_from = read_config(folder)["history"][-1]["images"]
            if resumed_from != before.images:
                self.violations.append(f"{folder}: resumed from {resumed_from}, not {before.images}")
            differing = [f"{folder}: {difference}" for difference in differences(reference, folder)]
            self.violations += differing
            self.hit["runs that differ" if differing else "runs finished and equal to one never killed"] += 1
            if left := temporaries(folder):
                size = sum((folder / name).stat().st_size for name in left)
                self.violations.append(f"{folder}: {len(left)} temporary files ({size:,} bytes) are left")


class Start:
    """The state of a run folder before a process starts."""

    def __init__(self, folder: Path | None):
        self.temporaries = temporaries(folder) if folder else set()
        self.images = saved(folder) if folder else 0
        self.resumes = len(read_config(folder)["history"]) if folder else 1


def kill_self_at_rename(number: int, after: bool) -> None:
    """Kill this process before or after its rename of this number."""
    rename, count = os.replace, itertools.count()

    def replace(source: Path, target: Path) -> None:
        is_chosen = next(count) == number
        if is_chosen and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if is_chosen:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def resume(folder: Path) -> list[str]:
    """The words of the command that resumes a run."""
    return ["resume", str(folder), "--model", MODEL]


def newest(outdir: Path, than: Path | None = None) -> Path | None:
    """The newest folder in `outdir`, or None if that is `than` or there is none."""
    folders = sorted(outdir.glob("*"))
    return folders[-1] if folders and folders[-1] != than else None


def is_run(folder: Path | None) -> bool:
    """Whether a folder is a run's."""
    return folder is not None and (folder / "config.json").exists()


def temporaries(folder: Path) -> set[str]:
    """Names of temporary files in a folder."""
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(folder) if name.startswith(".")}
    return set()


def saved(folder: Path) -> int:
    """Images at the last save; 0 without a save, -1 for a damaged one."""
    path = folder / "state.safetensors"
    try:
        return read_tensors(path)[1]["images"] if path.exists() else 0
    except BadCheckpoint:
        return -1


def finished(folder: Path) -> bool:
    """Whether a run has trained to its end."""
    return saved(folder) >= read_config(folder)["settings"]["images"]


def differences(a: Path, b: Path) -> list[str]:
    """How two finished runs differ: files, tensors, plain state, pictures, log."""
    differing = []
    names = {p.name for folder in (a, b) for p in folder.iterdir() if p.suffix in (".safetensors", ".png")}
    for name in sorted(names):
        if not (a / name).exists() or not (b / name).exists():
            differing.append(f"{name} is missing")
        elif name.endswith(".png"):
            if (a / name).read_bytes() != (b / name).read_bytes():
                differing.append(f"{name} differs")
        else:
            (tensors_a, about_a), (tensors_b, about_b) = (read_tensors(folder / name) for folder in (a, b))
            if tensors_a.keys() == tensors_b.keys():
                unequal = [k for k in tensors_a if not torch.equal(tensors_a[k], tensors_b[k])]
                differing += [f"{name}: {k} differs" for k in unequal]
            else:
                differing.append(f"{name}: names of tensors differ")
            if about_a.get("state") != about_b.get("state") or about_a["images"] != about_b["images"]:
                differing.append(f"{name}: state other than tensors differs")
    if stats(a) != stats(b):
        differing.append(f"stats.jsonl differs: {len(stats(a))} lines and {len(stats(b))}")
    if read_config(b)["images"] != read_config(a)["images"]:
        differing.append(f"config.json has {read_config(b)['images']} images")
    return differing


def stats(folder: Path) -> list[dict]:
    """The lines of a run's log without times."""
    lines = (folder / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="kills at random moments; default: 60")
    parser.add_argument("--kills-per-run", type=int, default=8, help="kills before a new run starts; default: 8")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["GANKIT_CACHE"] = str(Path(place) / "cache")
        bench, began = Bench(Path(place), random.Random(options.seed)), time.perf_counter()
        # The short run trains in this process, so that everything is imported before the forks.
        cli.main(["train", MODEL, *FLAGS, *SHORT, "--outdir", f"{place}/short", "--quiet"])
        time.sleep(1)  # until its threads have ended, before a fork
        start, words = time.perf_counter(), ["train", MODEL, *FLAGS, *LONG, "--outdir", f"{place}/long"]
        bench.wait(bench.start(words), words)
        short, long = (newest(Path(place) / name) for name in ("short", "long"))
        window = (time.perf_counter() - start) / options.kills_per_run  # so that the kills are spread over a run
        runs = bench.kill_at_random(options.kills, options.kills_per_run, window)
        bench.finish(runs, long)
        bench.kill_at_renames(short)
        for name, count in sorted(bench.hit.items()):
            print(f"{count:6}  {name}")
        print(f"{len(bench.violations):6}  violations")
        print(f"seed {options.seed}, {time.perf_counter() - began:.0f} s, kills up to {window:.1f} s after a start")
        for violation in bench.violations:
            print("VIOLATION", violation.replace(place, ""))
    return bool(bench.violations)


if __name__ == "__main__":
    sys.exit(main())
