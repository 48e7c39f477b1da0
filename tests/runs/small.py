"""Settings of runs that last a second or two, and environments that misbehave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from gymnasium import spaces
from pettingzoo import ParallelEnv

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config
from sfmarl.envs.games import MatrixGame

PAYOFF = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]


def config(run_dir: Path, **settings: Any) -> Config:
    """Return a run of 4 x 2 environments of the climbing game with a small network."""
    hp = settings.pop("hp", None) or Hyperparameters(critic="own", hidden=(16,), epochs=2, returns="vtrace")
    defaults = {
        "env": "games/climbing",
        "algo": "ippo",
        "hp": hp,
        "env_steps": 3000,
        "num_workers": 2,
        "num_envs_per_worker": 4,
        "rollout": 8,
        "eval_env_steps": 0,
        "final_eval_episodes": 0,
        "log_seconds": 0.5,
        "quiet": True,
        "run_dir": run_dir,
    }
    return Config(**{**defaults, **settings})


class RaisesAtStep(MatrixGame):
    """The climbing game, until step 200 of its life."""

    def __init__(self) -> None:
        super().__init__(PAYOFF)
        self._lived = 0

    def step(self, actions):
        self._lived += 1
        if self._lived == 200:
            raise FloatingPointError("the physics exploded")
        return super().step(actions)


class RaisesInWorkers(MatrixGame):
    """Can be built twice in the main process, for the probe; its third copy cannot."""

    def __init__(self) -> None:
        if psutil.Process().name().startswith("sf-rollout"):
            raise OSError("no licence for a third simulator")
        super().__init__(PAYOFF)


class RaisesAtThird(MatrixGame):
    """The third copy cannot be built, wherever it is."""

    copies: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.copies.append(1)
        if len(self.copies) > 2:
            raise OSError("no licence for a third simulator")
        super().__init__(PAYOFF)


class Licensed(MatrixGame):
    """Seven copies may be open at a time."""

    open: ClassVar[set[MatrixGame]] = set()

    def __init__(self) -> None:
        if len(self.open) == 7:
            raise OSError("no licence for an eighth simulator")
        super().__init__(PAYOFF)
        self.open.add(self)

    def close(self) -> None:
        self.open.discard(self)


class Rivals(MatrixGame):
    """What one agent earns the other one pays."""

    def __init__(self) -> None:
        super().__init__(PAYOFF)

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        first, second = rewards
        return observations, {first: rewards[first], second: -rewards[first]}, *rest


class Recording(MatrixGame):
    """The climbing game; remembers every seed any copy of it was reset with."""

    seeds: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__(PAYOFF)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.seeds.append(seed)
        return super().reset(seed, options)


class Perilous(ParallelEnv):
    """Three agents that die and are born at random, see a Dict with a mask, and must never move illegally.

    Two teams of different sizes and action counts. Episodes are truncated or end by the last death.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "perilous"}

    def __init__(self) -> None:
        self.possible_agents = ["hunter_0", "hunter_1", "prey_0"]
        self.render_mode = None
        self._rng = np.random.default_rng()
        self._legal: dict[str, np.ndarray] = {}

    def observation_space(self, agent):
        n = self.action_space(agent).n
        return spaces.Dict({"observation": spaces.Box(-1, 1, (4,)), "action_mask": spaces.Box(0, 1, (n,), np.int8)})

    def action_space(self, agent):
        return spaces.Discrete(5 if agent == "prey_0" else 3)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.agents, self._clock = ["hunter_0", "prey_0"], 0
        return self._look(), {agent: {} for agent in self.agents}

    def _look(self):
        seen = {}
        for agent in self.agents:
            n = int(self.action_space(agent).n)
            self._legal[agent] = self._rng.permutation(n) < self._rng.integers(1, n + 1)
            seen[agent] = {
                "observation": self._rng.uniform(-1, 1, 4).astype(np.float32),
                "action_mask": self._legal[agent].astype(np.int8),
            }
        return seen

    def step(self, actions):
        assert set(actions) == set(self.agents)
        for agent, action in actions.items():
            assert self._legal[agent][action], f"illegal move {action} of {agent}"
        self._clock += 1
        acted = list(self.agents)
        over = self._clock == 20
        died = {agent: bool(agent != "prey_0" and self._rng.random() < 0.1) for agent in acted}
        self.agents = [] if over else [agent for agent in acted if not died[agent]]
        if not over and self._rng.random() < 0.2:
            born = [agent for agent in self.possible_agents if agent not in acted]
            self.agents = [agent for agent in self.possible_agents if agent in self.agents or agent in born]
        seen = self._look()
        for agent in acted:
            n = int(self.action_space(agent).n)
            seen.setdefault(agent, {"observation": np.zeros(4, np.float32), "action_mask": np.ones(n, np.int8)})
        truncated = {agent: over and not died[agent] for agent in acted}
        infos = {agent: {} for agent in seen}
        return seen, dict.fromkeys(acted, 1.0), died, truncated, infos


class Slow(MatrixGame):
    """The climbing game at a millisecond per step, so that a run lasts long enough to be disturbed."""

    def __init__(self) -> None:
        super().__init__(PAYOFF)

    def step(self, actions):
        time.sleep(0.001)
        return super().step(actions)


def children(role: str) -> list[psutil.Process]:
    """Return the processes of this test's run that play `role`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith(f"sf-{role}"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition, seconds: float = 90.0):
    """Poll until `condition()` is true and return its value; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value
