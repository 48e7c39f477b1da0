"""Roles: the mixtures of AlphaStar's pseudocode, and when a player is frozen and begins anew."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from league_views import make_view, views

from sfmarl.errors import UsageError
from sfmarl.league.matchmakers import Uniform, pfsp
from sfmarl.league.roles import (
    ROLES,
    LeagueExploiter,
    Main,
    SnapshotRule,
    make_role,
    without_monotonic_suffix,
)

RULE = SnapshotRule(min_steps=100, max_steps=1000, win_rate=0.7, min_games=10)


@given(view=views(), name=st.sampled_from(ROLES))
def test_every_role_meets_a_distribution(view, name):
    p = make_role(name, RULE, Uniform(), seed=0).distribution(view)
    assert p.shape == (len(view),) and p.min() >= 0 and p.sum() == pytest.approx(1)


def test_main_mixes_pfsp_verification_and_self_play():
    # two snapshots of its own, one exploiter's that still wins, and itself
    view = make_view(
        [0.9, 0.8, 0.2, 0.5],
        live=1,
        players=("me", "me", "exploiter", "me"),
        roles=("main", "main", "main_exploiter", "main"),
    )
    squared = np.array([0.01, 0.04, 0.64, 0]) / 0.69
    expected = 0.5 * squared + 0.15 * np.eye(4)[2] + 0.35 * np.eye(4)[3]
    np.testing.assert_allclose(Main(RULE).distribution(view), expected)


def test_main_meets_what_it_has_forgotten_where_no_exploiter_wins():
    view = make_view([0.4, 0.6, 0.5, 0.5], live=1, players=("me",) * 4, roles=("main",) * 4)
    forgotten = np.array([0.36, 0.16, 0, 0]) / 0.52
    squared = np.array([0.36, 0.16, 0.25, 0]) / 0.77
    np.testing.assert_allclose(Main(RULE).distribution(view), 0.5 * squared + 0.15 * forgotten + 0.35 * np.eye(4)[3])


def test_a_main_that_is_too_strong_is_met_through_its_past():
    view = make_view([0.9, 0.8, 0.05], live=1, players=("main",) * 3, roles=("main",) * 3, player="weak")
    p = make_role("main_exploiter", RULE, Uniform(), 0).distribution(view)
    np.testing.assert_allclose(p, pfsp(view.win_rates, ~view.live, "variance"))
    even = make_view([0.9, 0.8, 0.15], live=1, players=("main",) * 3, roles=("main",) * 3, player="weak")
    assert make_role("main_exploiter", RULE, Uniform(), 0).distribution(even).tolist() == [0, 0, 1]


def test_the_suffix_that_only_falls_is_no_forgetting():
    x = np.array([0.3, 0.5, 0.5, 0.4, 0.9])
    among = np.array([True, True, True, True, False])
    assert without_monotonic_suffix(x, among).tolist() == [True, True, False, False, False]
    assert not without_monotonic_suffix(x[::-1], np.ones(5, bool))[[2, 3, 4]].all()
    assert not without_monotonic_suffix(np.array([0.9, 0.5, 0.1]), np.ones(3, bool)).any()


@pytest.mark.parametrize(
    ("steps", "win_rate", "games", "frozen"),
    [(99, 0.9, 50, False), (100, 0.9, 50, True), (100, 0.7, 50, False), (100, 0.9, 9, False), (1000, 0.1, 0, True)],
)
def test_a_player_is_frozen_when_it_beats_all_or_its_time_is_over(steps, win_rate, games, frozen):
    view = make_view([0.95, win_rate, 0.0], live=1, games=np.array([50.0, games, 50.0]))
    role = make_role("simple", RULE, Uniform(), 0)
    assert role.ready(view, steps) is frozen
    role.frozen(steps)
    assert not role.ready(view, steps + 99)


def test_nobody_to_beat_is_no_victory():
    assert not make_role("simple", RULE, Uniform(), 0).ready(make_view([0.9], live=1), 500)


def test_who_begins_anew_when_it_is_frozen():
    again = {name: [make_role(name, RULE, Uniform(), seed).frozen(1) for seed in range(400)] for name in ROLES}
    assert not any(again["simple"]) and not any(again["main"]) and all(again["main_exploiter"])
    assert 60 < sum(again["league_exploiter"]) < 140


@pytest.mark.parametrize("name", ROLES)
def test_a_role_goes_on_where_it_was(name):
    one, two = (make_role(name, RULE, Uniform(), seed) for seed in (1, 2))
    for step in range(5):
        one.frozen(100 * step)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert two.state_dict() == one.state_dict()
    assert [one.frozen(n) for n in range(20)] == [two.frozen(n) for n in range(20)]


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="Did you mean 'main'"):
        make_role("mainn", RULE, Uniform(), 0)
    with pytest.raises(UsageError, match="cannot go on as a main"):
        Main(RULE).load_state_dict(LeagueExploiter(RULE, 0).state_dict())
    with pytest.raises(UsageError, match="never is"):
        SnapshotRule(10, 5)
