"""An environment of pictures that costs next to nothing: agents see frames from a bank that is drawn once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from sfmarl.envs.registry import register_env

BANK = 8


class ImageEnv(ParallelEnv):
    """`num_agents` agents see [side, side, 4] uint8 frames; actions do not matter. Truncated after `length` steps."""

    metadata: ClassVar = {"name": "images"}

    def __init__(self, num_agents: int = 2, side: int = 84, num_actions: int = 5, length: int = 128) -> None:
        self.render_mode = None
        self.possible_agents = [f"agent_{i}" for i in range(num_agents)]
        self.agents: list[str] = []
        self.length = length
        self._observation_space = spaces.Box(0, 255, (side, side, 4), np.uint8)
        self._action_space = spaces.Discrete(num_actions)
        rng = np.random.default_rng(0)
        frames = rng.integers(256, size=(BANK, side, side, 4)).astype(np.uint8)
        self._bank = [
            {agent: frames[(i + a) % BANK] for a, agent in enumerate(self.possible_agents)} for i in range(BANK)
        ]
        self._rewards = dict.fromkeys(self.possible_agents, 1.0)
        self._flags = {flag: dict.fromkeys(self.possible_agents, flag) for flag in (False, True)}
        self._infos: dict[str, dict] = {agent: {} for agent in self.possible_agents}
        self._t = 0

    def observation_space(self, agent: str) -> spaces.Box:
        """Return Box(0, 255, [side, side, 4], uint8)."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return Discrete(num_actions)."""
        return self._action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; nothing is random."""
        self._t = 0
        self.agents = list(self.possible_agents)
        return self._bank[0], self._infos

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Answer from the bank."""
        self._t += 1
        over = self._t >= self.length
        if over:
            self.agents = []
        return self._bank[self._t % BANK], self._rewards, self._flags[False], self._flags[over], self._infos


register_env("benchmarks/images", ImageEnv, "84x84x4 pictures from a bank, for throughput measurements")
