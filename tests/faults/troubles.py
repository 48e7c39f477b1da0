"""Environments that bring down or hold up the process they run in, once: the first copy to make `marker` does it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import multiprocessing
import os
import signal
import subprocess
import time
from typing import ClassVar

import numpy as np
import psutil

from sfmarl.envs.games import MatrixGame
from sfmarl.memory.queues import MUTEX_OFFSET, SharedQueue
from tests.runs.small import PAYOFF, Slow


def sleep_for_ever() -> None:
    time.sleep(3600)


def sleep_for_ever_beside_a_simulator() -> None:
    subprocess.Popen(["sleep", str(SIMULATOR_SECONDS)])
    sleep_for_ever()


def fail() -> None:
    raise OSError("the simulator does not answer")


def wait_for_a_simulator() -> None:
    """By a queue of multiprocessing's, as an environment may that talks to another process."""
    multiprocessing.SimpleQueue().get()


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def die_holding_a_lock() -> None:
    """Lock the queue on which this worker asks for actions, and die by SIGKILL."""
    queue = next(found for found in gc.get_objects() if isinstance(found, SharedQueue))
    memory = queue._queue.queue_obj_buffer
    assert ctypes.CDLL(None).pthread_mutex_lock(ctypes.c_void_p(ctypes.addressof(memory) + MUTEX_OFFSET)) == 0
    os.kill(os.getpid(), signal.SIGKILL)


SIMULATOR_SECONDS = 3607
"""By its argument the process that stands for a simulator is recognised."""
TROUBLES = {
    "sleep": sleep_for_ever,
    "simulator": sleep_for_ever_beside_a_simulator,
    "queue": wait_for_a_simulator,
    "stop": stop_itself,
    "exit": lambda: os._exit(3),
    "segfault": faulthandler._sigsegv,
    "lock": die_holding_a_lock,
    "raise": fail,
}


class Trouble(Slow):
    """The climbing game at a millisecond per step; `trouble` comes at the 30th step of its life, once in the run."""

    def __init__(self, trouble: str, marker: str) -> None:
        super().__init__()
        self._trouble, self._marker = TROUBLES[trouble], marker
        self._lived = 0

    def step(self, actions):
        self._lived += 1
        if self._lived == 30 and psutil.Process().name().startswith("sf-rollout"):
            try:
                os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                self._trouble()
        return super().step(actions)


class WithASimulator(Trouble):
    """Has a simulator from the beginning in rollout workers; closing the environment ends it, if it `listens`."""

    def __init__(self, trouble: str, marker: str, listens: bool = True) -> None:
        super().__init__(trouble, marker)
        self._listens, self._simulator = listens, None
        if psutil.Process().name().startswith("sf-rollout"):
            self._simulator = subprocess.Popen(["sleep", str(SIMULATOR_SECONDS)])
            self._note("built")

    def _note(self, what: str) -> None:
        with open(f"{self._marker}-{what}", "a") as notes:
            notes.write(f"{self._simulator.pid}\n")

    def close(self) -> None:
        super().close()
        if self._simulator:
            self._note("closed")
            if self._listens:
                self._simulator.kill()
                self._simulator.wait()


class HardToReplace(Trouble):
    """Segfaults once; then it cannot be built in rollout workers, twice, as while a dead one's port is still taken."""

    def __init__(self, marker: str) -> None:
        if psutil.Process().name().startswith("sf-rollout") and os.path.exists(marker):
            for attempt in range(2):
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(f"{marker}-{attempt}", os.O_CREAT | os.O_EXCL))
                    raise OSError("the port is taken")
        super().__init__("segfault", marker)


class TroubleInTheEnd(Slow):
    """The climbing game at a millisecond per step, which an evaluator cannot play."""

    def __init__(self, trouble: str) -> None:
        super().__init__()
        self._trouble = TROUBLES[trouble]

    def step(self, actions):
        if psutil.Process().name().startswith("sf-evaluator"):
            self._trouble()
        return super().step(actions)


class NeverBuilt(MatrixGame):
    """Can be built in the main process, for the probe; in a worker its construction takes for ever."""

    def __init__(self) -> None:
        if psutil.Process().name().startswith("sf-rollout"):
            sleep_for_ever()
        super().__init__(PAYOFF)


class SlowToBuild(MatrixGame):
    """Its construction takes a quarter of a second in an evaluator."""

    def __init__(self) -> None:
        if psutil.Process().name().startswith("sf-evaluator"):
            time.sleep(0.25)
        super().__init__(PAYOFF)


class Crawling(MatrixGame):
    """The climbing game, each of whose steps takes `seconds` in a rollout worker."""

    def __init__(self, seconds: float) -> None:
        super().__init__(PAYOFF)
        self._seconds = seconds if psutil.Process().name().startswith("sf-rollout") else 0.0

    def step(self, actions):
        time.sleep(self._seconds)
        return super().step(actions)


class Leaking(Slow):
    """The climbing game at a millisecond per step; keeps a megabyte of every step for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[np.ndarray] = []

    def step(self, actions):
        self._kept.append(np.ones(2**17))
        return super().step(actions)


class Hoarding(MatrixGame):
    """The climbing game in episodes of three steps; keeps 32 KiB of every episode for ever."""

    kept: ClassVar[list[np.ndarray]] = []

    def __init__(self) -> None:
        super().__init__(PAYOFF, length=3)

    def reset(self, seed=None, options=None):
        self.kept.append(np.ones(2**12))
        return super().reset(seed, options)
