"""Who hangs: processes whose loop no longer turns, by counters and not by anybody's clock."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

LONGEST_LOOK = 1.0
"""Seconds that count between two looks: when the main process was stopped itself (Ctrl-Z), so was everybody else."""


class HangWatch:
    """Is shown every process's count of passes and says whose has stood still for too long."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}
        self._still: dict[Hashable, float] = {}
        self._looked: float | None = None

    def look(self, counts: Mapping[Hashable, int], patience: Mapping[Hashable, float], now: float) -> list[Hashable]:
        """Return the processes whose count has stood still for longer than their `patience` (seconds).

        A process is whoever has this key: one that takes another's place needs another key. `now` is a monotonic time
        in seconds.
        """
        elapsed = 0.0 if self._looked is None else min(now - self._looked, LONGEST_LOOK)
        self._looked = now
        self._still = {
            key: self._still.get(key, 0.0) + elapsed if self._counts.get(key) == count else 0.0
            for key, count in counts.items()
        }
        self._counts = dict(counts)
        return [key for key, seconds in self._still.items() if seconds > patience[key]]
