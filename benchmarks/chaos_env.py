"""simple_spread for a run that is to be disturbed: at a pace that lasts, and with a way to die at the worst moment."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sfmarl.envs.mpe.spread import SimpleSpread
from sfmarl.envs.registry import register_env
from sfmarl.memory.queues import MUTEX_OFFSET, SharedQueue


def die_holding_a_lock() -> None:
    """Take the mutex of one of this process's queues and die by SIGKILL."""
    queue = random.choice([found for found in gc.get_objects() if isinstance(found, SharedQueue)])
    mutex = ctypes.addressof(queue._queue.queue_obj_buffer) + MUTEX_OFFSET
    if ctypes.CDLL(None).pthread_mutex_lock(ctypes.c_void_p(mutex)):
        raise RuntimeError("the mutex could not be taken")
    os.kill(os.getpid(), signal.SIGKILL)


class PacedSpread(SimpleSpread):
    """E worlds of simple_spread whose common step takes `seconds` at least.

    Whoever finds a file called `trigger` takes it away and dies holding the lock of a queue.
    """

    def __init__(self, num_envs: int, seeds: Sequence[int], seconds: float = 0.0, trigger: str = "") -> None:
        super().__init__(num_envs, seeds)
        self._seconds, self._trigger = seconds, Path(trigger) if trigger else None
        self._next = 0.0

    def step(self, *args) -> np.ndarray:
        """See `VectorEnv.step`."""
        if self._trigger is not None and self._trigger.exists():
            try:
                self._trigger.unlink()
            except FileNotFoundError:
                pass  # another worker was faster
            else:
                die_holding_a_lock()
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._seconds
        return super().step(*args)


register_env("benchmark/paced_spread", PacedSpread, "simple_spread at a given pace")
