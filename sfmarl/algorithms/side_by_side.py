"""Two independent computations of an update at the same time, on two threads of the learner's process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from sfmarl.threads import use_threads

A = TypeVar("A")
B = TypeVar("B")


class SideBySide:
    """Runs an actor's and a critic's part of an update together where the process may use two threads on the CPU.

    torch releases Python's lock inside every operation, so two chains of large operations overlap. Each gets half of
    the process's threads: the numbers are those of one chain after the other with that many.
    """

    def __init__(self, device: torch.device) -> None:
        threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        if device.type == "cpu" and threads > 1:
            half = threads // 2
            use_threads(half)
            # how many threads a library uses is a setting of each thread that calls it
            self._pool = ThreadPoolExecutor(1, "side-by-side", initializer=lambda: use_threads(half))

    def __call__(self, first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
        """Return what both return. Raises what the first that failed raised, after both have ended."""
        if self._pool is None:
            return first(), second()
        gradients = torch.is_grad_enabled()

        def other() -> B:
            with torch.set_grad_enabled(gradients):
                return second()

        future = self._pool.submit(other)
        try:
            mine = first()
        finally:
            future.exception()
        return mine, future.result()
