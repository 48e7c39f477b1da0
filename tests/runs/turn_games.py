"""Small turn-based games for whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


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


class BettingTables:
    """`Betting`, many tables at once: a native game with a random stream of its own for every table."""

    def __init__(self, num_envs: int, seeds: Sequence[int], rounds: int = 3) -> None:
        action = ActionSpec("discrete", (3,), (0,))
        team = TeamSpec("player_0", ("player_0",), ObsSpec((2,), np.dtype(np.float32)), action, has_mask=True)
        self.spec = EnvSpec("betting", (team, replace(team, name="player_1", agents=("player_1",))), turn_based=True)
        self.num_envs, self.rounds = num_envs, rounds
        self.seat = np.zeros(num_envs, np.int64)
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        self._card, self._turns = np.zeros((2, num_envs), np.int64)
        self._owed = np.zeros(num_envs)

    def _deal(self, envs):
        self._card[envs] = [self._streams[e].integers(2) for e in envs.tolist()]

    def reset(self, envs):
        self.seat[envs] = self._turns[envs] = self._owed[envs] = 0
        self._deal(envs)

    def observe(self, seat, envs, obs, action_mask, state):
        obs[...] = np.eye(2)[self._card[envs]]
        action_mask[...] = [True, True, False]

    def act(self, envs, actions):
        assert (actions != 2).all(), "an illegal move"
        seat, paid = self.seat[envs], (actions == self._card[envs]).astype(float)
        reward, row = np.zeros((len(envs), 2)), np.arange(len(envs))
        # what the other said a turn ago is paid now
        reward[row, 1 - seat] = self._owed[envs]
        self._owed[envs] = paid
        self._turns[envs] += 1
        self._deal(envs)
        over = self._turns[envs] == 2 * self.rounds
        reward[row[over], seat[over]] += paid[over]
        self.seat[envs] = 1 - seat
        return TurnOutcome(reward, over, np.zeros(len(envs), bool))

    def generator_states(self):
        return [generator_state(stream) for stream in self._streams]

    def restore_generators(self, states):
        for stream, state in zip(self._streams, states, strict=True):
            restore_generator(stream, state)

    def close(self):
        pass
