"""The clock of a race, which keeps samples of a generator at chosen CPU seconds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

BATCH = 64


class Clock:
    """CPU and wall seconds of training since its first step, without those of drawing samples.

    Args:
        at: CPU seconds at which samples are kept.
        samples: how many.
        folder: where to.
    """

    def __init__(self, at: Sequence[float], samples: int, folder: Path):
        self.at, self.samples, self.folder = sorted(at), samples, folder
        self.steps = 0
        self.start()
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begin at 0."""
        self.cpu, self.wall = time.process_time(), time.time()

    @property
    def is_due(self) -> bool:
        return bool(self.at) and time.process_time() - self.cpu >= self.at[0]

    def keep(self, draw: Callable[[int], Tensor], images: int) -> None:
        """Write samples of `draw(n)`, (n, C, H, W) in [-1, 1], with the time; raises SystemExit after the last."""
        cpu, wall = time.process_time(), time.time()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            drawn = [draw(min(BATCH, self.samples - i)) for i in range(0, self.samples, BATCH)]
        pixels = torch.cat(drawn).float().clamp(-1, 1).add(1).mul(127.5).round().byte().numpy()
        due = self.at.pop(0)
        about = {"due": due, "cpu": cpu - self.cpu, "wall": wall - self.wall, "images": images}
        np.savez_compressed(self.folder / f"{due:g}.npz", images=pixels, about=json.dumps(about))
        print(f"\n# {due:g} s: {json.dumps(about)}", file=sys.stderr, flush=True)
        self.cpu += time.process_time() - cpu
        self.wall += time.time() - wall
        if not self.at:
            raise SystemExit(0)
