"""Frames as an animation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from gankit.runs.files import replacing

ANIMATIONS = (".webp", ".gif", ".mp4")


def animate(path: Path, frames: Sequence[Image.Image], fps: int = 24) -> Path:
    """Write frames as an animation: .webp or .gif by Pillow, .mp4 by ffmpeg if it is installed. Returns the path.

    Raises:
        ValueError: the ending is another, or .mp4 is asked for and there is no ffmpeg.
    """
    frames = [frame.convert("RGB") for frame in frames]
    kind = path.suffix.lower()
    if kind in (".webp", ".gif"):
        with replacing(path) as temporary:
            frames[0].save(
                temporary,
                kind[1:].upper(),
                save_all=True,
                append_images=frames[1:],
                duration=round(1000 / fps),
                loop=0,
                quality=90,
            )
        return path
    if kind != ".mp4":
        raise ValueError(f"cannot write an animation as {path.name}; use .webp, .gif or .mp4")
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        raise ValueError("ffmpeg is not on the PATH, so there is no .mp4; use .webp, or install ffmpeg")
    width, height = frames[0].width // 2 * 2, frames[0].height // 2 * 2  # H.264 in yuv420p needs even sides
    raw = b"".join(frame.crop((0, 0, width, height)).tobytes() for frame in frames)
    with replacing(path) as temporary:
        command = [ffmpeg, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", str(fps), "-i", "-", "-pix_fmt", "yuv420p", "-f", "mp4", str(temporary)]
        done = subprocess.run(command, input=raw, capture_output=True)
        if done.returncode:
            raise ValueError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return path
