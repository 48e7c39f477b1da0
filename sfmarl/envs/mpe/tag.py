"""simple_tag_v3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfmarl.envs.mpe.entities import Agents, Landmarks
from sfmarl.envs.mpe.env import ParticleEnv
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds


@dataclass(eq=False)
class SimpleTag(ParticleEnv):
    """Slow adversaries hunt fast agents among obstacles.

    Every touch pays all adversaries 10 and costs the agent 10; an agent that leaves the arena is fined.
    """

    num_good: int = 1
    num_adversaries: int = 3
    num_obstacles: int = 2
    terminate_on_success: bool = False
    """Terminate when every agent is caught at once."""
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None
    """See only that many, the nearest; None = all."""

    name: ClassVar[str] = "simple_tag"
    least: ClassVar[Mapping[str, int]] = {
        "num_good": 1,
        "num_adversaries": 1,
        "num_obstacles": 0,
        "num_agent_neighbors": 1,
        "num_landmark_neighbors": 1,
    }

    def agents(self) -> Sequence[Agents]:
        return (
            Agents("adversary", self.num_adversaries, size=0.075, accel=3.0, max_speed=1.0),
            Agents("agent", self.num_good, size=0.05, accel=4.0, max_speed=1.3),
        )

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("obstacle", self.num_obstacles, size=0.2, collides=True, span=0.9),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        caught = worlds.touching("agent", "adversary").sum(axis=1)
        return {"adversary": 10.0 * caught.sum(axis=0), "agent": -10.0 * caught - fine(worlds.positions("agent"))}

    def succeeded(self, worlds: Worlds) -> np.ndarray | None:
        if not self.terminate_on_success:
            return None
        return worlds.touching("agent", "adversary").any(axis=1).all(axis=0)

    def observe(self, me: View) -> Sequence[np.ndarray]:
        return (
            me.velocity,
            me.position,
            me.landmarks(self.num_landmark_neighbors),
            me.others(self.num_agent_neighbors),
            me.velocities("agent", self.num_agent_neighbors),
        )


def fine(position: np.ndarray) -> np.ndarray:
    """Return what agents at [n, 2, E] pay, [n, E]: by coordinate, nothing up to 0.9 from the centre, then ever more."""
    x = np.abs(position)
    # beyond 3 it is 10 in any case, and the exponential would overflow one day
    outside = np.minimum(np.exp(2.0 * np.minimum(x, 3.0) - 2.0), 10.0)
    return np.where(x < 0.9, 0.0, np.where(x < 1.0, (x - 0.9) * 10.0, outside)).sum(axis=1)
