"""What a run reports in training: a progress bar or plain lines, stats.jsonl, TensorBoard, previews and warnings."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from gankit import data, latent, pictures, processes, report
from gankit.recipe import Batch, Spec
from gankit.runs import files, schema
from gankit.runs.config import Data
from gankit.runs.state import LiveRun, LogState
from gankit.text import aside, bar, clean, is_live
from gankit.training.board import Board
from gankit.training.diagnosis import diagnose
from gankit.training.settings import Settings

if TYPE_CHECKING:
    from gankit.text import Bar

TIMES = ("seconds", "images_per_s")  # these differ between equal runs


class Log:
    """The averages of scalars since the last line, and the outputs. Only process 0 writes.

    Args:
        folder: the run folder.
        settings: of the run.
        quiet: print nothing.
    """

    def __init__(self, folder: Path, settings: Settings, quiet: bool = False):
        self.folder, self.settings = folder, settings
        self.quiet = quiet or processes.rank() > 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.recent: list[dict[str, float]] = []  # the last records, for warnings
        self.warned: set[str] = set()
        self.bar: Bar | None = None
        self.board: Board | None = None  # of TensorBoard
        self.fixed: Batch | None = None  # inputs of the strips of translators
        self.colours: np.ndarray | None = None  # of the classes of label maps
        self.began = self.last = time.perf_counter()
        self.seen = self.first = 0

    # Scalars ---------------------------------------------------------------------------------------------------------

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Add scalars to the averages; they stay on the device until the next line."""
        for key, value in scalars.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value.detach().clone()
            self.counts[key] = self.counts.get(key, 0) + 1

    def state(self) -> LogState:
        return {
            "sums": dict(self.sums),
            "counts": dict(self.counts),
            "recent": self.recent,
            "warned": sorted(self.warned),
        }

    def set_state(self, state: LogState) -> None:
        self.sums, self.counts = state["sums"], state["counts"]
        self.recent, self.warned = state["recent"], set(state["warned"])

    def cut(self, images: int) -> None:
        """Drop the lines that were logged after the save that the run goes on from."""
        path = self.folder / "stats.jsonl"
        if path.exists():
            lines = schema.text_of(path, "replace").splitlines()
            kept = [line for line in lines if reaches(line, images)]
            if kept != lines:
                files.write_text(path, "".join(line + "\n" for line in kept))

    # What the loop calls ---------------------------------------------------------------------------------------------

    def start(self, run: LiveRun, dataset: Data) -> None:
        """Announce what is trained on what, write reals.png, open the progress bar."""
        self.seen = self.first = run.images
        self.began = self.last = time.perf_counter()
        self.colours = getattr(dataset, "colours", None)
        self.board = Board(self.folder, run.images)
        for fact in data.facts(dataset):
            self.say(fact)
        if not (self.folder / "reals.png").exists():
            n = pictures.cells(dataset.shape)
            pictures.save(self.folder / "reals.png", reals(dataset, n, self.settings.seed))
            self.board.picture("pictures/reals", self.folder / "reals.png", run.images)
        counts = {name: sum(p.numel() for p in net.parameters()) for name, net in run.recipe.named_children()}
        sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        kind, shape = data.KINDS.get(dataset.kind, dataset.kind), "x".join(map(str, dataset.shape))
        self.say(
            f"{run.config['model']} ({sizes} parameters) on {len(dataset):,} {kind} of {dataset.name}, {shape}, "
            f"{run.device}; {self.folder}"
        )
        if not self.quiet and is_live():
            self.bar = bar("images")
            self.bar.start()
            self.bar.add_task("", total=self.settings.images, completed=run.images, text="")

    def write(self, run: LiveRun) -> None:
        """Write the averages since the last line to stats.jsonl, TensorBoard and the terminal, and warn of trouble."""
        now = time.perf_counter()
        record: dict[str, float] = {"images": run.images}
        record |= {key: (total / self.counts[key]).item() for key, total in self.sums.items()}
        record["images_per_s"] = round((run.images - self.seen) / max(now - self.last, 1e-9), 1)
        record["seconds"] = round(now - self.began, 2)
        self.sums, self.counts, self.last, self.seen = {}, {}, now, run.images
        path = self.folder / "stats.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise files.cannot_write(path, error) from error
        if self.board:
            self.board.scalars(record, run.images)
        self.recent = [*self.recent[-19:], {k: v for k, v in record.items() if k not in TIMES}]
        text = "  ".join(f"{k} {v:.3f}" for k, v in record.items() if k.endswith("loss"))
        if self.bar:
            self.bar.update(
                self.bar.task_ids[0], completed=run.images, text=f"{text}  {record['images_per_s']:.0f} images/s"
            )
        else:
            speed, total = record["images_per_s"], self.settings.images
            left = clock(max(0, total - run.images) / max(speed, 1e-9))
            self.say(f"{run.images}/{total}  {text}  {speed:.0f} images/s  {left} left")
        for kind, sentence in diagnose(self.recent, type(run.recipe), run.config["arguments"]).items():
            if kind not in self.warned:
                self.warned.add(kind)
                self.say("warning: " + sentence)

    def preview(self, run: LiveRun) -> None:
        """Write samples of fixed latents, or a strip of fixed inputs, from the averaged weights."""
        path = self.folder / f"fakes{run.images:09d}.png"
        with run.averaged() as recipe:
            if self.fixed is not None:
                self.fixed.draws = 0  # so that its random numbers are the same in every preview
                columns = [self.painted(column, recipe.spec) for column in recipe.strip(self.fixed)]
                width = len(columns) * max(1, 8 // len(columns))
                pictures.save(path, latent.beside(columns), width)
            elif latent.draws_alone(recipe):
                domain = "pairs" if latent.has_domains(recipe) else ""
                fakes = latent.sample(recipe, range(pictures.cells(recipe.spec.shape)), domain=domain)
                pictures.save(path, fakes)
                self.add({"samples/std": fakes.double().std(0).mean().to(run.device)})
        if self.board:
            self.board.picture("pictures/previews", path, run.images)

    def painted(self, column: Tensor, spec: Spec) -> Tensor:
        """A column of a preview as (N, C, H, W) images in [-1, 1]; label maps (N, H, W) get their classes' colours."""
        if column.ndim == 4:
            return column
        return data.normalise(data.paint(column, data.palette(spec.num_classes, self.colours)))

    def finish(self, run: LiveRun) -> None:
        """Close the log, write the report, and say where it is."""
        self.close()
        path = report.write(self.folder)
        self.say(f"done: {run.images:,} images in {clock(time.perf_counter() - self.began)}; {path}")

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
        if self.board:
            self.board.close()
            self.board = None

    def say(self, text: str) -> None:
        """Print a plain line on stderr. Training goes on if stderr is closed."""
        if self.quiet:
            return
        if self.bar:
            self.bar.console.print(clean(text), markup=False, highlight=False)
        else:
            aside(text)


def reaches(line: str, images: int) -> bool:
    """Whether a line of stats.jsonl is complete and not later than `images`."""
    try:
        record = cast(dict[str, int], schema.parse(line, {"images": schema.Whole(), ...: schema.ANY}))
    except schema.Wrong:
        return False
    return record["images"] <= images


def reals(dataset: Data, n: int, seed: int) -> Tensor:
    """The first n real samples, images in [-1, 1]; for two domains, each image of A above one of B."""
    rows = next(dataset.stream(0, n, seed=seed))
    sides = [rows[name] for name in ("real", "a", "b") if name in rows]
    sides = [data.normalise(side) if side.dtype == torch.uint8 else side for side in sides]
    return latent.above(*sides) if len(sides) > 1 else sides[0]


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
