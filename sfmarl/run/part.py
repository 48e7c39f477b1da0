"""What a process of a run is handed, and what its component works with there."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import TicketQueue
from sfmarl.memory.words import Words
from sfmarl.run.plan import RunPlan

Role = Literal["rollout", "inference", "learner", "evaluator"]


@dataclass
class Handle:
    """What every child is handed."""

    imports: tuple[str, ...]
    """The user's modules."""
    sealed_plan: bytes
    """The plan, pickled: its hyperparameters may be of a class that only the user's modules define."""
    plane: DataPlane
    """Shared memory."""
    rollout_queues: list[TicketQueue]
    """Answers, one queue per rollout worker."""
    inference_queues: list[TicketQueue]
    """Requests, one queue per inference worker process."""
    run_dir: Path
    """The run directory."""

    @functools.cached_property
    def plan(self) -> RunPlan:
        """The plan; not to be asked for before the user's modules are imported."""
        return pickle.loads(self.sealed_plan)


@dataclass
class Part:
    """One component's part in the run."""

    index: int
    """Which one of its role."""
    handle: Handle
    """What every child is handed."""
    pipe: Connection
    """Commands, down."""
    report: Callable[[str, Any], None]
    """(kind, payload), up."""
    passes: np.ndarray
    """[1] int64, shared: how often its loop has turned."""
    closing: contextlib.ExitStack
    """What is still to be closed if it fails."""

    @property
    def words(self) -> Words:
        """The run's shared words."""
        return self.handle.plane.words()

    def warn(self, text: str) -> None:
        """Have the main process tell the user."""
        self.report("warning", text)
