"""The files a metrics record goes to: JSON lines and TensorBoard events."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from sfmarl.storage.durable import open_in_place, replace_file

_SERIAL = itertools.count()

DOCUMENTS = "league.jsonl"
"""File of the run directory that takes what records hold besides scalars."""


class Picture(NamedTuple):
    """An encoded image."""

    png: bytes
    """The file."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


@dataclass(frozen=True)
class Record:
    """Scalars, and sometimes more, that belong to one moment of a run."""

    time: float
    """Unix time, seconds."""
    wall_seconds: float
    """Seconds of training so far, all sessions of a resumed run together."""
    env_steps: int
    """Environment steps so far: the step axis."""
    agent_steps: int
    """Valid agent-steps so far."""
    scalars: Mapping[str, float]
    """Documented name -> value."""
    document: Mapping[str, Any] | None = None
    """Anything else, as JSON types: a line of a file of its own."""
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """TensorBoard tag -> image."""


class Late(NamedTuple):
    """What a record gets besides its scalars, made in the writer's thread."""

    scalars: Mapping[str, float]
    """Further scalars."""
    document: Mapping[str, Any]
    """JSON types."""
    pictures: Mapping[str, Picture]
    """TensorBoard tag -> image."""


class AppendFile:
    """A file that grows by whole pieces: an append that fails leaves no part of it behind."""

    def __init__(self, path: Path) -> None:
        """Create the file if there is none. Raises OSError."""
        self.path = path
        self._descriptor = open_in_place(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes) -> None:
        """Append all of `data` or nothing. Raises OSError."""
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class JsonLines:
    """One object per record: its moment and its scalars, non-finite ones as null, or its document."""

    def __init__(self, path: Path, resume_step: int | None, documents: bool = False) -> None:
        """Open the file; records after `resume_step` and a half-written last line are dropped first. Raises OSError.

        `documents`: of every record its document is written, not its scalars.
        """
        self.path = path
        self._documents = documents
        if path.exists() and not path.is_symlink():  # a link is refused below, what it leads to is left alone
            whole = path.read_bytes()
            kept = _lines_until(whole, resume_step)
            if kept != whole:
                replace_file(path, kept)
        self._file = AppendFile(path)

    def append(self, record: Record) -> None:
        """Write one line. Raises OSError."""
        line: dict[str, Any] = {
            "time": record.time,
            "wall_seconds": record.wall_seconds,
            "env_steps": record.env_steps,
            "agent_steps": record.agent_steps,
        }
        if self._documents:
            line |= record.document or {}
        else:
            line |= {name: value if math.isfinite(value) else None for name, value in record.scalars.items()}
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class EventFile:
    """One TensorBoard event file, written record by record in the calling thread.

    `torch.utils.tensorboard.SummaryWriter` hands events to a thread of its own, which ends at the first error of
    the disk and with it all later logging; this one goes on once the disk does.
    """

    def __init__(self, run_dir: Path, resume_step: int | None) -> None:
        """Create the file; TensorBoard will hide what earlier files say after `resume_step`. Raises OSError."""
        name = (
            f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{next(_SERIAL)}"
        )
        self._file = AppendFile(run_dir / name)
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if resume_step is not None:
            # TensorBoard purges from the step named on, that step included
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=resume_step + 1, session_log=start))

    def append(self, record: Record) -> None:
        """Write one event that holds all scalars and pictures. Raises OSError."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.scalars.items()]
        values += [_image(tag, picture) for tag, picture in record.pictures.items()]
        self._write(Event(wall_time=record.time, step=record.env_steps, summary=Summary(value=values)))

    def append_image(self, tag: str, png: bytes, size: tuple[int, int], step: int = 0) -> None:
        """Write one picture of `size` (width, height) in pixels. Raises OSError."""
        value = _image(tag, Picture(png, *size))
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def _image(tag: str, picture: Picture) -> Summary.Value:
    image = Summary.Image(width=picture.width, height=picture.height, colorspace=4, encoded_image_string=picture.png)
    return Summary.Value(tag=tag, image=image)


def _lines_until(content: bytes, step: int | None) -> bytes:
    """Return the whole lines of a metrics file whose `env_steps` do not pass `step`."""
    kept = []
    for line in content.splitlines(keepends=True):
        try:
            record_step = json.loads(line)["env_steps"]
        except (ValueError, KeyError, TypeError):
            continue
        if line.endswith(b"\n") and (step is None or record_step <= step):
            kept.append(line)
    return b"".join(kept)
