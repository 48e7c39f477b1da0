"""Opponents out of the league: whom every learning player is to meet next, and which games would tell most.

pool, results --View--> Role, Matchmaker --> distribution over opponents
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sfmarl.config import LeagueConfig
from sfmarl.league.matchmakers import Matchmaker
from sfmarl.league.meta import make_meta_strategy
from sfmarl.league.payoff import Cell
from sfmarl.league.pool import SnapshotPool
from sfmarl.league.roles import Role
from sfmarl.league.view import LivePlayer, View, view
from sfmarl.run.league_results import Results


class Pairing:
    """What the learning players see, and what their roles make of it. It decides nothing that lasts."""

    def __init__(
        self,
        settings: LeagueConfig,
        roles: Sequence[Role],
        matchmaker: Matchmaker,
        pool: SnapshotPool,
        results: Results,
    ) -> None:
        """`roles` are those of the learning players, by their number; `matchmaker` is that of the `simple` ones.

        Raises UsageError for a meta-strategy that cannot be read.
        """
        self._settings, self._names, self._roles = settings, list(settings.roles), list(roles)
        self._pool, self._results = pool, results
        needs_meta = getattr(matchmaker, "needs_meta", False) and any(role.name == "simple" for role in roles)
        self._meta = make_meta_strategy(settings.meta_strategy) if needs_meta else None
        self._keys: tuple[str, ...] = ()
        self._latest = np.zeros((len(roles), 0))

    @property
    def curiosity(self) -> float:
        """How much every snapshot should be live though nobody wants to meet it: so little that it only fills room.

        A meta-strategy rests on games between all snapshots, also those that it gives no weight.
        """
        return 0.0 if self._meta is None else 1e-9

    def view(self, player: int) -> View:
        """Return what a learning player sees."""
        live = [LivePlayer(name, role) for name, role in self._settings.roles.items()]
        results = self._results
        meta = None if self._meta is None else self._meta.mixture(self._pool.addresses, results.payoff)
        return view(
            self._names[player],
            self._pool.entries,
            results.payoff,
            live,
            results.elo.ratings,
            quality=results.quality.scores,
            meta=meta,
        )

    def wanted(self) -> np.ndarray:
        """Return whom the players should meet, [P, entries + P] float64; every row sums to 1."""
        self._latest = np.stack([self._of(player) for player in range(len(self._names))])
        self._keys = (*self._pool.addresses, *self._names)
        return self._latest

    def latest(self, player: int) -> dict[str, float]:
        """Return key -> probability of whom a learning player should meet, as `wanted` said last."""
        found: dict[str, float] = {}
        for key, probability in zip(self._keys, self._latest[player].tolist(), strict=True):
            found[key] = found.get(key, 0.0) + probability
        return found

    def _of(self, player: int) -> np.ndarray:
        role = self._roles[player]
        chosen = role.distribution(self.view(player))
        if role.name == "simple":
            chosen = (1.0 - self._settings.self_play) * chosen
            chosen[len(self._pool) + player] += self._settings.self_play
        return chosen

    def evaluations(self, columns: Mapping[str, int], count: int) -> np.ndarray:
        """Return `count` kinds of match, [m, seats] columns, among players that can play now: key -> column.

        Up to half of them have learning players against scripts, which nobody meets otherwise and whose results age;
        the others are the least certain ones.
        """
        payoff, settings = self._results.payoff, self._settings
        against = itertools.product(settings.roles, settings.scripts, range(payoff.seats))
        cells = [Cell(*cell) for cell in against if {*cell[:2]} <= columns.keys()][: count // 2]
        cells += payoff.least_certain(list(columns), count - len(cells))
        matches = np.array([[columns[cell.column]] * payoff.seats for cell in cells], np.int64)
        for match, cell in zip(matches, cells, strict=True):
            match[cell.seat] = columns[cell.row]
        return matches.reshape(-1, payoff.seats)


def restricted(row: np.ndarray, own: int) -> np.ndarray:
    """Return a player's distribution over those that can be met, from what is left of it when the others are out.

    What is missing goes to the rest in proportion; self-play, column `own`, keeps its share.
    """
    others = row.sum() - row[own]
    if others > 0.0:
        return row * np.where(np.arange(len(row)) == own, 1.0, (1.0 - row[own]) / others)
    return np.where(np.arange(len(row)) == own, 1.0, row)
