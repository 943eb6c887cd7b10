"""Frames of a video by ffmpeg: piped in, changed, piped out; never all of them in memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data.reading.files import plain
from gankit.runs.files import replacing


class Header(NamedTuple):
    """What a video says of itself: sides in pixels, and frames a second as a fraction, "25/1"."""

    height: int
    width: int
    rate: str


def program() -> str:
    """The path of ffmpeg.

    Raises:
        ValueError: it is not there.
    """
    found = shutil.which("ffmpeg")
    if not found:
        raise ValueError("videos need ffmpeg, and it is not on the PATH: install it, or give the frames as pictures")
    return found


def probe(path: Path) -> Header:
    """Sides and rate of a video's first picture track, as it is seen.

    Raises:
        ValueError: ffmpeg is not there, or cannot read it.
    """
    command = [
        program(),
        "-loglevel",
        "error",
        "-nostdin",
        "-i",
        f"file:{plain(path)}",
        "-map",
        "0:v:0",
        "-frames:v",
        "1",
    ]
    done = subprocess.run([*command, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"], capture_output=True)
    found = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", done.stdout)
    if not found:
        raise ValueError(f"ffmpeg cannot read it: {said(done.stderr)}")
    width, height, count, seconds = map(int, found.groups())
    return Header(height, width, f"{count}/{seconds}")


def frames(path: Path, header: Header) -> Iterator[np.ndarray]:
    """Each frame as (H, W, 3) uint8, at an even rate.

    Raises:
        ValueError: ffmpeg stops half way.
    """
    command = [program(), "-loglevel", "error", "-nostdin", "-i", f"file:{path}", "-map", "0:v:0", "-r", header.rate]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            [*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], stdout=subprocess.PIPE, stderr=errors
        ) as process:
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
            raise ValueError(f"ffmpeg stopped half way: {said(errors.read())}")


def write(path: Path, pictures: Iterable[np.ndarray], rate: str, sound: Path) -> int:
    """Frames to a video with the sound of another, whole or not at all; returns how many.

    Args:
        path: its ending says the format.
        pictures: (H, W, 3) uint8 each, of one size; an odd last row or column is cut off.
        rate: frames a second, "25/1".
        sound: the video whose first sound track is taken, if it has one.

    Raises:
        ValueError: ffmpeg cannot write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count, process = 0, None
    with tempfile.TemporaryFile() as errors, replacing(path) as temporary:
        unfinished = temporary.with_name(temporary.name + path.suffix)
        try:
            for frame in pictures:
                if process is None:
                    process = subprocess.Popen(
                        command(unfinished, frame, rate, sound), stdin=subprocess.PIPE, stderr=errors
                    )
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
                count += 1
            if process is None:
                raise ValueError("it has no frames")
            process.stdin.close()
            failed = process.wait()
        except BrokenPipeError:
            failed = process.wait()
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
            if process is None or process.returncode:
                unfinished.unlink(missing_ok=True)
        if failed:
            errors.seek(0)
            raise ValueError(f"ffmpeg cannot write {path.name}: {said(errors.read())}")
        unfinished.rename(temporary)
    return count


def command(path: Path, frame: np.ndarray, rate: str, sound: Path) -> list[str]:
    """What ffmpeg is told, to write frames like this one."""
    height, width = frame.shape[:2]
    words = [
        program(),
        "-loglevel",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        rate,
        "-i",
        "-",
    ]
    words += [
        "-i",
        f"file:{sound}",
        "-map",
        "0:v:0",
        "-map",
        "1:a:0?",
        "-vf",
        "crop=trunc(iw/2)*2:trunc(ih/2)*2",
        "-pix_fmt",
        "yuv420p",
    ]
    return [*words, *(["-c:a", "copy"] if sound.suffix.lower() == path.suffix.lower() else []), f"file:{path}"]


def said(errors: bytes) -> str:
    """The last line of what ffmpeg said."""
    return (errors.decode(errors="replace").strip().splitlines() or ["it gave no reason"])[-1]
