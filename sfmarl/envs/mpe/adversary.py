"""simple_adversary_v3."""

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


@dataclass(eq=False)
class SimpleAdversary(ParticleEnv):
    """N agents know which of N landmarks is the goal; one adversary has to guess it from what they do.

    The adversary is paid minus its distance to the goal, every agent that distance minus the nearest agent's.
    """

    N: int = 2
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None
    """See only that many, the nearest; None = all. Agents always see the goal."""

    name: ClassVar[str] = "simple_adversary"
    num_goals: ClassVar[int] = 1
    least: ClassVar[Mapping[str, int]] = {"N": 1, "num_agent_neighbors": 1, "num_landmark_neighbors": 1}

    def agents(self) -> Sequence[Agents]:
        return Agents("adversary", 1, size=0.15, collides=False), Agents("agent", self.N, size=0.15, collides=False)

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", self.N, size=0.08),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        adversary, *agents = norm(worlds.goal(0) - worlds.positions("everyone"))
        return {"adversary": -adversary, "agent": adversary - np.min(agents, axis=0)}

    def observe(self, me: View) -> Sequence[np.ndarray]:
        seen = me.landmarks(self.num_landmark_neighbors), me.others(self.num_agent_neighbors)
        return seen if me.team == "adversary" else (me.goal(), *seen)
