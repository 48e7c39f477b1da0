"""simple_speaker_listener_v4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfmarl.envs.mpe.entities import Agents, Landmarks
from sfmarl.envs.mpe.env import ParticleEnv
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds

COLORS = 0.15 + 0.5 * np.eye(3)
"""Column i is the colour of landmark i."""


@dataclass(eq=False)
class SimpleSpeakerListener(ParticleEnv):
    """A speaker sees the colour of the goal and can only talk; a listener must go to the landmark of that colour.

    Both are paid minus the listener's squared distance to the goal.
    """

    name: ClassVar[str] = "simple_speaker_listener"
    num_goals: ClassVar[int] = 1

    def agents(self) -> Sequence[Agents]:
        return (
            Agents("speaker", 1, size=0.075, collides=False, moves=False, words=3),
            Agents("listener", 1, size=0.075, collides=False),
        )

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", 3, size=0.04),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        way = worlds.goal(0) - worlds.positions("listener")
        return dict.fromkeys(("speaker", "listener"), -np.square(way).sum(axis=1))

    def observe(self, me: View) -> Sequence[np.ndarray]:
        if me.team == "speaker":
            return (me.goal_colors(COLORS),)
        return me.velocity, me.landmarks(), me.hears("speaker")
