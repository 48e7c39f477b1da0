"""Tiny environments, each with exactly one fault, and the sound ones they are made from."""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

AGENTS = ["x_0", "x_1"]
LENGTH = 6
BOX = spaces.Box(-1, 1, (3,), np.float32)
MASKED = spaces.Dict({"observation": BOX, "action_mask": spaces.MultiBinary(4)})


class Sound(ParallelEnv):
    """Two agents see random numbers for `LENGTH` steps and earn what they do."""

    metadata: ClassVar = {"name": "sound"}
    space: spaces.Space = BOX
    actions: spaces.Space = spaces.Discrete(4)

    def __init__(self) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.np_random = np.random.default_rng(0)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.space

    def action_space(self, agent: str) -> spaces.Space:
        return self.actions

    def observe(self, agent: str) -> Any:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def state(self) -> np.ndarray:
        return np.array([self.t, 1.0], np.float32)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.t = 0
        return {a: self.observe(a) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions):
        self.t += 1
        agents, over = self.agents, self.t == LENGTH
        if over:
            self.agents = []
        return (
            {a: self.observe(a) for a in agents},
            {a: float(np.sum(actions[a])) for a in agents},
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {a: {} for a in agents},
        )


class SoundMasked(Sound):
    space = MASKED

    def legal(self) -> np.ndarray:
        return np.array([1, 0, 1, 1], np.int8)

    def observe(self, agent):
        return {"observation": super().observe(agent), "action_mask": self.legal()}

    def step(self, actions):
        assert 1 not in actions.values()
        return super().step(actions)


class Float64(Sound):
    def observe(self, agent):
        return super().observe(agent).astype(np.float64)


class OutOfBounds(Sound):
    def observe(self, agent):
        return super().observe(agent) + np.float32([0, 0, 5 * (self.t == 4)])


class WrongShapeLater(Sound):
    def observe(self, agent):
        return np.zeros(4 if self.t == 5 and self.resets > 3 else 3, np.float32)

    resets = 0

    def reset(self, seed=None, options=None):
        self.resets += 1
        self.t = 0
        return super().reset(seed, options)


class Unseeded(Sound):
    def reset(self, seed=None, options=None):
        return super().reset(int(time.perf_counter_ns() % 2**31))


class NumpyGlobal(Sound):
    def observe(self, agent):
        return np.random.uniform(-1, 1, 3).astype(np.float32)  # noqa: NPY002


class PythonGlobal(Sound):
    def observe(self, agent):
        return np.float32([random.uniform(-1, 1), 0, 0])


class EmptyMaskLater(SoundMasked):
    resets = 0

    def reset(self, seed=None, options=None):
        self.resets += 1
        self.t = 0
        return super().reset(seed, options)

    def legal(self):
        return np.zeros(4, np.int8) if self.resets > 4 and self.t == 2 else super().legal()


class ShortMaskLater(EmptyMaskLater):
    def legal(self):
        return np.ones(3, np.int8) if self.resets > 4 and self.t == 2 else SoundMasked.legal(self)


class OddMask(SoundMasked):
    def legal(self):
        return np.array([1, 0, 2, 1], np.int8)


class RefusesLegal(SoundMasked):
    """Its mask allows action 3, which it refuses, as it finds out late."""

    resets = 0

    def reset(self, seed=None, options=None):
        self.resets += 1
        return super().reset(seed, options)

    def step(self, actions):
        if self.resets > 4 and 3 in actions.values():
            raise ValueError("there is a wall")
        return super().step(actions)


class RefusesBounds(Sound):
    """Takes what lies inside its action space, but not on its bounds."""

    actions = spaces.Box(-1, 1, (2,), np.float32)

    def step(self, actions):
        if any((np.abs(a) == 1).any() for a in actions.values()):
            raise ValueError("the motor is blocked")
        return super().step(actions)


class SoundBox(Sound):
    actions = spaces.Box(-1, 1, (2,), np.float32)


class GrowingState(Sound):
    """Its state grows in later episodes."""

    resets = 0

    def reset(self, seed=None, options=None):
        self.resets += 1
        return super().reset(seed, options)

    def state(self):
        return np.zeros(2 + (self.resets > 5), np.float32)


class InfiniteState(Sound):
    def state(self):
        return np.array([self.t, np.inf if self.t == 3 else 0.0])


class Reuses(Sound):
    """Hands out one array for ever."""

    def __init__(self):
        super().__init__()
        self.buffers = {agent: np.zeros(3, np.float32) for agent in AGENTS}

    def observe(self, agent):
        self.buffers[agent][...] = super().observe(agent)
        return self.buffers[agent]


class Shares(Sound):
    """All copies hand out the same array."""

    buffer = np.zeros(3, np.float32)

    def observe(self, agent):
        self.buffer[...] = super().observe(agent) if self.t == 0 else self.buffer
        return self.buffer


class InfiniteReward(Sound):
    def step(self, actions):
        said = super().step(actions)
        said[1]["x_1"] = float("inf") if self.t == 4 else 0.0
        return said


class Endless(Sound):
    def step(self, actions):
        self.t = 0
        return super().step(actions)


class Vanishes(Sound):
    def step(self, actions):
        said = super().step(actions)
        if self.t == 3:
            self.agents = ["x_0"]
            del said[0]["x_1"]
        return said


class Unpaid(Sound):
    def step(self, actions):
        said = super().step(actions)
        if self.t == 2:
            del said[1]["x_0"]
        return said


class CutBlind(Sound):
    """Is truncated without a last observation."""

    def step(self, actions):
        said = super().step(actions)
        if self.t == LENGTH:
            said[0].clear()
        return said


class Stranger(Sound):
    """Somebody who is not in possible_agents joins late."""

    resets = 0

    def reset(self, seed=None, options=None):
        self.resets += 1
        return super().reset(seed, options)

    def step(self, actions):
        said = super().step(actions)
        if self.resets > 3 and self.t == 2:
            self.agents = [*self.agents, "y_0"]
            for part, value in zip(said, (np.zeros(3, np.float32), 0.0, False, False, {}), strict=True):
                part["y_0"] = value
        return said


class NewSpaces(Sound):
    """Builds its spaces anew at every question."""

    def observation_space(self, agent):
        return spaces.Box(-1, 1, (3,), np.float32)


class NoOptions(Sound):
    """Its reset() takes no options."""

    def reset(self, seed=None):
        return super().reset(seed)


class Slow(Sound):
    """Never ends, and counts the steps of all copies."""

    steps = 0

    def step(self, actions):
        Slow.steps += 1
        self.t = 0
        time.sleep(0.02)
        return super().step(actions)


class Chatty(Sound):
    """Prints and warns at every step."""

    def step(self, actions):
        print("stepping")
        return super().step(actions)


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
