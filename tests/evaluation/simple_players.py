"""Scripts whose every move is known, and a game of three seats."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

HERE = "tests.evaluation.simple_players"


def first(obs, action_mask, team, rng):
    """The first legal action."""
    return action_mask.argmax(-1)


def last(obs, action_mask, team, rng):
    """The last legal action."""
    return action_mask.shape[-1] - 1 - action_mask[..., ::-1].argmax(-1)


def middle(obs, action_mask, team, rng):
    """The legal action that has as many below it as above."""
    order = np.argsort(~action_mask, axis=-1, kind="stable")
    return np.take_along_axis(order, ((action_mask.sum(-1) - 1) // 2)[..., None], -1)[..., 0]


def zero(obs, action_mask, team, rng):
    return np.zeros(obs.shape[:2], np.int64)


def one(obs, action_mask, team, rng):
    return np.ones(obs.shape[:2], np.int64)


def two(obs, action_mask, team, rng):
    return np.full(obs.shape[:2], 2)


def killed(obs, action_mask, team, rng):
    os._exit(9)


class HighNumber(ParallelEnv):
    """Three players say a number at once; each is paid one by everybody who said a lower one."""

    metadata: ClassVar[dict[str, Any]] = {"name": "high_number"}
    render_mode = None

    def __init__(self, unfair: bool = False, told: tuple[str, ...] = ()) -> None:
        """`unfair`: everybody is paid one more, so that returns do not say who won. `told` are told their outcome."""
        self.possible_agents = ["north", "east", "south"]
        self.agents: list[str] = []
        self._gift, self._told = float(unfair), told

    def observation_space(self, agent):
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return {agent: np.ones(1, np.float32) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions):
        said = np.array([actions[agent] for agent in self.possible_agents])
        paid = np.sign(said[:, None] - said[None, :]).sum(1) + self._gift
        self.agents = []
        everybody = self.possible_agents
        place = dict(zip(everybody, np.sign(paid - self._gift), strict=True))
        return (
            {agent: np.ones(1, np.float32) for agent in everybody},
            dict(zip(everybody, map(float, paid), strict=True)),
            dict.fromkeys(everybody, True),
            dict.fromkeys(everybody, False),
            {agent: {"outcome": place[agent]} if agent in self._told else {} for agent in everybody},
        )
