"""What a matchmaker sees: the opponents a player could meet, and how it fares against each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sfmarl.league.payoff import Payoff
from sfmarl.league.pool import PoolEntry


@dataclass(frozen=True)
class LivePlayer:
    """A player that is learning now, as an opponent."""

    name: str
    """Its name, which is also its key in the payoff table."""
    role: str = "simple"
    """Its role."""


@dataclass(frozen=True)
class View:
    """P opponents as one player sees them: frozen ones, oldest first, then those that are learning."""

    player: str
    """Who asks."""
    keys: tuple[str, ...]
    """[P] addresses of snapshots, names of live players; duplicates as in the pool."""
    players: tuple[str, ...]
    """[P] whose policy each is."""
    roles: tuple[str, ...]
    """[P] that player's role."""
    live: np.ndarray
    """[P] bool: learning now, not frozen."""
    win_rates: np.ndarray
    """[P] float64: x, how often who asks beats each; .5 without games."""
    games: np.ndarray
    """[P] float64: games that x is made of."""
    rating: float
    """Who asks, on the Elo scale."""
    ratings: np.ndarray
    """[P] float64: the opponents on that scale."""
    quality: np.ndarray
    """[P] float64: OpenAI Five's q (`quality.py`)."""
    meta: np.ndarray | None = None
    """[P] float64: a meta-strategy over the opponents, if one was computed."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def frozen(self) -> np.ndarray:
        """[P] bool: snapshots; all opponents while there are no snapshots."""
        return ~self.live if (~self.live).any() else np.ones(len(self), bool)

    def of(self, player: str) -> np.ndarray:
        """Return which opponents [P] bool are policies of `player`."""
        return np.array([name == player for name in self.players], bool)

    def in_role(self, role: str) -> np.ndarray:
        """Return which opponents [P] bool are policies of players in `role`."""
        return np.array([name == role for name in self.roles], bool)


def view(
    player: str,
    entries: Sequence[PoolEntry],
    payoff: Payoff,
    live: Sequence[LivePlayer] = (),
    ratings: Mapping[str, float] | None = None,
    quality: Mapping[str, float] | None = None,
    meta: Mapping[str, float] | None = None,
) -> View:
    """Return what `player` sees. `ratings`, `quality` and `meta` are by key; who is absent there counts as 0.

    Probabilities of `meta` belong to keys: a key that is in the pool several times has its share divided.
    """
    keys = (*(entry.address for entry in entries), *(other.name for other in live))
    counts = payoff.counts([player], keys)
    ratings, quality = ratings or {}, quality or {}
    copies = Counter(keys)
    shares = None if meta is None else np.array([meta.get(key, 0.0) / copies[key] for key in keys])
    return View(
        player=player,
        keys=keys,
        players=(*(entry.meta.player for entry in entries), *(other.name for other in live)),
        roles=(*(entry.meta.role for entry in entries), *(other.role for other in live)),
        live=np.arange(len(keys)) >= len(entries),
        win_rates=counts.win_rate[0],
        games=counts.games[0],
        rating=ratings.get(player, 0.0),
        ratings=np.array([ratings.get(key, 0.0) for key in keys]),
        quality=np.array([quality.get(key, 0.0) for key in keys]),
        meta=shares,
    )
