"""What an experiment found: checks of what the claim predicts, numbers, a picture or an animation; and its files."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gankit import html, pictures
from gankit.lab.claims import Entry
from gankit.recipe import flags
from gankit.runs.files import write_text
from gankit.text import escaped

VERDICTS = ("not shown at this size", "shown in part", "shown")


class Check(NamedTuple):
    """A number that the claim predicts: it holds if the number lies from `low` to `high`.

    Args:
        what: was measured, with its unit where it has one.
        value: that was found.
        low, high: the range; one side may be open.
    """

    what: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def holds(self) -> bool:
        return bool(self.low <= self.value <= self.high)

    def __str__(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            bounds = f"{text((self.low + self.high) / 2)} ± {(self.high - self.low) / 2:.2g}"
        else:
            bounds = f"at least {text(self.low)}" if math.isfinite(self.low) else f"at most {text(self.high)}"
        return f"{self.what}: {text(self.value)}, expected {bounds}"


def near(what: str, value: float, expected: float, within: float) -> Check:
    """A number that should be `expected`, give or take `within`."""
    return Check(what, value, expected - within, expected + within)


def text(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:,.4g}"


@dataclass
class Evidence:
    """The evidence of an experiment.

    Args:
        checks: of what the claim predicts, those of its control among them.
        picture: what happened.
        caption: how to read the picture, in a sentence or two.
        numbers: further measurements, for NAME.json: numbers, texts, and lists and dictionaries of these.
        frames: of an animation, where time matters.
        fps: frames a second.
        entry: the experiment, which `run` fills in.
        parameters: with which it ran, as the entry.
    """

    checks: list[Check]
    picture: Image.Image
    caption: str
    numbers: dict[str, object] = field(default_factory=dict)
    frames: Sequence[Image.Image] = ()
    fps: int = 12
    entry: Entry | None = None
    parameters: dict[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the claim was shown: all checks hold, some, or none."""
        held = sum(check.holds for check in self.checks)
        return VERDICTS[2 if held == len(self.checks) else min(held, 1)]

    @property
    def command(self) -> str:
        """The command that gives this evidence."""
        assert self.entry
        hints = self.entry.experiment.__annotations__
        defaults = self.entry.experiment.__kwdefaults__ or {}
        changed = {name: value for name, value in self.parameters.items() if value != defaults[name]}
        return f"{shlex.join(['gankit', 'lab', self.entry.name])} {flags(changed, hints)}".rstrip()

    def __repr__(self) -> str:
        return f"<Evidence: {self.verdict}; {'; '.join(map(str, self.checks))}>"

    def _repr_html_(self) -> str:
        return html.figure(pictures.as_png(self.picture), self.caption) + self.checks_html()

    def checks_html(self) -> str:
        rows = "".join(
            f"<li class={'good' if check.holds else 'bad'}>{escaped(check)}: "
            f"{'as the claim predicts' if check.holds else 'not as the claim predicts'}"
            for check in self.checks
        )
        return f"<p><b>{self.verdict.capitalize()}.</b></p><ul class=verdict>{rows}</ul>"

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.png, NAME.webp (and NAME.mp4 where ffmpeg is there) if it moves, NAME.json and NAME.html."""
        assert self.entry, "gankit.lab.run fills it in"
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / self.entry.name
        paths = [pictures.save_picture(stem.with_suffix(".png"), self.picture)]
        if self.frames:
            endings = [".webp", ".mp4"] if shutil.which("ffmpeg") else [".webp"]
            paths += [pictures.animate(stem.with_suffix(ending), self.frames, self.fps) for ending in endings]
        checks = [check._asdict() | {"holds": check.holds} for check in self.checks]
        record = {
            "experiment": self.entry.name,
            "claim": self.entry.claim,
            "source": self.entry.source,
            "parameters": self.parameters,
            "verdict": self.verdict,
            "checks": [{k: v for k, v in check.items() if v not in (math.inf, -math.inf)} for check in checks],
            "numbers": self.numbers,
        }
        write_text(stem.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
        moving = stem.with_suffix(".webp").read_bytes() if self.frames else b""
        write_text(stem.with_suffix(".html"), self.page(moving))
        return [*paths, stem.with_suffix(".json"), stem.with_suffix(".html")]

    def page(self, moving: bytes = b"") -> str:
        """The page, one file that opens offline: the claim, what was seen, the mathematics; `moving` is a WebP."""
        assert self.entry
        figures = [html.figure(pictures.as_png(self.picture), self.caption)]
        figures += [html.figure(moving, "The same as it happens.", "webp")] if moving else []
        named = {name: value for name, value in self.parameters.items() if isinstance(value, (int, float, str, tuple))}
        single = {name: number for name, number in self.numbers.items() if isinstance(number, (int, float, str))}
        title = self.entry.name.replace("-", " ").capitalize()
        return html.page(
            title,
            [
                f"<h1>{escaped(title)}</h1><p class=lead>{escaped(self.entry.claim)}</p>",
                f"<small>{escaped(self.entry.source)}</small>",
                "<h2>What was seen</h2>",
                self.checks_html(),
                f"<div class=plots>{''.join(figures)}</div>",
                "<h2>Why</h2>",
                paragraphs(self.entry.text),
                "<h2>How to see it again</h2>",
                f"<p><code>{escaped(self.command)}</code></p>",
                html.table("", named | {name: text(n) if isinstance(n, float) else n for name, n in single.items()}),
            ],
        )


def paragraphs(text: str) -> str:
    """A docstring as HTML: paragraphs, and indented lines as formulas."""
    parts = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        is_formula = all(line.startswith("    ") for line in block.splitlines())
        lines = "\n".join(line.removeprefix("    ") for line in block.splitlines())
        parts.append(
            f"<pre>{escaped_lines(lines)}</pre>" if is_formula else f"<p>{escaped(' '.join(block.split()))}</p>"
        )
    return "".join(parts)


def escaped_lines(text: str) -> str:
    """Text of several lines as HTML shows it."""
    return "\n".join(map(escaped, text.splitlines()))
