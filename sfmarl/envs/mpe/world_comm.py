"""simple_world_comm_v3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfmarl.envs.mpe.entities import Agents, Landmarks
from sfmarl.envs.mpe.env import ParticleEnv
from sfmarl.envs.mpe.tag import fine
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds, measured

LEADER = "leadadversary"


@dataclass(eq=False)
class SimpleWorldComm(ParticleEnv):
    """Adversaries hunt agents that look for food and hide in forests; their leader sees all and talks to them.

    A touch pays all adversaries 5 and costs the agent 5; adversaries are drawn to the nearest agent, agents to food,
    and an agent that leaves the arena is fined double.
    """

    num_good: int = 2
    num_adversaries: int = 4
    """With the leader."""
    num_obstacles: int = 1
    num_food: int = 2
    num_forests: int = 2

    name: ClassVar[str] = "simple_world_comm"
    least: ClassVar[Mapping[str, int]] = {
        "num_good": 1,
        "num_adversaries": 1,
        "num_obstacles": 0,
        "num_food": 1,
        "num_forests": 0,
    }

    def agents(self) -> Sequence[Agents]:
        return (
            Agents(LEADER, 1, size=0.075, accel=3.0, max_speed=1.0, words=4),
            Agents("adversary", self.num_adversaries - 1, size=0.075, accel=3.0, max_speed=1.0),
            Agents("agent", self.num_good, size=0.045, accel=4.0, max_speed=1.3),
        )

    def landmarks(self) -> Sequence[Landmarks]:
        return (
            Landmarks("obstacle", self.num_obstacles, size=0.2, collides=True, span=0.9),
            Landmarks("food", self.num_food, size=0.03, span=0.9),
            Landmarks("forest", self.num_forests, size=0.3, span=0.9),
        )

    def place(self, rng: np.random.Generator, out: np.ndarray) -> None:
        # mpe2 lists food and forests among its landmarks, so it places them twice
        rng.random(out=out)
        rng.random(out=out[len(out) - self.num_food - self.num_forests :])

    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        hunters = slice(0, self.num_adversaries)
        caught = worlds.touching("everyone", "agent")[hunters].sum(axis=0)
        fed = worlds.touching("agent", "food").sum(axis=1)
        hunger = worlds.distance("agent", "food").min(axis=1)
        hunt = 5.0 * caught.sum(axis=0) - 0.1 * worlds.distance("everyone", "agent")[hunters].min(axis=1)
        return {
            LEADER: hunt[:1],
            "adversary": hunt[1:],
            "agent": 2.0 * fed - 5.0 * caught - 0.05 * hunger - 2.0 * fine(worlds.positions("agent")),
        }

    def observe(self, me: View) -> Sequence[np.ndarray]:
        seen = me.own(visible(me.worlds))
        ways = me.others() * seen[:, :, None]
        velocities = me.velocities("agent") * seen[:, me.columns("agent"), None]
        hidden = np.where(me.own(me.worlds.touching("everyone", "forest")), 1.0, -1.0)
        told = (hidden, velocities) if me.team == "agent" else (velocities, hidden, me.hears(LEADER))
        return me.velocity, me.position, me.landmarks(), ways, *told


@measured
def visible(worlds: Worlds) -> np.ndarray:
    """Return which of the others each agent sees, bool [N, N - 1, E]: those in the same forest, or both in the open."""
    inside = worlds.touching("everyone", "forest")
    in_open = ~inside.any(axis=1)
    others = worlds.entities.others
    seen = (inside[:, None] & inside[others]).any(axis=2) | (in_open[:, None] & in_open[others])
    seen[worlds.entities.at[LEADER]] = True
    return seen
