"""kill -9 at any moment: does a run always go on from its last save, and end with the bits of a run never killed?

    python benchmarks/kill.py                     # 60 kills at random moments, then two kills at each rename of a run

A tiny model that uses all that a checkpoint holds (tests/odd_gan.py) trains with a save every few steps. Each process is
a fork of this one, in which torch is already imported, and runs the real command line. Half of the random kills come at
any moment, half wait for a temporary file to appear in the run folder and follow within two milliseconds. After each
kill every file under its real name must be whole, and `gankit resume` must go on from the last save. In the end all
runs are finished and compared with one that was never killed: tensors, generators, log and pictures, bit for bit.
Event files of TensorBoard are only appended to and are not looked at. Exit code 1 if anything was found.
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

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before torch is imported: a pool of threads does not survive a fork

import numpy as np
import torch
from PIL import Image

from gankit import cli
from gankit.runs.config import read_config
from gankit.runs.files import BadCheckpoint, read_tensors
from gankit.training.log import TIMES

MODEL = str(Path(__file__).parents[1] / "tests" / "odd_gan.py")
FLAGS = ["--data", "digits", "--width", "1024", "--device", "cpu", "--threads", "1"]
LONG = ["--images", "1600", "--save", "16", "--log", "40", "--preview", "160", "--keep", "160"]
SHORT = ["--images", "48", "--save", "16", "--log", "8", "--preview", "24", "--keep", "24"]


class Bench:
    """Counts what was hit and what was found.

    Args:
        place: an empty folder.
        rng: chooses the moments.
    """

    def __init__(self, place: Path, rng: random.Random):
        self.place, self.rng = place, rng
        self.hit: Counter[str] = Counter()
        self.violations: list[str] = []

    def start(self, words: list[str], before: Callable[[], None] = lambda: None) -> int:
        """Run `gankit WORDS` in a fork, and give back its process id."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            output = os.open(self.place / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            random.seed(), np.random.seed(), torch.seed()  # a new process knows nothing of the old one's generators
            before()
            cli.main(words)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        os._exit(code)

    def wait(self, pid: int, words: list[str]) -> bool:
        """Whether the process was killed; one that ended by itself must have ended well."""
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            return True
        if code := os.waitstatus_to_exitcode(status):
            output = (self.place / "output").read_text(errors="replace").strip()
            self.violations.append(f"gankit {' '.join(words[:2])} left with {code}: {output[-600:]}")
        return False

    # Kills -----------------------------------------------------------------------------------------------------------

    def kill_at_random(self, kills: int, kills_per_run: int, window: float) -> list[Path]:
        """Train and resume under kills; the folders of the runs."""
        outdir, ours = self.place / "random", 0
        while self.hit["kills"] < kills and len(self.violations) < 100:
            folder = newest(outdir)
            fresh = not is_run(folder) or ours >= kills_per_run or finished(folder)
            ours = 0 if fresh else ours
            words = ["train", MODEL, *FLAGS, *LONG, "--outdir", str(outdir)] if fresh else resume(folder)
            start = Start(None if fresh else folder)
            here = (lambda old=folder: newest(outdir, than=old)) if fresh else (lambda same=folder: same)
            aimed = self.hit["kills"] % 2 == 1
            pid = self.start(words)
            # The first kill of a run comes early, when there is no save yet, or no run.
            time.sleep(self.rng.uniform(0, window / 2 if fresh else window))
            if aimed:
                self.await_temporary(pid, here, start.temporaries)
            os.kill(pid, signal.SIGKILL)
            if not self.wait(pid, words):
                self.hit["ended before the kill came (not counted)"] += 1
                ours = kills_per_run
                continue
            ours += 1
            self.hit["kills"] += 1
            self.hit["kills " + ("aimed into writing" if aimed else "at any moment")] += 1
            self.look(here(), start)
        return sorted(outdir.iterdir())

    def await_temporary(self, pid: int, here: Callable[[], Path | None], known: set[str]) -> None:
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            folder = here()
            if folder and temporaries(folder) - known:
                time.sleep(self.rng.choice([0.0, self.rng.uniform(0, 0.002)]))
                return

    def kill_at_renames(self, reference: Path) -> None:
        """Kill a short run right before and right after each of its renames, go on, and compare."""
        for number in itertools.count():
            for after in (False, True):
                outdir = self.place / f"rename{number}{'after' if after else 'before'}"
                words = ["train", MODEL, *FLAGS, *SHORT, "--outdir", str(outdir)]
                if not self.wait(self.start(words, lambda n=number, late=after: kill_self_at_rename(n, late)), words):
                    return  # it has no more renames
                self.hit["kills right before or after a rename"] += 1
                self.look(newest(outdir), Start(None))
                self.finish(sorted(outdir.iterdir()), reference)

    # What must hold --------------------------------------------------------------------------------------------------

    def look(self, folder: Path | None, start: Start) -> None:
        """Look at a run folder after a kill: whole files, a resume from where it had to be, no save lost."""
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
            self.violations.append(f"{folder}: went on from {config['history'][-1]['images']}, not {start.images}")
        self.hit["hit: before the first save"] += images == 0
        self.hit["hit: between the files of one save"] += images != config["images"]

    def damage(self, path: Path) -> str:
        """What is wrong with a file, by its kind; empty when it is whole."""
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
        """Go on with each run to its end, and compare it with the one that was never killed."""
        for folder in folders:
            if not is_run(folder):
                continue
            before, words = Start(folder), resume(folder)
            failed = len(self.violations)
            if self.wait(self.start(words), words):
                self.violations.append(f"{folder}: was killed by somebody else")
            if len(self.violations) > failed:
                continue
            went_on_from = read_config(folder)["history"][-1]["images"]
            if went_on_from != before.images:
                self.violations.append(f"{folder}: went on from {went_on_from}, not {before.images}")
            found = [f"{folder}: {difference}" for difference in differences(reference, folder)]
            self.violations += found
            self.hit["runs finished and equal to one never killed" if not found else "runs that differ"] += 1
            if left := temporaries(folder):
                size = sum((folder / name).stat().st_size for name in left)
                self.violations.append(f"{folder}: {len(left)} temporary files ({size:,} bytes) are left for good")


class Start:
    """What a run folder holds before a process begins."""

    def __init__(self, folder: Path | None):
        self.temporaries = temporaries(folder) if folder else set()
        self.images = saved(folder) if folder else 0
        self.resumes = len(read_config(folder)["history"]) if folder else 1


def kill_self_at_rename(number: int, after: bool) -> None:
    rename, count = os.replace, itertools.count()

    def replace(source: Path, target: Path) -> None:
        mine = next(count) == number
        if mine and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def resume(folder: Path) -> list[str]:
    return ["resume", str(folder), "--model", MODEL]


def newest(outdir: Path, than: Path | None = None) -> Path | None:
    """The newest folder in `outdir`, if there is one newer than the given one."""
    folders = sorted(outdir.glob("*"))
    return folders[-1] if folders and folders[-1] != than else None


def is_run(folder: Path | None) -> bool:
    return folder is not None and (folder / "config.json").exists()


def temporaries(folder: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(folder) if name.startswith(".")}
    return set()


def saved(folder: Path) -> int:
    """Images at the last save; 0 when there is none, -1 when it is damaged."""
    path = folder / "state.safetensors"
    try:
        return read_tensors(path)[1]["images"] if path.exists() else 0
    except BadCheckpoint:
        return -1


def finished(folder: Path) -> bool:
    return saved(folder) >= read_config(folder)["settings"]["images"]


def differences(a: Path, b: Path) -> list[str]:
    """How two finished runs differ: files, tensors, plain state, pictures, log."""
    found = []
    names = {p.name for folder in (a, b) for p in folder.iterdir() if p.suffix in (".safetensors", ".png")}
    for name in sorted(names):
        if not (a / name).exists() or not (b / name).exists():
            found.append(f"{name} is missing")
        elif name.endswith(".png"):
            if (a / name).read_bytes() != (b / name).read_bytes():
                found.append(f"{name} differs")
        else:
            (tensors_a, about_a), (tensors_b, about_b) = (read_tensors(folder / name) for folder in (a, b))
            same = tensors_a.keys() == tensors_b.keys()
            found += [f"{name}: {k} differs" for k in tensors_a if same and not torch.equal(tensors_a[k], tensors_b[k])]
            if not same or about_a.get("state") != about_b.get("state") or about_a["images"] != about_b["images"]:
                found.append(f"{name}: what it holds besides tensors differs")
    if stats(a) != stats(b):
        found.append(f"stats.jsonl differs: {len(stats(a))} lines and {len(stats(b))}")
    if read_config(b)["images"] != read_config(a)["images"]:
        found.append(f"config.json says {read_config(b)['images']} images")
    return found


def stats(folder: Path) -> list[dict]:
    lines = (folder / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="kills at random moments (60)")
    parser.add_argument("--kills-per-run", type=int, default=8, help="kills before a new run is begun (8)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["GANKIT_CACHE"] = str(Path(place) / "cache")
        bench, began = Bench(Path(place), random.Random(options.seed)), time.perf_counter()
        # The short run trains in this process, so that what is imported on first use is there before the forks.
        cli.main(["train", MODEL, *FLAGS, *SHORT, "--outdir", f"{place}/short", "--quiet"])
        time.sleep(1)  # its threads must be gone before a fork
        start, words = time.perf_counter(), ["train", MODEL, *FLAGS, *LONG, "--outdir", f"{place}/long"]
        bench.wait(bench.start(words), words)
        short, long = (newest(Path(place) / name) for name in ("short", "long"))
        window = (time.perf_counter() - start) / options.kills_per_run  # so that a run's kills fall all over it
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
