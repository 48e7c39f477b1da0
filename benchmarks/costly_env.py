"""An environment whose step takes a given time and next to no work: what is left is the trainer's own cost."""

from __future__ import annotations

import time

from sfmarl.envs.games import DictEnv
from sfmarl.envs.registry import register_env

SPIN_BELOW = 1e-4
"""Seconds up to which a step waits busily: the kernel wakes a sleeper some 50 us late."""


class CostlyEnv(DictEnv):
    """The yardstick environment with `microseconds` more per step: asleep, as if somebody else computed it, or busy.

    A sleeping step takes no core, so that more workers than cores can be told apart from too few cores.
    """

    def __init__(self, microseconds: float = 1000.0, num_agents: int = 2, obs_size: int = 8) -> None:
        super().__init__(num_agents=num_agents, obs_size=obs_size)
        self.seconds = 1e-6 * microseconds

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Wait, then answer from the bank."""
        if self.seconds < SPIN_BELOW:
            until = time.perf_counter() + self.seconds
            while time.perf_counter() < until:
                pass
        else:
            time.sleep(self.seconds)
        return super().step(actions)


register_env("benchmark/costly", CostlyEnv, "a step takes a given time")
