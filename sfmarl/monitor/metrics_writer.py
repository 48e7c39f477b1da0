"""Records of a run's scalars into TensorBoard and JSON lines, whatever the disk does."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from sfmarl.monitor.record_files import DOCUMENTS, EventFile, JsonLines, Late, Record

PICTURE_SECONDS = 60.0
"""Patience with the last record's pictures, on a machine that is busy with something else."""


class _Sink(Protocol):
    def append(self, record: Record) -> None: ...

    def close(self) -> None: ...


@dataclass
class _Output:
    """One file and what has not reached it yet."""

    what: str
    open: Callable[[], _Sink]
    sink: _Sink | None = None
    pending: deque[Record] = field(default_factory=lambda: deque(maxlen=4096))
    documents: bool = False
    """Only records with a document go there."""
    failed: bool = False
    retry_at: float = 0.0


class MetricsWriter:
    """Writes records from a thread of its own: it never raises and never waits for the disk.

    While a file cannot be written (disk full, read-only) its records are kept, the newest 4096 of them, and tried
    again; the user is warned once and told when it works again.
    """

    def __init__(
        self,
        run_dir: Path,
        resume_step: int | None = None,
        warn: Callable[[str], None] | None = None,
        retry_seconds: float = 30.0,
    ) -> None:
        """Write into `run_dir`. A resumed run names the env-steps it continues from: records after them are replaced.

        `warn` is called from `write` and `close` only, in the caller's thread.
        """
        run_dir = Path(run_dir)
        self._outputs = [
            _Output("metrics.jsonl", lambda: JsonLines(run_dir / "metrics.jsonl", resume_step)),
            _Output("the TensorBoard events", lambda: EventFile(run_dir, resume_step)),
            _Output(DOCUMENTS, lambda: JsonLines(run_dir / DOCUMENTS, resume_step, documents=True), documents=True),
        ]
        self._warn = warn or (lambda text: None)
        self._retry_seconds = retry_seconds
        self._start = time.monotonic()
        self._records: queue.SimpleQueue[tuple[Record, Callable[[], Late] | None] | None] = queue.SimpleQueue()
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._drawing = False
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def write(
        self,
        scalars: Mapping[str, float],
        *,
        env_steps: int,
        agent_steps: int,
        wall_seconds: float | None = None,
        late: Callable[[], Late] | None = None,
    ) -> None:
        """Queue one record. `wall_seconds` defaults to the seconds since this writer was made.

        `late` is called in the writer's thread for what takes its time: it must not touch what others change.
        """
        wall = time.monotonic() - self._start if wall_seconds is None else wall_seconds
        values = {name: float(value) for name, value in scalars.items()}
        self._records.put((Record(time.time(), wall, int(env_steps), int(agent_steps), values), late))
        self._deliver()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, waiting at most `timeout` seconds for the disk, and longer for pictures being drawn."""
        self._records.put(None)
        self._thread.join(timeout)
        deadline = time.monotonic() + PICTURE_SECONDS
        while self._drawing and time.monotonic() < deadline:
            self._thread.join(timeout)
        self._thread.join(timeout)
        self._deliver()

    def _deliver(self) -> None:
        while not self._notices.empty():
            self._warn(self._notices.get())

    def _work(self) -> None:
        while (queued := self._records.get()) is not None:
            record, late = queued
            if late is not None:
                record = self._completed(record, late)
            for output in self._outputs:
                if output.documents and record.document is None:
                    continue
                output.pending.append(record)
                if time.monotonic() >= output.retry_at:
                    self._drain(output)
        for output in self._outputs:
            if output.pending:
                self._drain(output)
            if output.pending:
                self._notices.put(f"{len(output.pending)} records never reached {output.what}.")
            if output.sink:
                output.sink.close()

    def _completed(self, record: Record, late: Callable[[], Late]) -> Record:
        self._drawing = True
        try:
            scalars, document, pictures = late()
        except Exception as error:  # a picture is not worth the records that come after it
            self._notices.put(f"A record's pictures could not be made: {type(error).__name__}: {error}.")
            return record
        finally:
            self._drawing = False
        values = {**record.scalars, **{name: float(value) for name, value in scalars.items()}}
        return replace(record, scalars=values, document=document, pictures=pictures)

    def _drain(self, output: _Output) -> None:
        """Write what is pending; after a failure keep it and say so once."""
        try:
            if output.sink is None:
                output.sink = output.open()
            while output.pending:
                output.sink.append(output.pending[0])
                output.pending.popleft()
        except OSError as error:
            output.retry_at = time.monotonic() + self._retry_seconds
            if not output.failed:
                output.failed = True
                self._notices.put(
                    f"Metrics cannot be written to {output.what} ({error}). Training goes on; records are kept and "
                    "tried again."
                )
        else:
            if output.failed:
                output.failed = False
                self._notices.put(f"Metrics reach {output.what} again.")
