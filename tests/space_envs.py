"""ParallelEnvs with integer agents, nested spaces and actions that are checked, for whole runs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ACTIONS = {
    "tuple": spaces.Tuple((spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 4]))),
    "dict": spaces.Dict({"walk": spaces.Discrete(3), "grab": spaces.MultiBinary(2)}),
    "box": spaces.Box(-0.1, 0.1, (2,), np.float64),
    "boxes": spaces.Dict(
        {"turn": spaces.Box(-0.5, 0.5, (1, 2), np.float32), "go": spaces.Box(-np.inf, np.inf, (1,), np.float32)}
    ),
}


class Echo(ParallelEnv):
    """Three agents 0, 1, 2; each observes what it did last, flattened; a wrong action ends the run.

    Agent 2 has a name of its own kind of space, so there are two teams. Episodes are truncated after `length` steps.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "echo"}

    def __init__(self, actions: str = "tuple", length: int = 7) -> None:
        self.possible_agents = [0, 1, 2]
        self.agents: list[int] = []
        self.render_mode = None
        self._action = ACTIONS[actions]
        self._length = length
        self._size = spaces.flatdim(self._action)

    def observation_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (self._size + (agent == 2),), np.float32)

    def action_space(self, agent):
        return self._action

    def reset(self, seed=None, options=None):
        self.agents, self._t = list(self.possible_agents), 0
        return {a: np.zeros(self._size + (a == 2), np.float32) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions):
        assert list(actions) == self.possible_agents
        for action in actions.values():
            assert self._action.contains(action), f"{action} is no {self._action}"
        self._t += 1
        over = self._t == self._length
        told = {a: spaces.flatten(self._action, actions[a]).astype(np.float32) for a in self.agents}
        told[2] = np.append(told[2], np.float32(1))
        everyone = self.possible_agents
        self.agents = [] if over else list(everyone)
        no, cut = dict.fromkeys(everyone, False), dict.fromkeys(everyone, over)
        return told, dict.fromkeys(everyone, 1.0), no, cut, {a: {} for a in everyone}


VIEW = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (8, 9, 3), np.uint8),
        "pose": spaces.Box(-1, 1, (2,), np.float64),
        "mode": spaces.Discrete(4),
    }
)


class Seeing(ParallelEnv):
    """Two agents 0 and 1 see a picture beside a vector, with a mask of Tuple actions that they must keep to.

    The picture's mean tells which `walk` pays. With `bad_at` something goes wrong at that step of each episode, as
    `bad` says: `nan`, `shape`, `dtype`, `mask` or `reject`.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "seeing"}

    def __init__(self, length: int = 8, bad: str = "", bad_at: int = 0) -> None:
        self.possible_agents = [0, 1]
        self.agents: list[int] = []
        self.render_mode = None
        self._length, self._bad, self._bad_at = length, bad, bad_at
        self._rng = np.random.default_rng()

    def observation_space(self, agent):
        return spaces.Dict({"observation": VIEW, "action_mask": spaces.MultiBinary(5)})

    def action_space(self, agent):
        return spaces.Tuple((spaces.Discrete(3), spaces.Discrete(2)))

    def _observe(self):
        self.seen = {}
        for agent in self.possible_agents:
            self._wanted = int(self._rng.integers(2))
            mask = np.array([1, 1, self._rng.integers(2), *((1, 0) if self._rng.random() < 0.5 else (0, 1))], np.int8)
            camera = self._rng.integers(0, 100, (8, 9, 3)).astype(np.uint8) + np.uint8(150 * self._wanted)
            pose, mode = self._rng.uniform(-1, 1, 2), int(self._rng.integers(4))
            view = {"camera": camera, "pose": pose, "mode": mode}
            if agent == 1 and self._t == self._bad_at:
                if self._bad == "nan":
                    pose[1] = np.nan
                elif self._bad == "shape":
                    view["camera"] = camera[1:]
                elif self._bad == "dtype":
                    view["camera"] = camera / 255.0
                elif self._bad == "mask":
                    mask[3:] = 0
            self.seen[agent] = {"observation": view, "action_mask": mask}
        return self.seen

    def reset(self, seed=None, options=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.agents, self._t = list(self.possible_agents), 0
        return self._observe(), {a: {} for a in self.agents}

    def step(self, actions):
        for agent, (walk, grab) in actions.items():
            mask = self.seen[agent]["action_mask"]
            if not mask[walk] or not mask[3 + grab] or (self._bad == "reject" and self._t + 1 == self._bad_at):
                raise ValueError(f"illegal: {actions[agent]}")
        self._t += 1
        over = self._t == self._length
        everyone = self.possible_agents
        self.agents = [] if over else list(everyone)
        no, cut = dict.fromkeys(everyone, False), dict.fromkeys(everyone, over)
        return self._observe(), dict.fromkeys(everyone, 1.0), no, cut, {a: {} for a in everyone}
