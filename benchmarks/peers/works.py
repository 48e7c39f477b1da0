"""What every peer trains on: PettingZoo environments, built and counted in the same way for all of them.

Peers' drivers import it in their own virtual environments, which have NumPy, gymnasium, pettingzoo and mpe2.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.meters import Meter

GAMES = Path(__file__).resolve().parents[2] / "sfmarl" / "envs" / "games.py"
"""Loaded by its path: the package around it needs torch and more, this file does not."""


@dataclass(frozen=True)
class Work:
    """One environment and what an update of it takes."""

    name: str
    """`spread` or `dict`, as in throughput.py."""
    agents: int
    """Agents of one environment; all of them act at every step."""
    batch_size: int
    """Agent-steps of an update."""
    rollout: int = 32
    """Time steps of a trajectory."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of actor and of critic, with tanh."""

    @property
    def batch_env_steps(self) -> int:
        """Env-steps of an update."""
        return self.batch_size // self.agents


WORKS = {"spread": Work("spread", 3, 6144), "dict": Work("dict", 8, 8192)}


def make_env(name: str) -> CountedEnv:
    """Build a work's environment; its agent-steps are counted if the process was started by a measurement."""
    if name == "spread":
        from mpe2 import simple_spread_v3

        return CountedEnv(simple_spread_v3.parallel_env())
    spec = importlib.util.spec_from_file_location("sfmarl_games", GAMES)
    games = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(games)
    return CountedEnv(games.DictEnv())


class CountedEnv:
    """A parallel environment that counts the actions it is given: what a trainer calls a step does not matter."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.agents = list(env.possible_agents)
        self.observation_space = env.observation_space(self.agents[0])
        self.action_space = env.action_space(self.agents[0])
        self._meter = Meter.from_environment(f"sampled-{os.getpid()}")

    def reset(self, seed: int | None = None) -> dict[str, Any]:
        """Return the first observations of an episode."""
        return self.env.reset(seed=seed)[0]

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Step once; in these environments every agent lives until the episode ends."""
        self._meter.add(len(actions))
        return self.env.step(actions)
