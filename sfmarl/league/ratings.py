"""Ratings: one number per player on the Elo scale, where 400 points are odds of 10 to 1.

    Elo             moves after every game: R <- R + K (result - 1 / (1 + 10^((R_o - R) / 400))) (Elo 1978). Follows
                    players that learn; depends on the order of games
    Bradley-Terry   the most likely ratings given all games at once (Zermelo 1929; Bradley and Terry 1952), with
                    intervals. For players that do not change: snapshots, tournaments

A rating orders players along a line. In a game with cycles no line is right: look at the payoff table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sfmarl.errors import UsageError
from sfmarl.league.outcome import check_outcome
from sfmarl.league.payoff import Z95

SCALE = 400 / math.log(10)
"""Elo points per unit of log-odds."""


def expected(rating: ArrayLike, opponent: ArrayLike) -> np.ndarray:
    """Return the result, in [0, 1], that Elo ratings predict; shapes broadcast."""
    return 1 / (1 + 10.0 ** ((np.asarray(opponent, np.float64) - np.asarray(rating, np.float64)) / 400))


class Elo:
    """Ratings that move with every match."""

    def __init__(self, k: float = 16.0, base: float = 1200.0) -> None:
        """`k`: the most that a match moves a rating. `base`: rating of who comes without one.

        Raises UsageError unless `k` is positive.
        """
        if not k > 0:
            raise UsageError(f"Elo with K = {k} never moves: K must be positive, e.g. 16.")
        self.k = k
        self.base = base
        self.ratings: dict[str, float] = {}
        """Key -> rating."""

    def enter(self, key: str, parent: str | None = None) -> None:
        """Make a player known, at its parent's rating if that has one; one that is known keeps its own."""
        start = self.base if parent is None else self.ratings.get(parent, self.base)
        self.ratings.setdefault(key, start)

    def record(self, players: Sequence[str], outcome: ArrayLike) -> None:
        """Note a match of `players` [seats] with `outcome` [seats] (outcome.py).

        With more than two seats a player's change is the mean over its opponents, so K bounds it as before. Seats of
        one player do not change each other. Raises UsageError for an outcome that is none.
        """
        result = check_outcome(outcome)
        for key in players:
            self.enter(key)
        before = np.array([self.ratings[key] for key in players])
        for seat, key in enumerate(players):
            for other, opponent in enumerate(players):
                if opponent != key:
                    won = 0.5 + 0.5 * np.sign(result[seat] - result[other])
                    surprise = won - expected(before[seat], before[other])
                    self.ratings[key] += float(self.k / (len(players) - 1) * surprise)

    def replay(self, kinds: Sequence[tuple[Sequence[str], ArrayLike]], order: Iterable[int]) -> None:
        """Note many matches, each of one of few `kinds` (players and outcome as in `record`), in their `order`."""
        pairs: list[tuple[str, str, float] | None] = []
        for players, outcome in kinds:
            result = check_outcome(outcome)
            for key in players:
                self.enter(key)
            pairs.append((*players, float(result[0])) if len(players) == 2 and players[0] != players[1] else None)
        ratings, k = self.ratings, self.k
        for kind in order:
            if (pair := pairs[kind]) is None:
                self.record(*kinds[kind])
                continue
            one, other, won = pair
            gain = k * (won - 1 / (1 + 10.0 ** ((ratings[other] - ratings[one]) / 400)))
            ratings[one] += gain
            ratings[other] -= gain

    def begin_anew(self, key: str) -> None:
        """Put a player back to the base: it learns from its first weights again."""
        self.ratings[key] = self.base

    def keep(self, keys: Collection[str]) -> None:
        """Forget all but `keys`."""
        self.ratings = {key: rating for key, rating in self.ratings.items() if key in keys}

    def state_dict(self) -> dict[str, Any]:
        """Return the ratings as JSON types."""
        return {"ratings": dict(self.ratings)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what `state_dict` described."""
        self.ratings = dict(state["ratings"])


@dataclass(frozen=True)
class BradleyTerry:
    """Maximum-likelihood ratings of P players."""

    ratings: np.ndarray
    """[P] float64 on the Elo scale; their mean, or the anchor's rating, is the base."""
    half_width: np.ndarray
    """[P] float64: half the 95 % interval of its distance from the mean (or the anchor), by Fisher information."""
    covariance: np.ndarray
    """[P, P] float64, Elo points squared, of the same differences."""

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """Return by how much player `a` is rated above `b`, and half the 95 % interval of that."""
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        return float(self.ratings[a] - self.ratings[b]), float(Z95 * math.sqrt(max(variance, 0.0)))


def bradley_terry(
    wins: ArrayLike, draws: ArrayLike, prior: float = 1.0, base: float = 1200.0, anchor: int | None = None
) -> BradleyTerry:
    """Return the ratings that make the games likeliest. `wins` [P, P]: row beat column; `draws` [P, P] symmetric.

    A draw is half a win and half a loss; its interval is that of a decided game, wider than it needs to be. The prior
    is one more game for each player, weighing `prior`, that it drew with a player of average strength: ratings stay
    finite for who won or lost everything, and players without a chain of games between them are taken to be alike.

    `anchor` is the player whose rating is fixed to `base` (a script); without one the mean is. The diagonal is ignored.
    Raises UsageError unless `prior` is positive and the tables are square, finite and non-negative.
    """
    w, d = np.asarray(wins, np.float64), np.asarray(draws, np.float64)
    if not prior > 0:
        raise UsageError(f"ratings with prior = {prior} may be infinite: give a positive weight.")
    if w.ndim != 2 or w.shape[0] != w.shape[1] or w.shape != d.shape or not len(w):
        raise UsageError(f"ratings need two tables [P, P], got {w.shape} and {d.shape}.")
    if not (np.isfinite(w) & np.isfinite(d) & (w >= 0) & (d >= 0)).all():
        raise UsageError("ratings need finite, non-negative numbers of games.")
    w = w + 0.5 * d
    np.fill_diagonal(w, 0.0)
    theta = _newton(w, prior)
    _, hessian = _derivatives(theta, w, prior)
    # what is reported are differences from the mean or the anchor: what the prior knows of the common level is no part
    contrast = np.eye(len(w))
    contrast -= 1 / len(w) if anchor is None else np.eye(len(w))[anchor]
    covariance = SCALE**2 * contrast @ np.linalg.inv(hessian) @ contrast.T
    return BradleyTerry(base + SCALE * (contrast @ theta), Z95 * np.sqrt(np.diag(covariance).clip(0)), covariance)


def _newton(w: np.ndarray, prior: float) -> np.ndarray:
    """Return the maximum [P] of the log-posterior, which is strictly concave."""
    theta = np.zeros(len(w))
    value = _log_posterior(theta, w, prior)
    while True:
        gradient, hessian = _derivatives(theta, w, prior)
        step = np.linalg.solve(hessian, gradient)
        gain = float(gradient @ step)
        if gain < 1e-16 * max(1.0, w.sum()):
            return theta
        length = 1.0
        while (reached := _log_posterior(theta + length * step, w, prior)) < value + 0.25 * length * gain:
            length /= 2
            if length < 1e-8:  # rounding hides what is left to gain
                return theta
        theta, value = theta + length * step, reached


def _log_posterior(theta: np.ndarray, w: np.ndarray, prior: float) -> float:
    ahead = theta[:, None] - theta[None, :]
    return float((w * -np.logaddexp(0, -ahead)).sum() - 0.5 * prior * np.logaddexp(0, [theta, -theta]).sum())


def _derivatives(theta: np.ndarray, w: np.ndarray, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient [P] and the negative Hessian [P, P] (the Fisher information) of the log-posterior."""
    p = 1 / (1 + np.exp(-(theta[:, None] - theta[None, :]).clip(-700, 700)))
    to_average = 1 / (1 + np.exp(-theta))
    gradient = (w * (1 - p)).sum(1) - (w * (1 - p)).sum(0) + prior * (0.5 - to_average)
    curvature = (w + w.T) * p * (1 - p)
    return gradient, np.diag(curvature.sum(1) + prior * to_average * (1 - to_average)) - curvature
