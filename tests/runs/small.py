"""Settings of runs that last a second or two, and environments that misbehave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import psutil

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


class Recording(MatrixGame):
    """The climbing game; remembers every seed any copy of it was reset with."""

    seeds: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__(PAYOFF)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.seeds.append(seed)
        return super().reset(seed, options)


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
