"""Equilibria of games whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfmarl.league.solvers import nash, nash_conv

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])


def test_rock_paper_scissors():
    found = nash(RPS)
    np.testing.assert_allclose(found.row, 1 / 3)
    np.testing.assert_allclose(found.column, 1 / 3)
    assert found.value == pytest.approx(0)
    assert nash_conv(RPS, [1, 0, 0]) == 2
    assert nash_conv(RPS, [1 / 3] * 3) == pytest.approx(0)


def test_a_game_that_is_not_symmetric():
    """Matching pennies with stakes 3, 1: the row player mixes so that the column player is indifferent."""
    found = nash([[3, -1], [-1, 1]])
    np.testing.assert_allclose(found.row, [1 / 3, 2 / 3])
    np.testing.assert_allclose(found.column, [1 / 3, 2 / 3])
    assert found.value == pytest.approx(1 / 3)
    assert nash_conv([[3, -1], [-1, 1]], [1, 0], [0, 1]) == 2, "the row player gains 2, the column player nothing"


@settings(max_examples=25)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000))
def test_nobody_can_gain(rows, columns, seed):
    payoff = np.random.default_rng(seed).integers(-3, 4, (rows, columns))
    found = nash(payoff)
    for mixture in (found.row, found.column):
        assert mixture.sum() == pytest.approx(1) and (mixture >= 0).all()
    assert nash_conv(payoff, found.row, found.column) == pytest.approx(0, abs=1e-9)
    assert found.row @ payoff @ found.column == pytest.approx(found.value)


@pytest.mark.parametrize("payoff", [np.zeros((0, 2)), np.zeros(3), [[np.nan]]])
def test_what_is_no_game(payoff):
    with pytest.raises(ValueError, match="finite table"):
        nash(payoff)
