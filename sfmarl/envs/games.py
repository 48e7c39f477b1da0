"""Small parallel games: a throughput yardstick and matrix games with known optima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

BANK = 16


class DictEnv(ParallelEnv):
    """A PettingZoo env that costs next to nothing: what it answers is built once and handed out again and again.

    Observations and rewards cycle through a bank drawn at the seeded reset; actions do not matter. An episode is
    truncated after `length` steps. With `masks` each agent is told which actions are legal, at least one of them.
    `native/dict` is the same environment, many copies at once.
    """

    metadata: ClassVar = {"name": "dict"}

    def __init__(
        self,
        num_agents: int = 8,
        obs_size: int = 32,
        num_actions: int = 5,
        length: int = 128,
        masks: bool = False,
        image_size: int = 0,
    ) -> None:
        """`image_size` > 0: agents see uint8 pictures [image_size, image_size, 4] instead of `obs_size` floats."""
        self.render_mode = None
        self.possible_agents = [f"agent_{i}" for i in range(num_agents)]
        self.agents: list[str] = []
        self.length, self.masks, self.num_actions = length, masks, num_actions
        space: spaces.Space = spaces.Box(-1.0, 1.0, (obs_size,), np.float32)
        if image_size:
            space = spaces.Box(0, 255, (image_size, image_size, 4), np.uint8)
        self.box = space
        if masks:
            space = spaces.Dict({"observation": space, "action_mask": spaces.Box(0, 1, (num_actions,), np.int8)})
        self._observation_space = space
        self._action_space = spaces.Discrete(num_actions)
        self._infos: dict[str, dict] = {agent: {} for agent in self.possible_agents}
        self._no = dict.fromkeys(self.possible_agents, False)
        self._yes = dict.fromkeys(self.possible_agents, True)
        self._bank: list[tuple[dict, dict]] = []
        self._t = 0

    def observation_space(self, agent: str) -> spaces.Space:
        """Return Box(-1, 1, [obs_size]) or Box(0, 255, [image_size, image_size, 4]), with masks inside a Dict."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return Discrete(num_actions)."""
        return self._action_space

    def draw(self, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Draw a bank: BANK times (observations [A, ...], rewards float64 [A], masks int8 [A, n])."""
        agents, shape = len(self.possible_agents), self.box.shape
        bank = []
        for _ in range(BANK):
            if self.box.dtype == np.uint8:
                obs = rng.integers(0, 256, (agents, *shape), np.uint8)
            else:
                obs = rng.uniform(-1, 1, (agents, *shape)).astype(np.float32)
            rewards, masks = rng.uniform(size=agents), np.ones((agents, self.num_actions), np.int8)
            if self.masks:
                masks = rng.integers(0, 2, masks.shape, np.int8)
                masks[np.arange(agents), rng.integers(self.num_actions, size=agents)] = 1
            bank.append((obs, rewards, masks))
        return bank

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; a seed draws a new bank."""
        if seed is not None or not self._bank:
            self._bank = []
            for obs, rewards, masks in self.draw(np.random.default_rng(seed)):
                # arrays of their own, as an environment makes them
                seen: list[Any] = [row.copy() for row in obs]
                if self.masks:
                    seen = [{"observation": o, "action_mask": m.copy()} for o, m in zip(seen, masks, strict=True)]
                self._bank.append(
                    (dict(zip(self._no, seen, strict=True)), dict(zip(self._no, rewards.tolist(), strict=True)))
                )
        self._t = 0
        self.agents = list(self.possible_agents)
        return self._bank[0][0], self._infos

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Answer from the bank."""
        self._t += 1
        observations, rewards = self._bank[self._t % BANK]
        if self._t < self.length:
            return observations, rewards, self._no, self._no, self._infos
        self.agents = []
        return observations, rewards, self._no, self._yes, self._infos


class MatrixGame(ParallelEnv):
    """Two agents play one common-reward matrix game `length` times; both earn `payoff[a_0][a_1]` each time.

    The observation is constant, so a policy can only be a mixed action. The episode is truncated, not terminated: the
    game would go on. Climbing and penalty game: Claus & Boutilier (1998), "The dynamics of reinforcement learning in
    cooperative multiagent systems".
    """

    metadata: ClassVar = {"name": "matrix_game"}

    def __init__(self, payoff: Sequence[Sequence[float]], length: int = 25) -> None:
        self.render_mode = None
        self.payoff = [[float(value) for value in row] for row in payoff]
        self.length = length
        self.possible_agents = ["agent_0", "agent_1"]
        self.agents: list[str] = []
        self._observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self._action_spaces = {
            "agent_0": spaces.Discrete(len(self.payoff)),
            "agent_1": spaces.Discrete(len(self.payoff[0])),
        }
        self._observations = {agent: np.ones(1, np.float32) for agent in self.possible_agents}
        self._t = 0

    def observation_space(self, agent: str) -> spaces.Box:
        """Return Box(0, 1, [1])."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return one choice per row (agent_0) or column (agent_1)."""
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; nothing is random."""
        self._t = 0
        self.agents = list(self.possible_agents)
        return self._observations, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Play once."""
        self._t += 1
        reward = self.payoff[actions["agent_0"]][actions["agent_1"]]
        over = self._t >= self.length
        players = self.possible_agents
        if over:
            self.agents = []
        return (
            self._observations,
            dict.fromkeys(players, reward),
            dict.fromkeys(players, False),
            dict.fromkeys(players, over),
            {agent: {} for agent in players},
        )


def climbing(length: int = 25) -> MatrixGame:
    """Return the climbing game: the optimum (11) lies beside penalties of -30; the usual trap is 7."""
    return MatrixGame([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], length)


def penalty(k: float = -100.0, length: int = 25) -> MatrixGame:
    """Return the penalty game: two optima (10) that cost `k` <= 0 when mixed up; the safe choice is 2."""
    return MatrixGame([[k, 0, 10], [0, 2, 0], [10, 0, k]], length)
