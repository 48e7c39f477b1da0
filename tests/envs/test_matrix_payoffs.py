"""Payoffs are those of the textbooks; the circle game's are pinned by what is known of play on it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from sfmarl.envs.matrix import payoffs
from sfmarl.envs.matrix.payoffs import circle_payoff, read_game
from sfmarl.errors import UsageError

WIN = (1 + circle_payoff(30)) / 2
"""Probability that the row's strategy wins, [30, 30]."""


def strength(weights):
    """Return 1 - exploitability of a mixture [30], in units of win probability."""
    return 1 - (WIN @ weights).max()


def counts(pool):
    return np.bincount(pool, minlength=30)


def best_response(pool):
    """Return the lowest of the best responses to a pool of strategies; sums of halves are exact, so ties are."""
    return int((WIN @ counts(pool)).argmax())


def test_rock_paper_scissors():
    game = payoffs.rock_paper_scissors()
    assert game.names[0] == game.names[1] == ("rock", "paper", "scissors")
    assert game.payoffs[0].tolist() == [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]
    assert game.is_zero_sum
    larger = payoffs.rock_paper_scissors(7)
    assert larger.names[0] == ("rock", "paper", "scissors", "spock", "lizard", "action_5", "action_6")
    # every action beats as many as it loses to
    assert not larger.payoffs.sum(axis=2).any()
    assert (np.abs(larger.payoffs[0]) == 1 - np.eye(7)).all()


def test_matching_pennies_and_the_dilemma():
    pennies = payoffs.matching_pennies()
    assert pennies.payoffs.tolist() == [[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]]
    assert pennies.is_zero_sum
    dilemma = payoffs.prisoners_dilemma()
    assert dilemma.payoffs[:, 0, 0].tolist() == [3, 3]
    assert dilemma.payoffs[:, 0, 1].tolist() == [0, 5]
    assert dilemma.payoffs[:, 1, 0].tolist() == [5, 0]
    assert dilemma.payoffs[:, 1, 1].tolist() == [1, 1]
    assert not dilemma.is_zero_sum


@pytest.mark.parametrize("strategies", [3, 4, 5, 30])
def test_the_circle_turns(strategies):
    payoff = circle_payoff(strategies)
    np.testing.assert_array_equal(payoff, -payoff.T)
    # a step round the circle changes nothing
    np.testing.assert_array_equal(payoff, np.roll(payoff, (1, 1), (0, 1)))
    half = (strategies - 1) // 2
    draws = [0.0] * (strategies - 1 - 2 * half)
    assert payoff[0].tolist() == [0.0, *[1.0] * half, *draws, *[-1.0] * half]


def test_alone_every_strategy_of_the_circle_is_beaten():
    pool = [0]
    for _ in range(60):
        assert strength(counts(pool[-1:])) == 0.0
        pool.append(best_response(pool[-1:]))


def test_the_textbooks_league_on_the_circle():
    """Five learners, each the best response to at most twelve sampled of a pool of at most 150, 60 rounds."""
    rng = random.Random(7)
    rng.randrange(30), rng.randrange(30)
    pool, found = [rng.randrange(30) for _ in range(5)], {}
    for played in range(1, 61):
        pool = (pool + [best_response(rng.sample(pool, min(12, len(pool)))) for _ in range(5)])[-150:]
        found[played] = strength(counts(pool) / len(pool))
    known = {1: 0.150, 5: 0.233, 15: 0.338, 30: 0.437, 45: 0.340, 60: 0.280}
    assert {played: found[played] for played in known} == pytest.approx(known, abs=6e-4)
    assert np.mean([found[played] for played in range(46, 61)]) == pytest.approx(0.292, abs=6e-4)


def test_best_responses_to_the_uniform_mixture_of_the_pool():
    """From strategy 0, ties exact and broken by the lowest number; with weights of 1 / n, rounding would break them."""
    pool = [0]
    while len(pool) < 120:
        pool.append(best_response(pool))
    found = [strength(counts(pool[:size]) / size) for size in (15, 60, 120)]
    assert found == pytest.approx([6 / 15, 27.5 / 60, 56.5 / 120])


def test_best_responses_to_the_nash_mixture_of_the_pool_close_the_circle():
    """From strategy 0 the pool holds an equilibrium of the whole game with 15 strategies, and with none fewer."""
    pool, strengths = [0], []
    for _ in range(15):
        weights = np.zeros(30)
        np.add.at(weights, pool, nash(2 * WIN[np.ix_(pool, pool)] - 1))
        strengths.append(strength(weights))
        values = WIN @ weights
        pool.append(int(np.flatnonzero(values >= values.max() - 1e-9)[0]))
    assert strengths[14] == pytest.approx(0.5)
    assert max(strengths[:14]) < 0.47
    assert sorted(pool[:15]) == list(range(0, 30, 2))


def nash(payoff):
    """Return an optimal mixture of the rows of a zero-sum game."""
    n = len(payoff)
    solved = linprog(
        [*np.zeros(n), -1], np.c_[-payoff.T, np.ones(n)], np.zeros(n), [[*np.ones(n), 0]], [1], [(0, 1)] * n + [(-1, 1)]
    )
    return solved.x[:n]


finite = st.floats(-1e6, 1e6)


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=finite))
def test_shorthands_say_what_both_earn(payoff):
    lists = payoff.tolist()
    given_ = read_game([lists, lists]).payoffs
    np.testing.assert_array_equal(read_game(lists, "common").payoffs, given_)
    game = read_game(lists, "zero_sum")
    np.testing.assert_array_equal(game.payoffs, [payoff, -payoff])
    assert game.is_zero_sum
    if payoff.shape[0] == payoff.shape[1]:
        first, second = read_game(lists, "symmetric").payoffs
        np.testing.assert_array_equal(first, payoff)
        np.testing.assert_array_equal(second, payoff.T)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: payoffs.rock_paper_scissors(4), "odd num_actions >= 3, got 4"),
        (lambda: payoffs.rock_paper_scissors("three"), "got 'three'"),
        (lambda: payoffs.prisoners_dilemma(temptation=3), "T > R > P > S"),
        (lambda: payoffs.prisoners_dilemma(temptation=7), "2 R > T [+] S"),
        (lambda: payoffs.prisoners_dilemma(sucker=None), "four numbers"),
        (lambda: circle_payoff(2), "strategies >= 3, got 2"),
        (lambda: payoffs.circle("all"), "strategies >= 3, got 'all'"),
        (lambda: read_game([[1]], "zerosum"), "kind = 'zerosum' is unknown"),
        (lambda: read_game([[1, 2], [3]], "common"), "lists of numbers"),
        (lambda: read_game([["a"]], "common"), "lists of numbers"),
        (lambda: read_game(None, "common"), r"got the shape \[\]|must be finite"),
        (lambda: read_game([[1, 2]]), r"must be \[2\]\[rows\]\[columns\] for kind = general"),
        (lambda: read_game([[[1]], [[1]], [[1]]]), r"the shape \[3, 1, 1\]"),
        (lambda: read_game([[]], "common"), r"the shape \[1, 0\]"),
        (lambda: read_game([[float("nan")]], "common"), "must be finite"),
        (lambda: read_game([[1, 2]], "symmetric"), "as many rows as columns"),
        (lambda: read_game([[1, 2]], "common", ["a", "b"]), "one name for each action"),
        (lambda: read_game([[1, 2], [3, 4]], "common", ["a", "a"]), "one name for each action"),
        (lambda: read_game([[1, 2], [3, 4]], "common", "ab"), "one name for each action"),
    ],
)
def test_what_is_no_game_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
