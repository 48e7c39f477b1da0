"""simple_push_v3."""

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

COLORS = 0.1 + 0.8 * np.eye(3, 2, -1)
"""Column i is the colour of landmark i."""
AGENT_COLORS = 0.25 + 0.5 * np.eye(3, 2, -1)
"""Column i is the colour of the agent whose goal is landmark i."""


@dataclass(eq=False)
class SimplePush(ParticleEnv):
    """One agent knows which of two landmarks is its goal; one adversary, who does not, keeps it away by force.

    The agent is paid minus its distance to the goal, the adversary that distance minus its own.
    """

    name: ClassVar[str] = "simple_push"
    num_goals: ClassVar[int] = 1

    def agents(self) -> Sequence[Agents]:
        return Agents("adversary", 1), Agents("agent", 1)

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", 2),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        adversary, agent = norm(worlds.goal(0) - worlds.positions("everyone"))
        return {"adversary": agent - adversary, "agent": -agent}

    def observe(self, me: View) -> Sequence[np.ndarray]:
        if me.team == "adversary":
            return me.velocity, me.landmarks(), me.others()
        return (
            me.velocity,
            me.goal(),
            me.goal_colors(AGENT_COLORS),
            me.landmarks(),
            np.repeat(COLORS.T.reshape(1, -1, 1), me.worlds.num_envs, axis=2),
            me.others(),
        )
