"""Results: a table that a plain loop over all games agrees with."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sfmarl.errors import UsageError
from sfmarl.league.outcome import check_outcome, outcome_from_ranks, outcome_from_returns
from sfmarl.league.payoff import Payoff, wilson

NAMES = "abcd"
GAME = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([0.0, 0.5, 1.0]))


@given(games=st.lists(GAME, max_size=30))
def test_against_a_list_of_all_games(games):
    payoff = Payoff()
    for first, second, result in games:
        payoff.record([first, second], [result, 1 - result])
    for row, column, seat in itertools.product(NAMES, NAMES, (0, 1, None)):
        results = [r for f, s, r in games if (f, s) == (row, column) and seat != 1]
        results += [1 - r for f, s, r in games if (s, f) == (row, column) and seat != 0]
        found = payoff.counts([row], [column], seat)
        assert found.games == found.effective == len(results)
        assert (found.wins, found.draws) == (results.count(1), results.count(0.5))
        assert payoff.win_rate(row, column, seat) == pytest.approx(np.mean(results) if results else 0.5)


@given(games=st.lists(GAME, max_size=30), decay=st.sampled_from([1.0, 0.9]))
def test_both_sides_of_a_pair_agree(games, decay):
    payoff = Payoff(decay=decay)
    for first, second, result in games:
        payoff.record([first, second], [result, 1 - result])
    whole = payoff.counts(NAMES, NAMES)
    np.testing.assert_allclose(whole.win_rate + whole.win_rate.T, 1)
    np.testing.assert_allclose(whole.wins, whole.losses.T)
    np.testing.assert_allclose(np.diag(whole.win_rate), 0.5)
    low, high = whole.interval
    assert ((low <= whole.win_rate) & (whole.win_rate <= high)).all()
    np.testing.assert_allclose(low, 1 - high.T)


@given(
    games=st.lists(st.tuples(GAME, st.integers(1, 5)), max_size=10),
    decay=st.sampled_from([1.0, 0.9]),
)
def test_matches_that_ended_alike_may_be_noted_at_once(games, decay):
    at_once, one_by_one = Payoff(decay=decay), Payoff(decay=decay)
    for (first, second, result), times in games:
        at_once.record([first, second], [result, 1 - result], times)
        for _ in range(times):
            one_by_one.record([first, second], [result, 1 - result])
    for found, expected in zip(at_once.counts(NAMES, NAMES), one_by_one.counts(NAMES, NAMES), strict=True):
        np.testing.assert_allclose(found, expected)


@given(data=st.data(), decay=st.sampled_from([1.0, 0.9]), seats=st.sampled_from([2, 3]))
def test_a_replay_is_one_match_after_the_other(data, decay, seats):
    kind = st.tuples(*[st.sampled_from(NAMES)] * seats), st.permutations(range(seats))
    kinds = [
        (list(who), outcome_from_ranks(places)) for who, places in data.draw(st.lists(st.tuples(*kind), max_size=5))
    ]
    order = data.draw(st.lists(st.integers(0, len(kinds) - 1), max_size=20)) if kinds else []
    replayed, one_by_one = Payoff(seats, decay), Payoff(seats, decay)
    for part in (order[:7], order[7:]):
        replayed.replay(kinds, part)
    for number in order:
        one_by_one.record(*kinds[number])
    for seat in (*range(seats), None):
        for found, expected in zip(
            replayed.counts(NAMES, NAMES, seat), one_by_one.counts(NAMES, NAMES, seat), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_decay_is_a_sum_of_powers():
    payoff = Payoff(decay=0.9)
    results = [1, 1, 0, 0.5, 0, 1, 1]
    for i, result in enumerate(results):
        payoff.record(["a", "b"] if i % 2 else ["b", "a"], [result, 1 - result] if i % 2 else [1 - result, result])
    weights = 0.9 ** np.arange(len(results))[::-1]
    found = payoff.counts(["a"], ["b"])
    assert found.games == pytest.approx(weights.sum())
    assert found.win_rate == pytest.approx(np.average(results, weights=weights))
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    payoff.record(["a", "c"], [1, 0])
    assert payoff.counts(["a"], ["b"]).games == pytest.approx(weights.sum()), "other pairs do not fade"


@pytest.mark.parametrize(("wins", "games"), [(0, 5), (3, 10), (50, 80), (100, 100)])
def test_intervals_are_wilsons(wins, games):
    expected = binomtest(wins, games).proportion_ci(method="wilson")
    assert [float(bound) for bound in wilson(wins / games, games)] == pytest.approx([expected.low, expected.high])
    assert [float(bound) for bound in wilson(0.5, 0)] == [0, 1]


def test_matches_of_more_seats_are_games_between_each_two():
    payoff = Payoff(seats=3)
    payoff.record(["a", "b", "c"], outcome_from_ranks([2, 1, 2]))
    assert payoff.win_rates("abc", "abc").tolist() == [[0.5, 0, 0.5], [1, 0.5, 1], [0.5, 0, 0.5]]
    payoff.record(["a", "a", "c"], outcome_from_ranks([1, 2, 3]))
    assert payoff.counts("a", "c").wins == 2
    assert payoff.win_rate("a", "a", 0) == 1 and payoff.win_rate("a", "a", 1) == 0


def test_unknown_players_have_no_games():
    payoff = Payoff()
    assert payoff.win_rates(["x"], ["y", "z"]).tolist() == [[0.5, 0.5]]
    payoff.record(["a", "b"], [1, 0])
    assert payoff.win_rates(["b", "x"], ["a", "b"]).tolist() == [[0, 0.5], [0.5, 0.5]]
    assert payoff.counts(["x"], ["a"]).games == 0


def test_the_least_certain_games_come_first():
    payoff = Payoff()
    for _ in range(20):
        payoff.record(["a", "b"], [1, 0])
        payoff.record(["a", "c"], [0.5, 0.5])
        payoff.record(["c", "a"], [0.5, 0.5])
    cells = payoff.least_certain("abc", 4)
    assert set(cells[:3]) == {("a", "b", 1), ("b", "c", 0), ("b", "c", 1)}, "what nobody played"
    many = payoff.least_certain("abc", 200)
    for cell in many:
        pair = [cell.row, cell.column] if cell.seat == 0 else [cell.column, cell.row]
        payoff.record(pair, [0.5, 0.5])
    widths = [np.subtract(*reversed(payoff.counts("abc", "abc", seat).interval)) for seat in (0, 1)]
    between = np.array(widths)[:, [0, 0, 1], [1, 2, 2]]
    assert ("a", "b", 0) not in many, "twenty wins are surer than thirty draws"
    assert np.delete(between, 0) == pytest.approx(between[1, 0], rel=0.05), "games level the intervals"
    assert payoff.least_certain("aa", 3) == []


def test_it_grows_forgets_and_resumes():
    payoff = Payoff(decay=0.99)
    rng = np.random.default_rng(0)
    names = [f"player {i}" for i in range(30)]
    for _ in range(300):
        result = rng.choice([0, 0.5, 1])
        payoff.record(list(rng.choice(names, 2)), [result, 1 - result])
    before = payoff.win_rates(names, names)
    resumed = Payoff(decay=0.99)
    resumed.load_state_dict(json.loads(json.dumps(payoff.state_dict())))
    assert resumed.state_dict() == payoff.state_dict()
    np.testing.assert_array_equal(resumed.win_rates(names, names), before)
    resumed.keep(names[::2])
    np.testing.assert_array_equal(resumed.win_rates(names[::2], names[::2]), before[::2, ::2])
    assert resumed.counts(names[1:2], names).games.sum() == 0
    resumed.record([names[1], names[0]], [1, 0])
    assert resumed.win_rate(names[1], names[0]) == 1
    with pytest.raises(UsageError, match="2 seats do not fit a game with 3"):
        Payoff(seats=3).load_state_dict(payoff.state_dict())


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=6))
def test_outcomes_are_shares_of_the_others(values):
    values[-1] = -sum(values[:-1])
    outcome = outcome_from_returns(values)
    others = [np.mean([(v > w) + 0.5 * (v == w) for j, w in enumerate(values) if j != i]) for i, v in enumerate(values)]
    assert outcome.tolist() == pytest.approx(others)
    np.testing.assert_array_equal(check_outcome(outcome), outcome)
    np.testing.assert_allclose(outcome_from_ranks([-v for v in values]), outcome)


def test_outcomes_of_two_seats():
    assert outcome_from_returns([3, -3]).tolist() == [1, 0]
    assert outcome_from_returns([0.1 + 0.2 - 0.3, 0]).tolist() == [0.5, 0.5], "rounding is no victory"
    assert outcome_from_returns([1, 0], total=1).tolist() == [1, 0]
    assert outcome_from_ranks([2, 1]).tolist() == [0, 1]


@pytest.mark.parametrize("returns", [[1, 1], [1, 0], [np.nan, 0], [1], [], [[1, -1]], ["win", "loss"]])
def test_returns_that_do_not_tell(returns):
    with pytest.raises(UsageError, match="outcome of a match cannot be read"):
        outcome_from_returns(returns)


@pytest.mark.parametrize("outcome", [[1, -1], [1, 2], [0.2, 0.2], [1, 0, 0], [np.nan, 1]])
def test_what_is_no_outcome_is_not_recorded(outcome):
    payoff = Payoff(seats=len(outcome))
    with pytest.raises(UsageError, match="outcome of a match cannot be read"):
        payoff.record(list("abc")[: len(outcome)], outcome)
    assert payoff.keys == ()


def test_mistakes_are_named():
    with pytest.raises(UsageError, match=r"decay = 1\.1"):
        Payoff(decay=1.1)
    with pytest.raises(UsageError, match="no opponents"):
        Payoff(seats=1)
    with pytest.raises(UsageError, match="3 players with 2 results"):
        Payoff().record(list("abc"), [1, 0])
