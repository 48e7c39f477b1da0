"""Small turn-based games for whole runs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv


class Betting(AECEnv):
    """A game with a known optimum: who moves sees a card (0 or 1) and says which; a right word earns 1.

    It is paid only when the other has moved, so every reward but the last comes out of turn.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "betting"}

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []
        self.render_mode = None
        self.rounds = rounds
        self.np_random = np.random.default_rng()

    def observation_space(self, agent):
        return spaces.Dict(
            {"observation": spaces.Discrete(2), "action_mask": spaces.Box(0, 1, (3,), np.int8)},
        )

    def action_space(self, agent):
        return spaces.Discrete(3)

    def observe(self, agent):
        return {"observation": self.card, "action_mask": np.array([1, 1, 0], np.int8)}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]
        self.turns, self.card, self.owed = 0, int(self.np_random.integers(2)), 0.0

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        assert action != 2, "an illegal move"
        other = self.possible_agents[self.possible_agents.index(agent) - 1]
        self._cumulative_rewards[agent] = 0.0
        # what the other said a turn ago is paid now
        self._cumulative_rewards[other] += self.owed
        self.owed = float(action == self.card)
        self.turns += 1
        self.card = int(self.np_random.integers(2))
        self.agent_selection = other
        if self.turns == 2 * self.rounds:
            self._cumulative_rewards[agent] += self.owed
            self.terminations = dict.fromkeys(self.agents, True)

    def close(self) -> None:
        pass
