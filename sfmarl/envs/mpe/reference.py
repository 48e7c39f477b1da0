"""simple_reference_v3."""

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

COLORS = 0.25 + 0.5 * np.eye(3)
"""Column i is the colour of landmark i."""


@dataclass(eq=False)
class SimpleReference(ParticleEnv):
    """Two agents each know the colour of the landmark to which the other should go, and tell it.

    Each is paid minus the other's distance to it, mixed by `local_ratio` with the mean of both.
    """

    local_ratio: float = 0.5
    """Share of an agent's own part of the reward."""

    name: ClassVar[str] = "simple_reference"
    num_goals: ClassVar[int] = 2

    def agents(self) -> Sequence[Agents]:
        return (Agents("agent", 2, collides=False, words=10),)

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", 3),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        first, second = worlds.positions("agent")
        own = -norm(np.stack([worlds.goal(0) - second, worlds.goal(1) - first]))
        return {"agent": own.mean(axis=0) * (1.0 - self.local_ratio) + own * self.local_ratio}

    def observe(self, me: View) -> Sequence[np.ndarray]:
        return me.velocity, me.landmarks(), me.goal_colors(COLORS), me.worlds.said[::-1]
