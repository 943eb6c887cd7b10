"""What a translation of files returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gankit.html import figure, grid
from gankit.text import escaped

KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}  # of files that a notebook shows
SHOWN = 12  # of them at most


@dataclass
class Outcome:
    """The result of a translation.

    Args:
        written: paths of images, videos and strips, in order.
        inputs: number of input images and videos.
        skipped: names of inputs that could not be used, with the reason.
        notes: messages about all images.
        measured: names of images, with measurements.
    """

    written: list[Path] = field(default_factory=list)
    inputs: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: list[tuple[str, str]] = field(default_factory=list)

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} skipped" * bool(self.skipped)
        return f"<Outcome: {len(self.written)} files of {self.inputs} inputs{left_out}>"

    def _repr_html_(self) -> str:
        stills = [path for path in self.written if path.suffix.lower() in KINDS and path.is_file()][:SHOWN]
        figures = "".join(
            f"<div style='max-width:20rem'>{figure(path, path.name, KINDS[path.suffix.lower()])}</div>"
            for path in stills
        )
        rows = [*self.measured, *((name, f"skipped: {reason}") for name, reason in self.skipped)]
        more = f"<p>{len(self.written):,} files in {escaped(self.written[0].parent)}</p>" if self.written else ""
        listed = grid(("", ""), rows) if rows else ""
        return f"<div style='display:flex;flex-wrap:wrap;gap:1rem'>{figures}</div>{more}{listed}"
