"""Who sits where: at every episode boundary each seat of an environment is given to a player."""

from __future__ import annotations

from typing import Protocol

Players = tuple[int, ...]
"""One entry per seat: the index of the split's block whose player sits there (>= 0), or `frozen(k)`."""


def frozen(player: int) -> int:
    """Return the seat entry of the k-th player that does not learn; its own inverse."""
    return -1 - player


class Seating(Protocol):
    """One decision per match: called once when an episode begins, never within it."""

    def draw(self, env: int) -> Players:
        """Return the players of env `env`'s next episode, one per seat. A block may appear at most once."""
        ...


class HomeSeating:
    """Every player at home: seat s is block s's."""

    def __init__(self, seats: int) -> None:
        self._players = tuple(range(seats))

    def draw(self, env: int) -> Players:
        """See Seating."""
        return self._players
