"""What a checkpoint says of its run (`run.json`): counters, schedules, streams; checked before it is used."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from sfmarl.errors import RunError
from sfmarl.memory.words import INFERENCE_COUNTS, LEARNER_COUNTS, ROLLOUT_COUNTS
from sfmarl.storage.checkpoint import Checkpoint

_COUNTS = {"rollout": ROLLOUT_COUNTS, "inference": INFERENCE_COUNTS, "learner": LEARNER_COUNTS}
_MOST = 1 << 62
"""Counters are int64."""


def read_run_state(saved: Checkpoint) -> dict[str, Any]:
    """Return the run state of a checkpoint whose manifest holds. Raises RunError for what no run has written."""
    state = saved.run_state
    with restored(saved, "run.json"):
        if not isinstance(state, dict):
            raise ValueError("it is no object")
        for name in ("env_steps", "agent_steps"):
            _require(_whole(state[name]), name, state[name])
        if "next_evaluation" in state:
            _require(_whole(state["next_evaluation"]), "next_evaluation", state["next_evaluation"])
        seconds = state["wall_seconds"]
        _require(isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0, "wall_seconds", seconds)
        for role, counts in state.get("counts", {}).items():
            right = len(counts) == len(_COUNTS[role]) and all(map(_whole, counts))
            _require(right, f"counts of {role}", counts)
    return state


@contextlib.contextmanager
def restored(saved: Checkpoint, what: str) -> Iterator[None]:
    """Name the checkpoint and the part of it that is being restored when it is not what it should be: a RunError."""
    try:
        yield
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        raise RunError(
            f"{saved.path}: {what} is not what a run has written: {reason.rstrip('.')}. Its hashes agree, so another "
            "version or program wrote it. Move it aside; resuming then takes the checkpoint before it."
        ) from error


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _require(holds: bool, name: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}")
