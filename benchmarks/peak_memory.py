"""The largest memory that this process and its descendants occupied together, while a block of code ran."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil


class PeakMemory:
    """What was seen so far."""

    gib = 0.0
    """GiB; a page that n processes share counts 1/n in each of them, so shared memory counts once."""

    def look(self) -> None:
        """Add up all processes once (some milliseconds per process)."""
        total = 0.0
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss
        self.gib = max(self.gib, total / 2**30)


@contextlib.contextmanager
def peak_memory(seconds: float = 4.0) -> Iterator[PeakMemory]:
    """Look every `seconds` until the block ends."""
    peak, over = PeakMemory(), threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            peak.look()

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
