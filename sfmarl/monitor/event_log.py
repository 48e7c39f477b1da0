"""`events.jsonl`: what happens to a run besides learning, a line each: starts, deaths, replacements, failures, ends."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sfmarl.monitor.record_files import AppendFile
from sfmarl.monitor.recorder import Recorder

NAME = "events.jsonl"


class EventLog:
    """Appends whole lines. A disk that fails is told of once and ends nothing."""

    def __init__(self, run_dir: Path, warn: Callable[[str], None]) -> None:
        """Open RUN/events.jsonl; a resumed run goes on in it."""
        self._warn = warn
        self._file: AppendFile | None = None
        self._failed = False
        try:
            self._file = AppendFile(run_dir / NAME)
        except OSError as error:
            self._tell(error)

    def write(self, event: str, **about: Any) -> None:
        """Append `{"time": seconds of the epoch, "event": event, ...about}`; `about` are JSON types."""
        if self._file is None:
            return
        line = json.dumps({"time": time.time(), "event": event} | about)
        try:
            self._file.write(line.encode() + b"\n")
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._warn(f"{NAME} cannot be written ({error.strerror}): events are not recorded. Training goes on.")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


@contextlib.contextmanager
def run_events(events: EventLog, recorder: Recorder, resumed: bool) -> Iterator[None]:
    """Write how the run begins and how it ends, and close the log."""
    events.write("resumed" if resumed else "begun", env_steps=recorder.env_steps, pid=os.getpid())
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        events.write("ended", env_steps=recorder.env_steps, reason=reason)
        raise
    else:
        events.write("ended", env_steps=recorder.env_steps, reason="")
    finally:
        events.close()
