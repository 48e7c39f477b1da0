"""Short real trainings: what an arrangement reaches, instead of what is predicted."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfmarl.config import Config
from sfmarl.errors import RunError
from sfmarl.run.runner import train

START_SECONDS = 4.0
"""Processes have started by then."""
RECORD_SECONDS = 0.5


def measure_training(config: Config, seconds: float) -> float:
    """Train with `config` in a temporary directory and return its valid agent-steps/s over the last `seconds`.

    Raises RunError or UsageError as `train` does, and RunError when not one step was made in that time.
    """
    return steady_rate(short_training(config, seconds), seconds)


def short_training(config: Config, seconds: float) -> list[dict[str, Any]]:
    """Train with `config` for `seconds` and a start in a temporary directory and return the records of its metrics.

    Raises RunError or UsageError as `train` does.
    """
    with tempfile.TemporaryDirectory(prefix="sfmarl-tune-") as folder:
        trial = replace(
            config,
            run_dir=Path(folder) / "run",
            wall_seconds=START_SECONDS + seconds,
            log_seconds=RECORD_SECONDS,
            env_steps=10**15,
            stop_score=None,
            eval_env_steps=0,
            final_eval_episodes=0,
            checkpoint_seconds=1e9,
            callbacks=(),
            init_from="",
            quiet=True,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return train(trial).metrics()


def steady_rate(records: Sequence[dict[str, Any]], seconds: float) -> float:
    """Return agent-steps/s over the last `seconds` of a run, begun not before its first update if there was one.

    Until then the slots only fill up. Raises RunError when nothing was stepped.
    """
    end = records[-1]["wall_seconds"]
    updated = [r["wall_seconds"] for r in records if r.get("throughput/updates_per_second", 0) > 0]
    begin = max(end - seconds, min(updated[0], end - seconds / 2) if updated else 0.0)
    window = [r for r in records if r["wall_seconds"] >= begin]
    first, last = window[0], window[-1]
    if last["wall_seconds"] <= first["wall_seconds"] or last["agent_steps"] <= first["agent_steps"]:
        raise RunError(f"a trial of {end:.0f} s made no step in its last {seconds:.0f} s: give --trial-seconds more.")
    return (last["agent_steps"] - first["agent_steps"]) / (last["wall_seconds"] - first["wall_seconds"])
