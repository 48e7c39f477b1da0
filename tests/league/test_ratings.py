"""Ratings against their formulae, an independent optimiser, and simulated players of known strength."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from sfmarl.errors import UsageError
from sfmarl.league.outcome import outcome_from_ranks
from sfmarl.league.ratings import Elo, bradley_terry, expected


def test_elo_by_hand():
    elo = Elo(k=32, base=1500)
    elo.ratings = {"a": 1613.0, "b": 1477.0}
    elo.record(["a", "b"], [0, 1])
    assert elo.ratings["a"] == pytest.approx(1613 - 32 * 0.68635, abs=0.01)
    assert sum(elo.ratings.values()) == pytest.approx(1613 + 1477)
    elo.record(["b", "c"], [0.5, 0.5])
    assert elo.ratings["c"] < 1500, "a draw with a lower player costs"
    assert float(expected(400, 0)) == pytest.approx(10 / 11)


def test_elo_of_more_seats_and_of_oneself():
    elo = Elo(k=16)
    elo.record(["a", "b", "c"], outcome_from_ranks([1, 2, 3]))
    assert elo.ratings == {"a": 1208, "b": 1200, "c": 1192}
    before = dict(elo.ratings)
    elo.record(["a", "a", "a"], outcome_from_ranks([1, 2, 3]))
    assert elo.ratings == before


def test_elo_keeps_its_state_and_lets_snapshots_inherit():
    elo = Elo()
    elo.ratings["main"] = 1500.0
    elo.enter("snapshot", "main")
    elo.enter("main")
    resumed = Elo()
    resumed.load_state_dict(json.loads(json.dumps(elo.state_dict())))
    assert resumed.ratings == {"main": 1500, "snapshot": 1500}
    resumed.keep({"main"})
    assert resumed.ratings == {"main": 1500}
    with pytest.raises(UsageError, match="K = 0"):
        Elo(k=0)


def test_elo_of_many_matches_is_that_of_one_after_the_other():
    rng = np.random.default_rng(3)
    kinds = [(["a", "b"], [1, 0]), (["b", "a"], [0.5, 0.5]), (["c", "a"], [0, 1]), (["c", "c"], [1, 0])]
    order = rng.integers(len(kinds), size=200).tolist()
    one, many = Elo(k=24, base=1000), Elo(k=24, base=1000)
    for kind in order:
        one.record(*kinds[kind])
    many.replay(kinds, order)
    assert many.ratings == pytest.approx(one.ratings, abs=1e-9)
    assert sum(many.ratings.values()) == pytest.approx(3000)
    three = [(["a", "b", "c"], outcome_from_ranks([2, 1, 3]))]
    one.record(*three[0])
    many.replay(three, [0])
    assert many.ratings == pytest.approx(one.ratings)
    many.begin_anew("a")
    assert many.ratings["a"] == 1000


@given(st.integers(0, 10_000))
def test_bradley_terry_is_the_maximum(seed):
    rng = np.random.default_rng(seed)
    wins = rng.integers(0, 6, (5, 5)).astype(float)
    draws = np.triu(rng.integers(0, 3, (5, 5)), 1).astype(float)
    draws += draws.T
    rated = bradley_terry(wins, draws, prior=0.5)

    def loss(theta):
        value = 0.0
        for i in range(5):
            value += 0.25 * (np.log1p(np.exp(theta[i])) + np.log1p(np.exp(-theta[i])))
            for j in range(5):
                if i != j:
                    value += (wins[i, j] + draws[i, j] / 2) * np.log1p(np.exp(theta[j] - theta[i]))
        return value

    theta = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-7}).x
    scale = 400 / np.log(10)
    np.testing.assert_allclose(rated.ratings, 1200 + scale * (theta - theta.mean()), atol=0.1)
    # numerical Hessian, projected on differences from the mean
    step, hessian = 1e-3, np.zeros((5, 5))
    eye = np.eye(5) * step
    for i in range(5):
        for j in range(5):
            signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
            hessian[i, j] = sum(a * b * loss(theta + a * eye[i] + b * eye[j]) for a, b in signs) / (4 * step**2)
    centre = np.eye(5) - 1 / 5
    covariance = scale**2 * centre @ np.linalg.inv(hessian) @ centre
    np.testing.assert_allclose(rated.covariance, covariance, rtol=1e-2, atol=5)


@pytest.mark.parametrize("anchor", [None, 2])
def test_bradley_terry_is_where_hunters_iteration_ends(anchor):
    """Hunter 2004, "MM algorithms for generalized Bradley-Terry models", eq. 3."""
    rng = np.random.default_rng(4)
    wins, prior = rng.integers(0, 9, (6, 6)).astype(float), 1.0
    np.fill_diagonal(wins, 0)
    games, strength = wins + wins.T, np.ones(6)
    for _ in range(3000):
        # the prior is a drawn game, weighing `prior`, against a player whose strength stays 1
        often = (games / (strength[:, None] + strength)).sum(1) + prior / (strength + 1)
        strength = (wins.sum(1) + prior / 2) / often
    log = np.log(strength)
    fixed = log.mean() if anchor is None else log[anchor]
    rated = bradley_terry(wins, np.zeros((6, 6)), prior, anchor=anchor)
    np.testing.assert_allclose(rated.ratings, 1200 + 400 / np.log(10) * (log - fixed), atol=1e-6)


def test_two_players_have_a_closed_form():
    """n games, x of them won: the difference is log-odds, its variance 1 / (n p (1 - p))."""
    rated = bradley_terry([[0, 75], [25, 0]], np.zeros((2, 2)), prior=1e-9)
    difference, half = rated.difference(0, 1)
    assert difference == pytest.approx(400 * np.log10(3), rel=1e-3)
    assert half == pytest.approx(1.96 * 400 / np.log(10) / np.sqrt(100 * 0.75 * 0.25), rel=1e-3)
    anchored = bradley_terry([[0, 75], [25, 0]], np.zeros((2, 2)), prior=1e-9, base=0, anchor=1)
    assert anchored.ratings.tolist() == pytest.approx([difference, 0])
    assert anchored.half_width.tolist() == pytest.approx([half, 0], abs=1e-6)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    truth = np.array([1000.0, 1150, 1200, 1250, 1400])
    covered = []
    for _ in range(100):
        wins = np.triu(rng.binomial(30, expected(truth[:, None], truth[None])), 1)
        wins = wins + np.tril(30 - wins.T, -1)
        rated = bradley_terry(wins, np.zeros((5, 5)), prior=0.1)
        covered.append(np.abs(rated.ratings - truth) <= rated.half_width)
    assert 0.92 < np.mean(covered) < 0.98


def test_perfect_records_and_strangers_are_finite():
    wins = np.zeros((5, 5))
    wins[0, 1] = wins[2, 3] = 50  # two pairs that never met, and one who never played
    rated = bradley_terry(wins, np.zeros((5, 5)))
    assert np.isfinite(rated.ratings).all() and np.isfinite(rated.half_width).all()
    assert rated.ratings[0] == pytest.approx(rated.ratings[2]) and rated.ratings[4] == pytest.approx(1200)
    assert rated.ratings[0] > rated.ratings[4] > rated.ratings[1]
    assert rated.difference(0, 2)[1] > 300, "nothing is known of the pairs' levels"
    assert rated.half_width[4] > 300


def test_draws_are_half_wins():
    drawn = bradley_terry(np.zeros((2, 2)), [[0, 40], [40, 0]])
    halves = bradley_terry([[0, 20], [20, 0]], np.zeros((2, 2)))
    np.testing.assert_allclose(drawn.covariance, halves.covariance)
    assert drawn.ratings.tolist() == [1200, 1200]


@pytest.mark.parametrize(
    ("wins", "prior"), [(np.zeros((2, 2)), 0), (np.zeros((2, 3)), 1), (np.zeros((0, 0)), 1), (-np.ones((2, 2)), 1)]
)
def test_mistakes_are_named(wins, prior):
    with pytest.raises(UsageError, match="ratings"):
        bradley_terry(wins, np.zeros_like(wins), prior)
