"""Who beat whom: games by ordered pair of players and by seat, the win rates they suggest and how sure those are.

A player is known by a key: a learning player's name, a snapshot's address, a script's name. Snapshots with one address
share a row, because they are the same policy.

    win rate     x = (wins + draws / 2) / games;  .5 without games
    interval     Wilson's score interval (Wilson 1927), 95 %, of x at `games` trials. A draw varies less than a win or a
                 loss, so with draws it is wider than it needs to be
    decay        before each game the counts of its pair, in all seats, are multiplied by `decay` (AlphaStar: .99), so
                 that results of a learning player fade. The interval then takes (sum of weights)^2 / (sum of squared
                 weights) for `games` (Kish's effective sample size)

A match of more than two seats is recorded as one game between each two of its seats: whoever's outcome is larger won
it. These games are not independent, so intervals over such matches are narrower than they should be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sfmarl.errors import UsageError
from sfmarl.league.outcome import check_outcome

Z95 = 1.959963984540054
"""0.975 quantile of the standard normal distribution."""

_WIN, _DRAW, _LOSS, _SQUARE = range(4)


class Cell(NamedTuple):
    """A kind of game to be scheduled."""

    row: str
    """Key of one player."""
    column: str
    """Key of its opponent."""
    seat: int
    """Seat that the row player takes."""


class Counts(NamedTuple):
    """Games between rows [R] and columns [C], as seen from the rows; each [R, C] float64 (weights, when they decay)."""

    wins: np.ndarray
    """The row player won."""
    draws: np.ndarray
    """Nobody did."""
    losses: np.ndarray
    """The column player won."""
    effective: np.ndarray
    """Games that the interval is made of: their number, or less when they decay."""

    @property
    def games(self) -> np.ndarray:
        """Their number, or the sum of their weights."""
        return self.wins + self.draws + self.losses

    @property
    def win_rate(self) -> np.ndarray:
        """(wins + draws / 2) / games; .5 without games."""
        games = self.games
        return np.where(games > 0, (self.wins + 0.5 * self.draws) / np.where(games > 0, games, 1.0), 0.5)

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper 95 % bound of the win rate; 0 and 1 without games."""
        return wilson(self.win_rate, self.effective)


def wilson(rate: ArrayLike, games: ArrayLike, z: float = Z95) -> tuple[np.ndarray, np.ndarray]:
    """Return the score interval of `rate` observed in `games` trials, both of one shape; 0 to 1 for no trials.

    `z` is the quantile of the standard normal distribution, by default that of 95 %.
    """
    p, n = np.asarray(rate, np.float64), np.asarray(games, np.float64)
    z2 = z * z
    centre = (n * p + z2 / 2) / (n + z2)
    half = z * np.sqrt(n * p * (1 - p) + z2 / 4) / (n + z2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


class Payoff:
    """Results of all games, growing as players come."""

    def __init__(self, seats: int = 2, decay: float = 1.0) -> None:
        """Raises UsageError for fewer than two seats or a decay outside (0, 1]."""
        if seats < 2:
            raise UsageError(f"a game of {seats} seat has no opponents; name an environment of two or more teams.")
        if not 0 < decay <= 1:
            raise UsageError(f"decay = {decay} of results is outside (0, 1]; AlphaStar takes .99, 1 keeps them all.")
        self.seats = seats
        self.decay = decay
        self._index: dict[str, int] = {}
        self._table = np.zeros((4, 0, 0, seats))  # wins, draws, losses, squared weights; [row, column, seat of the row]

    @property
    def keys(self) -> tuple[str, ...]:
        """Players in order of their first appearance."""
        return tuple(self._index)

    def add(self, key: str) -> None:
        """Make a player known; one that is known already stays as it is."""
        if key in self._index:
            return
        self._index[key] = len(self._index)
        if len(self._index) > self._table.shape[1]:
            size = max(8, 2 * self._table.shape[1])
            grown = np.zeros((4, size, size, self.seats))
            old = self._table.shape[1]
            grown[:, :old, :old] = self._table
            self._table = grown

    def record(self, players: Sequence[str], outcome: ArrayLike, times: int = 1) -> None:
        """Note a match: `players` [seats] are keys by seat, `outcome` [seats] as in outcome.py; unknown keys are added.

        `times` matches that ended alike count as if they had been played in a row.

        A player that sat in several seats is also noted against itself. Raises UsageError for an outcome that is none
        and for a wrong number of seats.
        """
        rows, result = self._seated(players, outcome)
        weight = squares = float(times)
        left = self.decay**times
        if self.decay < 1:
            weight, squares = (1 - left) / (1 - self.decay), (1 - left**2) / (1 - self.decay**2)
        for pair in _pairs(rows):
            self._fade(pair, left)
            self._add(pair, rows, result, weight, squares)

    def replay(self, kinds: Sequence[tuple[Sequence[str], ArrayLike]], order: ArrayLike) -> None:
        """Note many matches, each of one of few `kinds` (players and outcome as in `record`), in their `order`.

        The result is that of as many `record`s. Raises like it, before anything is noted.
        """
        seated = [self._seated(*kind) for kind in kinds]
        played = np.asarray(order, np.intp)
        kinds_of: dict[tuple[int, int], list[int]] = {}
        for kind, (rows, _) in enumerate(seated):
            for pair in _pairs(rows):
                kinds_of.setdefault(pair, []).append(kind)
        for pair, among in kinds_of.items():
            mine = played[np.isin(played, among)]
            weights = self.decay ** np.arange(len(mine))[::-1]
            weight, squares = (np.bincount(mine, w, len(kinds)) for w in (weights, weights**2))
            self._fade(pair, self.decay ** len(mine))
            for kind in among:
                self._add(pair, *seated[kind], weight[kind], squares[kind])

    def _seated(self, players: Sequence[str], outcome: ArrayLike) -> tuple[list[int], np.ndarray]:
        """Return rows and results [seats] of a match; players that are new are added."""
        result = check_outcome(outcome)
        if not len(players) == len(result) == self.seats:
            raise UsageError(
                f"a match of {len(players)} players with {len(result)} results does not fill {self.seats} seats."
            )
        for key in players:
            self.add(key)
        return [self._index[key] for key in players], result

    def _fade(self, pair: tuple[int, int], left: float) -> None:
        """Multiply the counts of a pair, in all seats."""
        for row, column in {pair, pair[::-1]}:
            self._table[: _LOSS + 1, row, column] *= left
            self._table[_SQUARE, row, column] *= left**2

    def _add(
        self, pair: tuple[int, int], rows: Sequence[int], result: np.ndarray, weight: float, squares: float
    ) -> None:
        """Add a match with `rows` [seats] to the counts of one of its pairs."""
        for seat, row in enumerate(rows):
            for other, column in enumerate(rows):
                if seat != other and (row, column) in (pair, pair[::-1]):
                    kind = _WIN if result[seat] > result[other] else _LOSS if result[seat] < result[other] else _DRAW
                    self._table[kind, row, column, seat] += weight
                    self._table[_SQUARE, row, column, seat] += squares

    def counts(self, rows: Sequence[str], columns: Sequence[str], seat: int | None = None) -> Counts:
        """Return the games of `rows` [R] against `columns` [C] with the row player in `seat`, or in any seat (None).

        Keys that nobody played yet have no games.
        """
        known = len(self._index)
        r = np.array([self._index.get(key, known) for key in rows], np.intp)
        c = np.array([self._index.get(key, known) for key in columns], np.intp)
        seats = slice(None) if seat is None else slice(seat, seat + 1)
        absent = (r == known)[:, None] | (c == known)[None, :]
        if known == 0:
            return Counts(*np.zeros((4, len(r), len(c))))
        table = self._table[:, np.minimum(r, known - 1)[:, None], np.minimum(c, known - 1)[None, :], seats].sum(-1)
        wins, draws, losses, squares = np.where(absent, 0.0, table)
        games = wins + draws + losses
        return Counts(wins, draws, losses, games**2 / np.where(squares > 0, squares, 1.0))

    def win_rates(self, rows: Sequence[str], columns: Sequence[str], seat: int | None = None) -> np.ndarray:
        """Return x [R, C] float64: how often `rows` beat `columns`, .5 without games.

        Over all seats (None) games are pooled as they were played: draws of opponents balance the seats.
        """
        return self.counts(rows, columns, seat).win_rate

    def win_rate(self, row: str, column: str, seat: int | None = None) -> float:
        """Return one entry of `win_rates`."""
        return float(self.win_rates([row], [column], seat)[0, 0])

    def least_certain(self, keys: Sequence[str], count: int) -> list[Cell]:
        """Return `count` games between distinct `keys`, each where the interval is widest when it is chosen.

        A chosen game narrows its cell's interval as if it had been played and left the win rate as it is. Among equals
        the first row, column and seat are taken. Empty when there are fewer than two keys.
        """
        keys = list(dict.fromkeys(keys))
        if len(keys) < 2:
            return []
        by_seat = [self.counts(keys, keys, seat) for seat in range(self.seats)]
        rate = np.stack([c.win_rate for c in by_seat], -1)
        games = np.stack([c.effective for c in by_seat], -1)
        upper = np.triu(np.ones((len(keys), len(keys)), bool), 1)[..., None]
        low, high = wilson(rate, games)
        width = np.where(upper, high - low, -1.0)
        chosen = []
        for _ in range(count):
            row, column, seat = cell = np.unravel_index(np.argmax(width), width.shape)
            chosen.append(Cell(keys[row], keys[column], int(seat)))
            games[cell] += 1
            low, high = wilson(rate[cell], games[cell])
            width[cell] = high - low
        return chosen

    def keep(self, keys: Collection[str]) -> None:
        """Forget all players but `keys`, and their games."""
        kept = [key for key in self._index if key in keys]
        rows = np.array([self._index[key] for key in kept], np.intp)
        self._table = self._table[:, rows[:, None], rows[None, :]].copy()
        self._index = {key: i for i, key in enumerate(kept)}

    def state_dict(self) -> dict[str, Any]:
        """Return all games as JSON types: cells that were played, [row, column, seat, wins, draws, losses, squares]."""
        known = len(self._index)
        played = np.argwhere(self._table[_SQUARE, :known, :known] > 0)
        return {
            "seats": self.seats,
            "keys": list(self._index),
            "cells": [[*cell, *self._table[(slice(None), *cell)].tolist()] for cell in played.tolist()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the table that `state_dict` described. Raises UsageError when it is one of another number of seats."""
        if state["seats"] != self.seats:
            raise UsageError(f"results of games with {state['seats']} seats do not fit a game with {self.seats}.")
        self._index, self._table = {}, np.zeros((4, 0, 0, self.seats))
        for key in state["keys"]:
            self.add(key)
        for row, column, seat, *values in state["cells"]:
            self._table[:, row, column, seat] = values


def _pairs(rows: Sequence[int]) -> set[tuple[int, int]]:
    """Return the pairs of players that meet in a match, also one's with itself."""
    return {(min(r, c), max(r, c)) for s, r in enumerate(rows) for t, c in enumerate(rows) if s != t}
