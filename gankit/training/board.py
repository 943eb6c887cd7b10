"""TensorBoard: the scalars and the pictures of a run, if tensorboard is installed."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import FileWriter

COLOURS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # kinds of PNG to TensorBoard's numbers of channels


class Board:
    """Event files in a run's folder, or nothing if tensorboard is not installed.

    Args:
        folder: the run folder.
        images: seen so far; TensorBoard hides what an earlier part of the run logged after that count.
    """

    def __init__(self, folder: Path, images: int = 0):
        self.writer: FileWriter | None = None
        with contextlib.suppress(ImportError):
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from torch.utils.tensorboard.writer import FileWriter

            self.writer = FileWriter(str(folder))
            if images:
                self.writer.add_event(Event(file_version="brain.Event:2"), images)
                self.writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), images)

    def scalars(self, record: Mapping[str, float], images: int) -> None:
        """Log a number under each name."""
        if self.writer:
            from torch.utils.tensorboard.summary import scalar

            for name, value in record.items():
                self.writer.add_summary(scalar(name, value), images)

    def picture(self, name: str, path: Path, images: int) -> None:
        """Log a PNG file as it is."""
        if self.writer and path.is_file():
            from tensorboard.compat.proto.summary_pb2 import Summary

            content = path.read_bytes()
            width, height, _, kind = struct.unpack(">IIBB", content[16:26])  # the header of a PNG
            shown = Summary.Image(
                height=height, width=width, colorspace=COLOURS.get(kind, 3), encoded_image_string=content
            )
            self.writer.add_summary(Summary(value=[Summary.Value(tag=name, image=shown)]), images)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None
