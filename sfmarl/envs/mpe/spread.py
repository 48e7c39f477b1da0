"""simple_spread_v3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfmarl.envs.mpe.entities import Agents, Landmarks
from sfmarl.envs.mpe.env import ParticleEnv
from sfmarl.envs.mpe.physics import norm
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds

SIZE = 0.15
"""Radius of an agent."""
CAPTURE = 0.1
"""Distance at which an agent covers a landmark."""
MESSAGE = 2
"""Entries of a message."""


@dataclass(eq=False)
class SimpleSpread(ParticleEnv):
    """N agents cover N landmarks and do not bump into each other.

    The team is paid minus the sum over landmarks of the distance to the nearest agent, each agent minus one per other
    agent it touches, mixed by `local_ratio`.
    """

    N: int = 3
    local_ratio: float = 0.5
    """Share of an agent's own part of the reward."""
    terminate_on_success: bool = False
    """Terminate when every landmark is covered."""
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None
    """See only that many, the nearest; None = all."""

    name: ClassVar[str] = "simple_spread"
    least: ClassVar[Mapping[str, int]] = {"N": 1, "num_agent_neighbors": 1, "num_landmark_neighbors": 1}

    def agents(self) -> Sequence[Agents]:
        return (Agents("agent", self.N, size=SIZE),)

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", self.N),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        team = -worlds.distance("everyone", "landmarks").min(axis=0).sum(axis=0)
        bumps = (norm(worlds.ways_to_others()) < 2 * SIZE).sum(axis=1)
        return {"agent": team * (1.0 - self.local_ratio) - bumps * self.local_ratio}

    def succeeded(self, worlds: Worlds) -> np.ndarray | None:
        if not self.terminate_on_success:
            return None
        return (worlds.distance("everyone", "landmarks").min(axis=0) < CAPTURE).all(axis=0)

    def observe(self, me: View) -> Sequence[np.ndarray]:
        others = me.others(self.num_agent_neighbors)
        # everybody hears the others, who are silent
        silence = np.zeros((1, others.shape[1] * MESSAGE, others.shape[-1]))
        return me.velocity, me.position, me.landmarks(self.num_landmark_neighbors), others, silence
