"""Processes whose memory grows and grows: an environment that leaks is told long before the machine is full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True)
class Growth:
    """What became of one process's memory."""

    pid: int
    """Its process id."""
    before: float
    """Bytes once it had settled."""
    now: float
    """Bytes now."""
    seconds: float
    """Between the two."""

    def sentence(self, name: str, free: float) -> str:
        """Return what to tell of the process called `name` while `free` bytes of memory are available."""
        rate = (self.now - self.before) / self.seconds * 3600
        return (
            f"{name} (process {self.pid}) has grown from {self.before / _GIB:.1f} to {self.now / _GIB:.1f} GiB in "
            f"{self.seconds / 3600:.1f} hours. If it goes on, memory ({free / _GIB:.1f} GiB are free) is full in "
            f"{free / rate:.1f} hours. Environments that keep what they should forget are the usual cause."
        )


@dataclass
class _Known:
    since: float
    settled: tuple[float, float] | None = None
    told: float = 0.0


class GrowthWatch:
    """Compares every process with itself, once it has settled; speaks up each time it has doubled."""

    def __init__(self, settle_seconds: float = 300.0, least: float = 0.5 * _GIB) -> None:
        """A process has settled `settle_seconds` after it was first seen; growth below `least` bytes is none."""
        self._settle_seconds, self._least = settle_seconds, least
        self._known: dict[int, _Known] = {}

    def look(self, now: float, memory: Mapping[int, float]) -> list[Growth]:
        """Take note of each process's bytes at `now`, in seconds; return what grew enough to be told again."""
        self._known = {pid: known for pid, known in self._known.items() if pid in memory}
        grown = []
        for pid, size in memory.items():
            known = self._known.setdefault(pid, _Known(now))
            if known.settled is None:
                if now - known.since >= self._settle_seconds:
                    known.settled, known.told = (now, size), size
                continue
            then, before = known.settled
            if size >= 2 * known.told and size - before >= self._least:
                known.told = size
                grown.append(Growth(pid, before, size, now - then))
        return grown
