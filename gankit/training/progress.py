"""How far a run is: its speed and the time until its end, robust against pauses and other work on the machine."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from itertools import pairwise

LEAST = 0.5  # seconds between two marks
MARKS = 21  # that are kept: twenty intervals, each a twentieth of the time so far, reach back over most of a run


class Progress:
    """Marks of images and seconds in a run, and the estimates that follow from them.

    Args:
        total: images of the whole run.
        images: seen when the run began or went on.
        now: seconds on the clock then.
        work: images to the work until then, where some images cost more than others; default: all cost the same.
    """

    def __init__(self, total: int, images: int, now: float, work: Callable[[int], float] = float):
        self.total, self.work = total, work
        self.first = self.last = (now, images)
        self.marks: deque[tuple[float, int]] = deque(maxlen=MARKS)

    def see(self, images: int, now: float) -> None:
        """Note that so many images were seen. The first step, which is slower than any other, is left out."""
        self.last = now, images
        if not self.marks or now - self.marks[-1][0] >= max(LEAST, (now - self.first[0]) / (MARKS - 1)):
            self.marks.append(self.last)

    def intervals(self) -> list[tuple[float, int, int]]:
        """Seconds, and images at begin and end, of each interval; the first step alone if nothing came after it."""
        marks = [*self.marks]
        if marks and self.last[1] > marks[-1][1] and len(marks) < 3:
            marks.append(self.last)
        marks = marks if len(marks) > 1 else [self.first, self.last]
        return [(end - begin, a, b) for (begin, a), (end, b) in pairwise(marks) if b > a]

    def rate(self) -> float:
        """Images a second, the median over the last intervals; 0 before the first step."""
        rates = [(b - a) / max(seconds, 1e-9) for seconds, a, b in self.intervals()]
        return statistics.median(rates) if rates else 0.0

    def until(self, images: int) -> float:
        """Seconds until so many images are seen, never negative; infinite before the first step."""
        remaining = self.work(min(images, self.total)) - self.work(self.last[1])
        if remaining <= 0:
            return 0.0
        speeds = [(self.work(b) - self.work(a)) / max(seconds, 1e-9) for seconds, a, b in self.intervals()]
        speed = statistics.median(speeds) if speeds else 0.0
        return remaining / speed if speed > 0 else float("inf")

    def left(self) -> float:
        """Seconds until the end of the run."""
        return self.until(self.total)
