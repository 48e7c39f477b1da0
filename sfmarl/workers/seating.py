"""Who sits where: at every episode boundary each seat of an environment is given to a player."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Players = tuple[int, ...]
"""One entry per seat: the index of the split's block whose player sits there (>= 0), or `frozen(k)`."""


def frozen(player: int) -> int:
    """Return the seat entry of the k-th player that does not learn; its own inverse."""
    return -1 - player


class Acts(Protocol):
    """Who acts inside the rollout worker (envs/script.py)."""

    generator: np.random.Generator
    """Where its draws come from."""

    def act(
        self, obs: np.ndarray, action_mask: np.ndarray | None, agent_index: np.ndarray | None
    ) -> tuple[np.ndarray, Any]:
        """Return (stored actions [B, A, *action], anything) for obs [B, A, *obs] and masks [B, A, n]."""
        ...


class Seating(Protocol):
    """One decision per match: called once when an episode begins, never within it."""

    def draw(self, env: int) -> Players:
        """Return the players of env `env`'s next episode, one per seat. A block may appear at most once."""
        ...

    @property
    def identity(self) -> np.ndarray | None:
        """Who sits where in the running matches, int64 [E, seats]: the same array always. None without a league."""
        ...

    @property
    def generators(self) -> Sequence[np.random.Generator]:
        """What it draws from: none if nothing is random."""
        ...


class HomeSeating:
    """Every player at home, always."""

    identity = None
    generators = ()

    def __init__(self, players: Sequence[int]) -> None:
        """`players` has one entry per seat."""
        self._players = tuple(players)

    def draw(self, env: int) -> Players:
        """See Seating."""
        return self._players
