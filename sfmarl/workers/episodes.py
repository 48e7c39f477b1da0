"""Finished episodes of a split, kept until the main process asks for them."""

from __future__ import annotations

import numpy as np


class EpisodeLog:
    """Sums each running episode's rewards as the environment gave them, and keeps the finished ones."""

    def __init__(self, envs: int, agents: int) -> None:
        self._returns = np.zeros((envs, agents))
        self._lengths = np.zeros(envs, np.int64)
        self._finished: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rewards: list[np.ndarray], running: np.ndarray) -> None:
        """Add one step: rewards per seat [E, A] and which envs were stepped, bool [E]."""
        first = 0
        for reward in rewards:
            self._returns[:, first : first + reward.shape[1]] += reward
            first += reward.shape[1]
        self._lengths += running

    def add_agent(self, env: int, agent: int, reward: float) -> None:
        """Add one agent's reward of one env (turn-based environments)."""
        self._returns[env, agent] += reward

    def add_steps(self, envs: list[int]) -> None:
        """Count one step of each of `envs` (turn-based environments)."""
        self._lengths[envs] += 1

    def finish(self, envs: np.ndarray | list[int]) -> None:
        """Close the episodes of `envs`."""
        self._finished.append((self._returns[envs], self._lengths[envs]))
        self._returns[envs] = 0
        self._lengths[envs] = 0

    def drain(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (undiscounted returns float64 [n, agents in seat order], lengths int64 [n]) since the last call."""
        if not self._finished:
            return None
        returns, lengths = zip(*self._finished, strict=True)
        self._finished = []
        return np.concatenate(returns), np.concatenate(lengths)
