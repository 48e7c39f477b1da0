"""A ParallelEnv whose teams observe and act in every way a policy can."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from toy_envs import RandomLength


class OddSpaces(RandomLength):
    """One team of two agents per kind of space; nothing depends on what they do."""

    metadata: ClassVar[dict[str, Any]] = {"name": "odd_spaces"}
    SPACES: ClassVar[dict[str, tuple[spaces.Space, spaces.Space]]] = {
        "plain": (spaces.Box(-5, 5, (4,), np.float32), spaces.Discrete(3, start=-1)),
        "image": (spaces.Box(0, 255, (6, 7, 3), np.uint8), spaces.Discrete(5)),
        "camera": (spaces.Box(0, 255, (36, 40, 1), np.uint8), spaces.Box(-1, 1, (2,), np.float32)),
        "multi": (spaces.Box(0, 9, (3,), np.int16), spaces.MultiDiscrete([2, 4, 3])),
        "binary": (spaces.Discrete(6), spaces.MultiBinary([2, 2])),
        "bounded": (spaces.Box(-1, 1, (3,), np.float64), spaces.Box(np.array([[-0.1, -2]]), np.array([[0.1, 2]]))),
        "free": (spaces.Box(-1, 1, (3,), np.float32), spaces.Box(-np.inf, np.inf, (2,), np.float32)),
        "masked": (
            spaces.Dict(observation=spaces.Box(-1, 1, (3,), np.float32), action_mask=spaces.Box(0, 1, (7,), np.int8)),
            spaces.MultiDiscrete([4, 3]),
        ),
    }

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(longest=4)
        self.possible_agents = [f"{kind}_{i}" for kind in self.SPACES for i in range(2)]

    def observation_space(self, agent: str) -> spaces.Space:
        return self.SPACES[agent.rpartition("_")[0]][0]

    def action_space(self, agent: str) -> spaces.Space:
        return self.SPACES[agent.rpartition("_")[0]][1]

    def _observe(self):
        seen = {agent: self.observation_space(agent).sample() for agent in self.possible_agents}
        for agent in ("masked_0", "masked_1"):
            seen[agent]["action_mask"][[0, 4]] = 1
        return seen

    def step(self, actions):
        self._step += 1
        over = self._step == self._length
        everyone = self.possible_agents
        self.agents = [] if over else list(everyone)
        flags, cut = dict.fromkeys(everyone, over), dict.fromkeys(everyone, False)
        return self._observe(), dict.fromkeys(everyone, 0.0), flags, cut, {agent: {} for agent in everyone}
