"""What a run reports in training: a progress bar or plain lines, stats.jsonl, TensorBoard, previews and warnings."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from gankit import data, latent, pictures, processes, report
from gankit.recipe import Batch, Images, Spec
from gankit.runs import files, schema
from gankit.runs.config import Data
from gankit.runs.state import LiveRun, LogState
from gankit.text import about, aside, bar, clean, clock, is_live
from gankit.training.board import Board
from gankit.training.diagnosis import diagnose
from gankit.training.progress import Progress
from gankit.training.settings import Settings
from gankit.training.setup import small_preset

if TYPE_CHECKING:
    from gankit.text import Bar

TIMES = ("seconds", "images_per_s")  # these differ between equal runs
SOON = 5.0  # seconds after which a run says how fast it is
SLOW = 10.0  # seconds after which it says that its first step is not done
SELDOM = 600.0  # most seconds between two lines
DAY = 86_400.0


class Log:
    """The averages of scalars since the last line, and the outputs. Only process 0 writes.

    Args:
        folder: the run folder.
        settings: of the run.
        quiet: print nothing.
        now: seconds on a clock that only goes forward.
    """

    work: Callable[[int], float] = staticmethod(float)  # images to the work until then; `pace` knows it better

    def __init__(
        self, folder: Path, settings: Settings, quiet: bool = False, now: Callable[[], float] = time.perf_counter
    ):
        self.folder, self.settings, self.now = folder, settings, now
        self.quiet = quiet or processes.rank() > 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.recent: list[dict[str, float]] = []  # the last records, for warnings
        self.warned: set[str] = set()
        self.bar: Bar | None = None
        self.board: Board | None = None  # of TensorBoard
        self.fixed: Batch | None = None  # inputs of the strips of translators
        self.colours: np.ndarray | None = None  # of the classes of label maps
        self.began = self.last = now()
        self.seen = self.first = 0
        self.progress = Progress(settings.images, 0, self.began)
        self.drawn = self.began  # when the bar was moved last
        self.due: float | None = None  # when the next line is due by time; None before the first
        self.waiting: threading.Timer | None = None  # for the first step

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
            self.bar = bar("images", has_time=False)
            self.bar.start()
            self.bar.add_task("", total=self.settings.images, completed=run.images, text="")
        self.began = self.last = self.drawn = self.now()
        self.progress = Progress(self.settings.images, run.images, self.began, self.work)
        if not self.quiet:
            text = f"the first step takes more than {SLOW:.0f} s on {run.device}; its time follows when it is done"
            self.waiting = threading.Timer(SLOW, self.say, [text])
            self.waiting.daemon = True
            self.waiting.start()

    def tick(self, run: LiveRun) -> None:
        """After each step: move the bar, and print what is due by time; stats.jsonl is not changed."""
        if self.waiting:
            self.waiting.cancel()
            self.waiting = None
        now = self.now()
        self.progress.see(run.images, now)
        if self.quiet:
            return
        if self.due is None:
            if now - self.began >= SOON and run.images < self.settings.images:
                self.forecast(run)
                self.postpone(now)
        elif now >= self.due:
            if not self.bar:
                self.say(f"{run.images}/{self.settings.images}  {self.text(self.averages())}")
            self.postpone(now)
        if self.bar and now - self.drawn >= 0.5:
            self.drawn = now
            self.bar.update(self.bar.task_ids[0], completed=run.images, text=self.text(self.averages()))

    def end_at(self, images: int) -> None:
        """Expect the run to end there."""
        self.settings = replace(self.settings, images=Images(images))
        self.progress.total = images
        if self.bar:
            self.bar.update(self.bar.task_ids[0], total=images)

    def postpone(self, now: float) -> None:
        """Say nothing by time for a while: for 30 s at first, later for a tenth of the time so far."""
        self.due = now + min(SELDOM, max(30.0, (now - self.began) / 10))

    def forecast(self, run: LiveRun) -> None:
        """Say how fast the run is, when it ends and where its next preview will be; of one of days, what is faster."""
        left, every = self.progress.left(), self.settings.preview
        line = f"{self.speed()}: about {about(left)} until the end"
        if every and (self.fixed is not None or latent.draws_alone(run.recipe)):
            preview = min((run.images // every + 1) * every, self.settings.images)
            when = about(self.progress.until(preview))
            line += f"; the next preview in about {when}: {self.folder}/fakes*.png"
        self.say(line)
        if left > DAY:
            small = small_preset(type(run.recipe))
            faster = f"--preset {small}, or " * (small not in ("", run.config["preset"]))
            self.say(f"that is long for this machine; a run of minutes has {faster}--time 30m")

    def averages(self) -> dict[str, float]:
        """The averages of the losses since the last line, which stay as they are."""
        return self.read([key for key in self.sums if key.endswith("loss")])

    def read(self, keys: list[str]) -> dict[str, float]:
        """The averages of these scalars, in one copy from the device."""
        averages = [self.sums[key] / self.counts[key] for key in keys]
        return dict(zip(keys, torch.stack(averages).tolist())) if keys else {}

    def speed(self) -> str:
        """Images a second, as text."""
        rate = self.progress.rate()
        return f"{rate:.{0 if rate >= 10 else 2}f} images/s"

    def text(self, record: dict[str, float]) -> str:
        """Losses, speed and the time left, as the bar and the lines show them."""
        losses = [f"{key} {value:.3f}" for key, value in record.items() if key.endswith("loss")]
        return "  ".join([*losses, self.speed(), f"{clock(self.progress.left())} left"])

    def write(self, run: LiveRun) -> None:
        """Write the averages since the last line to stats.jsonl, TensorBoard and the terminal, and warn of trouble."""
        now = self.now()
        self.progress.see(run.images, now)
        record: dict[str, float] = {"images": run.images}
        record |= self.read([*self.sums])
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
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=run.images, text=self.text(record))
        else:
            self.say(f"{run.images}/{self.settings.images}  {self.text(record)}")
            if self.due is not None:
                self.postpone(now)
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
        self.say(f"done: {run.images:,} images in {clock(self.now() - self.began)}; {path}")

    def close(self) -> None:
        if self.waiting:
            self.waiting.cancel()
            self.waiting = None
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
