"""simple_crypto_v3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfmarl.envs.mpe.entities import Agents, Landmarks
from sfmarl.envs.mpe.env import ParticleEnv
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds

COLORS = np.eye(4, 2)
"""Column i is the colour of landmark i."""


@dataclass(eq=False)
class SimpleCrypto(ParticleEnv):
    """Alice tells Bob which landmark is the goal, under a key that both have and Eve, who listens, has not.

    Landmarks are one-hot colours; an error is the squared distance of what somebody says from the goal's colour, and
    none if nothing is said. Eve is paid minus her error, Alice and Bob hers minus Bob's. Nobody moves.
    """

    name: ClassVar[str] = "simple_crypto"
    num_goals: ClassVar[int] = 2
    """The goal and the key."""

    def agents(self) -> Sequence[Agents]:
        return tuple(Agents(team, 1, moves=False, collides=False, words=4) for team in ("eve", "bob", "alice"))

    def landmarks(self) -> Sequence[Landmarks]:
        return (Landmarks("landmark", 2),)

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        said = worlds.said[:2]
        error = np.square(said - COLORS.take(worlds.goals[0], axis=1)).sum(axis=1)
        eve, bob = np.where(said.any(axis=1), error, 0.0)
        return {"eve": -eve, "bob": eve - bob, "alice": eve - bob}

    def observe(self, me: View) -> Sequence[np.ndarray]:
        if me.team == "eve":
            return (me.hears("alice"),)
        goal, key = me.goal_colors(COLORS)[:, None]
        return (key, me.hears("alice")) if me.team == "bob" else (goal, key)
