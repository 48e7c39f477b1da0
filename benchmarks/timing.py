"""CPU time of small pieces of work, taken so that other programs disturb little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def medians(timings: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """Return the median of each timing over `rounds`, after one round that warms up.

    The timings take turns, so that they meet the same machine.
    """
    taken = [[timing() for timing in timings] for _ in range(rounds + 1)][1:]
    return [statistics.median(values) for values in zip(*taken, strict=True)]
