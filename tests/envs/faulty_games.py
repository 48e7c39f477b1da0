"""Tiny turn-based and single-agent environments, each with exactly one fault, and the sound ones they are made from."""

from __future__ import annotations

import time
from typing import ClassVar

import gymnasium
import numpy as np
from faulty_envs import AGENTS, BOX, LENGTH, Sound
from gymnasium import spaces
from pettingzoo import AECEnv


class SoundTurns(AECEnv):
    """Two agents, `LENGTH` turns each, who earn what they do."""

    metadata: ClassVar = {"name": "sound_turns", "is_parallelizable": False}

    def __init__(self) -> None:
        super().__init__()
        self.possible_agents = list(AGENTS)
        self.np_random = np.random.default_rng(0)
        self.render_mode = None

    def observation_space(self, agent: str) -> spaces.Space:
        return BOX

    def action_space(self, agent: str) -> spaces.Space:
        return Sound.actions

    def observe(self, agent: str) -> np.ndarray:
        return self.seen

    def draw(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def info(self) -> dict:
        return {}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents = list(AGENTS)
        self.t = 0
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos = {agent: self.info() for agent in AGENTS}
        self.agent_selection = AGENTS[0]
        self.seen = self.draw()

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self.t += 1
        self.rewards = {name: float(action) * (name == agent) for name in self.agents}
        self._accumulate_rewards()
        if self.t == 2 * LENGTH:
            self.truncations = dict.fromkeys(AGENTS, True)
        self.infos = {name: self.info() for name in self.agents}
        self.seen = self.draw()
        self.agent_selection = AGENTS[self.t % 2]

    def render(self):
        return None

    def close(self):
        return None


class TurnsOutOfBounds(SoundTurns):
    def draw(self):
        return super().draw() + np.float32(3 * (self.t == 5))


class TurnsGlobal(SoundTurns):
    def draw(self):
        return np.random.uniform(-1, 1, 3).astype(np.float32)  # noqa: NPY002


class TurnsClocked(SoundTurns):
    """Its infos are never the same."""

    def info(self):
        return {"clock": time.perf_counter_ns()}


class TurnsForget(SoundTurns):
    """Never gives a dead agent its last turn."""

    def step(self, action):
        super().step(action)
        if self.t == 2 * LENGTH:
            self.agents = []
            for said in (self.rewards, self.terminations, self.truncations, self.infos):
                said.clear()


class SoundSingle(gymnasium.Env):
    observation_space = BOX
    action_space = spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.t += 1
        return self.observe(), float(action), False, self.t == LENGTH, {}


class SingleSeedsAlone(SoundSingle):
    """Draws from a generator of its own, which gymnasium's checker misses."""

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.own = np.random.default_rng(seed)
        self.t = 0
        return self.observe(), {}

    own = np.random.default_rng(0)

    def observe(self):
        return self.own.uniform(-1, 1, 3).astype(np.float32)
