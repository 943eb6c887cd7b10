"""Frames of videos, read and written one by one through pipes to ffmpeg."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data.reading.files import plain
from gankit.runs.files import replacing


class VideoHeader(NamedTuple):
    """The height and width of a video in pixels, and its frames per second as a fraction, "25/1"."""

    height: int
    width: int
    rate: str


def program() -> str:
    """The path of ffmpeg.

    Raises:
        ValueError: it is not installed.
    """
    path = shutil.which("ffmpeg")
    if not path:
        raise ValueError("videos need ffmpeg, and it is not on the PATH: install it, or give the frames as pictures")
    return path


def read_header(path: Path) -> VideoHeader:
    """The header of a video's first track, after rotation.

    Raises:
        ValueError: ffmpeg is not installed, or cannot read the video.
    """
    command = [program(), "-loglevel", "error", "-nostdin", "-i", f"file:{plain(path)}"]
    command += ["-map", "0:v:0", "-frames:v", "1"]
    done = subprocess.run([*command, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"], capture_output=True)
    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", done.stdout)
    if not header:
        raise ValueError(f"ffmpeg cannot read it: {last_line(done.stderr)}")
    width, height, count, seconds = map(int, header.groups())
    return VideoHeader(height, width, f"{count}/{seconds}")


def frames(path: Path, header: VideoHeader) -> Iterator[np.ndarray]:
    """The frames as (H, W, 3) uint8, at a constant rate.

    Raises:
        ValueError: ffmpeg stops early.
    """
    command = [program(), "-loglevel", "error", "-nostdin", "-i", f"file:{path}", "-map", "0:v:0", "-r", header.rate]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            [*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], stdout=subprocess.PIPE, stderr=errors
        ) as process:
            assert process.stdout is not None  # a pipe
            size = header.height * header.width * 3
            try:
                while len(content := process.stdout.read(size)) == size:
                    yield np.frombuffer(content, np.uint8).reshape(header.height, header.width, 3)
                process.stdout.close()
                failed = process.wait()
            finally:
                process.kill()
        errors.seek(0)
        if failed or content:
            raise ValueError(f"ffmpeg stopped half way: {last_line(errors.read())}")


def write_frames(path: Path, pictures: Iterable[np.ndarray], rate: str, sound: Path) -> int:
    """Write frames as a video with the sound of another, atomically; returns the number of frames.

    Args:
        path: its ending decides the format.
        pictures: (H, W, 3) uint8 each, of one size; an odd last row or column is cut off.
        rate: frames per second, "25/1".
        sound: the video whose first sound track is used, if it has one.

    Raises:
        ValueError: ffmpeg cannot write the video.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        raise ValueError("it has no frames")
    count = 0
    with tempfile.TemporaryFile() as errors, replacing(path) as temporary:
        unfinished = temporary.with_name(temporary.name + path.suffix)
        command = writing_command(unfinished, first, rate, sound)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None  # a pipe
        try:
            for frame in chain([first], rest):
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
                count += 1
            process.stdin.close()
            failed = process.wait()
        except BrokenPipeError:
            failed = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.returncode:
                unfinished.unlink(missing_ok=True)
        if failed:
            errors.seek(0)
            raise ValueError(f"ffmpeg cannot write {path.name}: {last_line(errors.read())}")
        unfinished.rename(temporary)
    return count


def writing_command(path: Path, frame: np.ndarray, rate: str, sound: Path) -> list[str]:
    """The command of ffmpeg that writes frames of this size."""
    height, width = frame.shape[:2]
    words = [program(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    words += ["-r", rate, "-i", "-", "-i", f"file:{sound}", "-map", "0:v:0", "-map", "1:a:0?"]
    words += ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]
    return [*words, *(["-c:a", "copy"] if sound.suffix.lower() == path.suffix.lower() else []), f"file:{path}"]


def last_line(errors: bytes) -> str:
    """The last line of ffmpeg's error output."""
    return (errors.decode(errors="replace").strip().splitlines() or ["it gave no reason"])[-1]
