"""How fast an arrangement of processes would train, from figures of its parts.

Every process that is never idle bounds the rate, and so do all cores together:

    environment   workers / (step + pause [+ act, if local]) per env-step, or what a split that waits for its actions
                  leaves of it
    inference     inference workers / (act + half a wake-up)
    learner       1 / learn of the slowest policy
    cores         cores / (step + act + wake-up + learn of all policies)

In sync mode nobody steps while an update is made: the times of the learner and of the rest add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sfmarl.config import Placement
from sfmarl.tuning.figures import Figures

SHARPNESS = 16
"""Bounds that are close to each other are all felt, for no process is busy all the time: the rate is
(sum of bound^-SHARPNESS)^(-1/SHARPNESS), 4 % below two equal bounds."""


@dataclass(frozen=True)
class Candidate:
    """One way to spread a run over the machine."""

    workers: int
    """Rollout workers."""
    envs: int
    """Environments of each."""
    splits: int
    """Groups they alternate in."""
    inference: Placement
    """Where actions are computed."""
    inference_workers: int
    """Inference worker processes; 1 (and none are started) with local inference."""
    update_envs: float
    """Of how many environments' slots one update is made."""
    learner_threads: int
    """Torch threads of each learner."""

    @property
    def total_envs(self) -> int:
        """Environments of all workers."""
        return self.workers * self.envs

    @property
    def processes(self) -> int:
        """Rollout and inference worker processes."""
        return self.workers + (self.inference_workers if self.inference == "worker" else 0)

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Prediction:
    """What to expect of a candidate."""

    candidate: Candidate
    """The arrangement."""
    bounds: Mapping[str, float]
    """`environment` | `inference` | `learner` | `cores` -> env-steps/s that it would allow."""
    env_steps_per_second: float
    """Env-steps/s of the whole run."""
    agent_steps_per_second: float
    """Valid agent-steps/s of the whole run."""

    @property
    def bottleneck(self) -> str:
        """The lowest bound."""
        return min(self.bounds, key=self.bounds.__getitem__)


def predict(figures: Figures, candidate: Candidate, rollout: int, sync: bool) -> Prediction:
    """Return what `candidate` reaches with slots of `rollout` time steps."""
    c, envs = candidate, candidate.envs / candidate.splits
    step, pause = figures.step(envs) / envs, figures.pause(envs) / envs
    bounds = {}
    if c.inference == "local":
        act, wake = figures.act(c.envs) / c.envs, 0.0
        bounds["environment"] = c.workers / (step + pause + act)
    else:
        # while it answers one request others come in: about half of those there can be are answered together
        together = envs * max(1.0, c.workers * c.splits / (2 * c.inference_workers))
        act, wake = figures.act(together) / together, figures.wake_cpu_seconds / envs
        answer = figures.act(envs) + figures.wake_seconds
        cycle = max(c.envs * (step + pause), envs * (step + pause) + answer)
        bounds["environment"] = c.workers * c.envs / cycle
        bounds["inference"] = c.inference_workers / (act + wake / 2)
    update = c.update_envs * rollout
    learn = [curve(update) / update for curve in figures.learning(c.learner_threads)]
    working = step + act + wake + (0.0 if sync else c.learner_threads * sum(learn))
    bounds["cores"] = figures.cores / working
    if learn:
        bounds["learner"] = 1 / max(learn)
    if sync:
        rate = 1 / (1 / _together(bound for name, bound in bounds.items() if name != "learner") + max(learn, default=0))
    else:
        rate = _together(bounds.values())
    return Prediction(c, bounds, rate, rate * figures.agents)


def _together(bounds) -> float:
    return sum(bound**-SHARPNESS for bound in bounds) ** (-1 / SHARPNESS)
