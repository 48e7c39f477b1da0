"""Small ParallelEnvs for tests of evaluation and loaded policies."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class RandomLength(ParallelEnv):
    """Episodes of 1 to `longest` steps, drawn per env (`per_env`) or per episode; every step pays 1 and 2."""

    metadata: ClassVar[dict[str, Any]] = {"name": "random_length"}
    longest = 30

    def __init__(self, per_env: bool = False, longest: int = 30, render_mode: str | None = None) -> None:
        self.possible_agents = ["a_0", "a_1"]
        self.agents: list[str] = []
        self.render_mode = render_mode
        self._per_env, self._longest = per_env, longest
        self._rng = np.random.default_rng()
        self._length = 0

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0, 1, (2,), np.float32)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(3, start=1)

    def reset(self, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        if seed is not None or not self._per_env:
            self._length = int(self._rng.integers(1, self._longest + 1))
        self._step = 0
        self.agents = list(self.possible_agents)
        return self._observe(), {agent: {} for agent in self.agents}

    def _observe(self):
        return {agent: np.full(2, self._step / self._longest, np.float32) for agent in self.possible_agents}

    def step(self, actions):
        assert all(action in (1, 2, 3) for action in actions.values())
        self._step += 1
        over = self._step == self._length
        flags = dict.fromkeys(self.possible_agents, over)
        rewards = {"a_0": 1.0, "a_1": 2.0}
        truncations = dict.fromkeys(self.possible_agents, False)
        self.agents = [] if over else list(self.possible_agents)
        return self._observe(), rewards, flags, truncations, {agent: {} for agent in self.possible_agents}

    def render(self):
        if self.render_mode != "rgb_array":
            return None
        frame = np.zeros((20, 30, 3), np.uint8)
        frame[:, self._step % 30] = 255
        return frame

    def close(self) -> None:
        pass


class Mixed(RandomLength):
    """Three agents: a pair with action masks in a Dict, and one with a Tuple observation and a Box action."""

    metadata: ClassVar[dict[str, Any]] = {"name": "mixed"}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(longest=8)
        self.possible_agents = ["m_0", "m_1", "t_0"]

    def observation_space(self, agent: str) -> spaces.Space:
        if agent == "t_0":
            return spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)))
        mask = spaces.Box(0, 1, (4,), np.int8)
        return spaces.Dict({"observation": spaces.Box(-1, 1, (3,), np.float64), "action_mask": mask})

    def action_space(self, agent: str) -> spaces.Space:
        return (
            spaces.Box(np.array([-0.1, -2]), np.array([0.1, 2]), dtype=np.float64)
            if agent == "t_0"
            else spaces.Discrete(4)
        )

    def _observe(self):
        seen: dict[str, Any] = {"t_0": (int(self._rng.integers(3)), self._rng.uniform(-1, 1, 2).astype(np.float32))}
        for agent in ("m_0", "m_1"):
            mask = np.zeros(4, np.int8)
            mask[self._rng.choice(4, 2, replace=False)] = 1
            seen[agent] = {"observation": self._rng.uniform(-1, 1, 3), "action_mask": mask}
        self.seen = seen
        return {agent: seen[agent] for agent in self.possible_agents}

    def step(self, actions):
        for agent, action in actions.items():
            assert self.action_space(agent).contains(action)
            if agent != "t_0":
                assert self.seen[agent]["action_mask"][action] == 1
        self._step += 1
        over = self._step == self._length
        everyone = self.possible_agents
        self.agents = [] if over else list(everyone)
        flags, cut = dict.fromkeys(everyone, False), dict.fromkeys(everyone, over)
        return self._observe(), dict.fromkeys(everyone, -1.0), flags, cut, {agent: {} for agent in everyone}


class Endless(RandomLength):
    """Never ends."""

    def __init__(self) -> None:
        super().__init__(longest=2**40)


class Blind(RandomLength):
    """Takes a render mode and renders nothing."""

    def render(self):
        return None
