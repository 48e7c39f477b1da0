"""Environment faults of a rollout worker: counted, told, and mended within a budget.

An environment that fails is closed and built anew with a seed of its own; the others of its split go on. The budget is
counted in env-steps, so that a serial run does not depend on the clock.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.envs.rebuild import RAISED
from sfmarl.errors import EnvFault, RunError
from sfmarl.memory.words import ROLLOUT_COUNTS
from sfmarl.seeding import seed_for
from sfmarl.storage.durable import append_text

ENV_STEPS, ENV_FAULTS = ROLLOUT_COUNTS.index("env_steps"), ROLLOUT_COUNTS.index("env_faults")

WINDOW = 100_000
"""Env-steps of a rollout worker within which its faults count against the budget."""
WARNINGS = 5
"""So many faults of one life are told one by one."""
TRACEBACKS = 50
"""So many are kept with their traceback."""
FILE = "env_faults.txt"
"""In the run directory."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
"""After a construction that failed, doubled each time."""


class EnvFaults:
    """What one rollout worker does about its environments' faults."""

    def __init__(
        self,
        worker: int,
        allowed: int,
        counts: np.ndarray,
        warn: Callable[[str], None],
        run_dir: Path | None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`allowed` faults are mended within WINDOW env-steps; `counts` is the worker's row of `Words.counts`.

        Tracebacks are kept in `run_dir`, if there is one.
        """
        self._worker, self._allowed, self._counts, self._warn = worker, allowed, counts, warn
        self._path = None if run_dir is None else run_dir / FILE
        self._pause = pause
        self._recent: deque[int] = deque()
        self.total = 0
        """Faults of this life."""

    def note(self, fault: EnvFault) -> None:
        """Count and tell a fault. Raises RunError when it is one too many."""
        self.total += 1
        self._counts[ENV_FAULTS] += 1
        now = int(self._counts[ENV_STEPS])
        recent = self._recent
        recent.append(now)
        while recent[0] < now - WINDOW:
            recent.popleft()
        if not self._allowed:
            raise RunError(str(fault)) from fault
        where, said = self._keep(fault), str(fault).rstrip(".")
        if len(recent) > self._allowed:
            raise RunError(
                f"{said}.\nThat is environment fault {len(recent)} of rollout worker {self._worker} within {WINDOW:,} "
                f"env-steps; {self._allowed} are mended (--max-env-faults).{where}"
            ) from fault
        if self.total <= WARNINGS:
            last = " Further ones are only counted (env/faults)." if self.total == WARNINGS else ""
            self._warn(
                f"rollout worker {self._worker}: {said}. The environment is built anew (fault {len(recent)} of "
                f"{self._allowed} within {WINDOW:,} env-steps).{where}{last}"
            )

    def wait(self, seconds: float) -> None:
        """Do nothing for a moment."""
        self._pause(seconds)

    def _keep(self, fault: EnvFault) -> str:
        """Append the traceback to the file; return where it is, as a sentence."""
        if self._path is None or self.total > TRACEBACKS:
            return ""
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        text = "".join(traceback.format_exception(fault))
        try:
            append_text(self._path, f"{when} rollout worker {self._worker}, fault {self.total}\n{text}\n")
        except OSError as error:
            return f" {self._path} cannot be written: {error.strerror}."
        return f" The traceback is in {self._path}."


class SplitFaults:
    """A split's `Rebuilder`."""

    def __init__(self, faults: EnvFaults, seed: int, *path: str | int) -> None:
        """Seeds of new environments are derived from the run's `seed` and `path`, which names split and life."""
        self._faults, self._seed, self._path = faults, seed, path

    def rebuild(
        self, build: Callable[[list[int]], Any], failed: Any, copies: Sequence[int], fault: EnvFault
    ) -> tuple[Any, list[int]]:
        """See `Rebuilder`. A construction that fails counts again."""
        pause = PAUSE_SECONDS
        self._faults.note(fault)
        with contextlib.suppress(*RAISED):
            failed.close()
        while True:
            seeds = [seed_for(self._seed, "rebuilt", *self._path, copy, self._faults.total) for copy in copies]
            try:
                return build(seeds), seeds
            except RAISED as error:
                again = EnvFault(f"copy {copies[0]} could not be built anew: {error}", copies[0])
                again.__cause__ = error
                self._faults.note(again)
                self._faults.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
