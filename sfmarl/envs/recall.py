"""A game that cannot be played without memory: say at the end what was shown at the beginning."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Recall(ParallelEnv):
    """Each agent sees one of `cues` once, waits, and is then asked for it; a right answer earns it 1.

    Observations are the cue's one-hot and a flag that says "answer now". The cue shows in the first observation only
    and is independent of all later ones, so an actor without memory is right with probability 1 / cues at best; with
    memory the optimum is 1. The episode terminates with the answer, after `delay` + 1 steps.
    """

    metadata: ClassVar = {"name": "recall"}

    def __init__(self, num_agents: int = 2, cues: int = 2, delay: int = 6) -> None:
        self.render_mode = None
        self.cues, self.delay = cues, delay
        self.possible_agents = [f"agent_{i}" for i in range(num_agents)]
        self.agents: list[str] = []
        self.np_random = np.random.default_rng()
        self._cue: dict[str, int] = {}
        self._t = 0
        self._observation_space = spaces.Box(0.0, 1.0, (cues + 1,), np.float32)
        self._action_spaces = {agent: spaces.Discrete(cues) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Box:
        """Return Box(0, 1, [cues + 1])."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return Discrete(cues)."""
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Draw every agent's cue and show it."""
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self._t = 0
        self.agents = list(self.possible_agents)
        self._cue = {agent: int(self.np_random.integers(self.cues)) for agent in self.agents}
        return self._look(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Wait, or take the answers."""
        answered = self._t == self.delay
        rewards = {agent: float(answered and actions[agent] == self._cue[agent]) for agent in self.agents}
        self._t += 1
        over, infos = dict.fromkeys(self.agents, answered), {agent: {} for agent in self.agents}
        observations = self._look()
        if answered:
            self.agents = []
        return observations, rewards, over, dict.fromkeys(over, False), infos

    def _look(self) -> dict[str, np.ndarray]:
        observations = {}
        for agent in self.agents:
            row = np.zeros(self.cues + 1, np.float32)
            if self._t == 0:
                row[self._cue[agent]] = 1.0
            row[-1] = self._t == self.delay
            observations[agent] = row
        return observations
