"""Tiny parallel environments, each with exactly one fault, and the sound ones they are made from."""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

AGENTS = ["x_0", "x_1"]
LENGTH = 6
BOX = spaces.Box(-1, 1, (3,), np.float32)
MASKED = spaces.Dict({"observation": BOX, "action_mask": spaces.MultiBinary(4)})


class Sound(ParallelEnv):
    """Two agents see random numbers for `LENGTH` steps and earn what they do."""

    metadata: ClassVar = {"name": "sound"}
    space: spaces.Space = BOX
    actions: spaces.Space = spaces.Discrete(4)
    length = LENGTH

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
        agents, over = self.agents, self.t == self.length
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


class Unflagged(Sound):
    """One agent is missing from the terminations."""

    def step(self, actions):
        observations, rewards, terminations, *rest = super().step(actions)
        terminations.pop("x_1", None)
        return observations, rewards, terminations, *rest


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


class FourAnswers(Sound):
    """Forgets the infos in the last step of its episodes, which probing does not reach."""

    length = 30

    def step(self, actions):
        said = super().step(actions)
        return said[:4] if self.t == 30 else said


class DoesNotClose(Sound):
    def close(self):
        raise OSError("the window is gone")


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
