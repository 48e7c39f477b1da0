"""What was measured of one environment, its policies and this machine: the input of every prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Seconds that a piece of work takes by its size, from a few measured sizes: straight lines between and beyond."""

    points: tuple[tuple[float, float], ...]
    """(size, seconds), by growing size; at least one."""

    def __call__(self, size: float) -> float:
        """Return the seconds for `size` > 0. A single point is taken for proportional."""
        sizes, seconds = self._plausible()
        if len(sizes) == 1:
            return float(seconds[0] * size / sizes[0])
        if size <= sizes[0]:
            slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
            return float(max(seconds[0] - slope * (sizes[0] - size), seconds[0] * size / sizes[0]))
        if size >= sizes[-1]:
            slope = (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2])
            return float(seconds[-1] + slope * (size - sizes[-1]))
        return float(np.interp(size, sizes, seconds))

    def _plausible(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sizes and seconds in which more work takes no less time, and no more than in small portions.

        Where it was measured otherwise, something else was running.
        """
        sizes, seconds = np.array(self.points, float).T
        seconds = np.maximum.accumulate(seconds)
        each = np.maximum.accumulate((seconds / sizes)[::-1])[::-1]
        return sizes, each * sizes


@dataclass(frozen=True)
class Figures:
    """Costs on one core, unless said otherwise. n is the number of envs that are stepped together."""

    cores: int
    """Cores this process may use."""
    busy_percent: float
    """Share of the machine that other programs were taking."""
    device: str
    """Torch device of inference (placement `worker`) and learning."""
    agents: float
    """Valid agent-steps per env-step."""
    step: Curve
    """n -> seconds of computing to step n envs once and keep the books."""
    pause: Curve
    """n -> seconds that the environments sleep or wait for others meanwhile; no core is used."""
    act: Curve
    """n -> seconds to compute the actions for n envs."""
    learn: Mapping[int, tuple[Curve, ...]]
    """Torch threads -> for each policy that learns: env-steps of an update -> its seconds.

    Empty when the environment is too slow for a single update to be measured: learning then costs nothing beside it.
    """
    wake_seconds: float
    """From a ticket to another process until its answer is here, when that process sleeps."""
    wake_cpu_seconds: float
    """Computing that this takes, on both sides."""

    def learning(self, threads: int) -> tuple[Curve, ...]:
        """Return each policy's curve for the largest measured number of threads up to `threads`."""
        counts = [count for count in self.learn if count <= threads]
        return tuple(self.learn[max(counts)]) if counts else ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON types."""
        return {
            "cores": self.cores,
            "busy_percent": self.busy_percent,
            "device": self.device,
            "agent_steps_per_env_step": self.agents,
            "step": self.step.points,
            "pause": self.pause.points,
            "act": self.act.points,
            "learn": {str(threads): [curve.points for curve in curves] for threads, curves in self.learn.items()},
            "wake_seconds": self.wake_seconds,
            "wake_cpu_seconds": self.wake_cpu_seconds,
        }
