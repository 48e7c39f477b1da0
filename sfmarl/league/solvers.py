"""Exact answers about two-player zero-sum games in matrix form.

`payoff` [R, C] is what the row player earns; the column player earns its negative. A table of win rates x is made
zero-sum by 2 x - 1 (win 1, draw 0, loss -1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Equilibrium(NamedTuple):
    """A Nash equilibrium of a zero-sum game."""

    row: np.ndarray
    """[R] float64: the row player's mixture."""
    column: np.ndarray
    """[C] float64: the column player's mixture."""
    value: float
    """What the row player earns."""


def nash(payoff: ArrayLike) -> Equilibrium:
    """Return a Nash equilibrium of `payoff` [R, C] by linear programming (von Neumann 1928; Dantzig 1951).

    Where there are several, which one is the solver's choice (HiGHS, dual simplex: deterministic). Raises ValueError
    for an empty or not finite table.
    """
    game = np.asarray(payoff, np.float64)
    if game.ndim != 2 or not game.size or not np.isfinite(game).all():
        raise ValueError(f"a game needs a finite table [R, C], got shape {game.shape}")
    row, value = _maximin(game)
    # in a symmetric game what is safe for one is safe for the other
    column = row if np.array_equal(game, -game.T) else _maximin(-game.T)[0]
    return Equilibrium(row, column, value)


def nash_conv(payoff: ArrayLike, row: ArrayLike, column: ArrayLike | None = None) -> float:
    """Return how much both players together would gain by best responses to the mixtures `row` [R] and `column` [C].

    0 in a Nash equilibrium. Without `column` the game is symmetric (payoff = -payoff.T) and both play `row`.
    Exploitability, here as in OpenSpiel, is NashConv / 2.
    """
    game, x = np.asarray(payoff, np.float64), np.asarray(row, np.float64)
    y = x if column is None else np.asarray(column, np.float64)
    return float((game @ y).max() - (x @ game).min())


def _maximin(game: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the row player's mixture [R] with the best worst case, and that value."""
    from scipy.optimize import linprog  # 0.3 s of import that only meta-solvers need

    rows, columns = game.shape
    # maximise v subject to v <= (x @ game)[c] for all c, x a distribution
    solved = linprog(
        np.r_[np.zeros(rows), -1.0],
        A_ub=np.c_[-game.T, np.ones(columns)],
        b_ub=np.zeros(columns),
        A_eq=np.r_[np.ones(rows), 0.0][None],
        b_eq=[1.0],
        bounds=[*[(0, None)] * rows, (None, None)],
        method="highs-ds",
    )
    if solved.status:
        raise ValueError(f"the linear programme of a {rows} x {columns} game was not solved: {solved.message}")
    x = np.clip(solved.x[:-1], 0, None)
    return x / x.sum(), float(solved.x[-1])
