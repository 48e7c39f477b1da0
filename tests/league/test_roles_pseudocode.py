"""Roles against AlphaStar's pseudocode, drawn branch by branch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from league_views import make_view, views

from sfmarl.errors import UsageError
from sfmarl.league.matchmakers import Uniform
from sfmarl.league.roles import (
    LeagueExploiter,
    Main,
    MainExploiter,
    Simple,
    SnapshotRule,
    without_monotonic_suffix,
)

RULE = SnapshotRule(min_steps=100, max_steps=200)
ROLES = {
    "simple": lambda: Simple(Uniform(), RULE),
    "main": lambda: Main(RULE),
    "main_exploiter": lambda: MainExploiter(RULE),
    "league_exploiter": lambda: LeagueExploiter(RULE, seed=0),
}


def league(x_main, x_exploiter=None, live_main=0.5, live_exploiter=0.5):
    """Return the view of a league: snapshots of a main agent and of a main exploiter, then both as they learn."""
    x_exploiter = [] if x_exploiter is None else x_exploiter
    names = ["me"] * len(x_main) + ["hunter"] * len(x_exploiter) + ["me", "hunter"]
    roles = ["main" if name == "me" else "main_exploiter" for name in names]
    return make_view([*x_main, *x_exploiter, live_main, live_exploiter], 2, names, roles)


def drawn(role: str, view, rng: np.random.Generator, games: int = 3000) -> np.ndarray:
    """Return how often the published pseudocode draws each opponent [P]."""
    counts = np.zeros(len(view))
    historical = [i for i in range(len(view)) if not view.live[i]]
    mains = [i for i in range(len(view)) if view.live[i] and view.roles[i] == "main"]
    x = view.win_rates

    def choice(among, weighting):
        weights = {
            "squared": (1 - x[among]) ** 2,
            "variance": x[among] * (1 - x[among]),
            "linear_capped": np.minimum(0.5, 1 - x[among]),
        }[weighting]
        p = np.ones(len(among)) / len(among) if weights.sum() < 1e-10 else weights / weights.sum()
        return rng.choice(among, p=p)

    def of(main):
        return [i for i in historical if view.players[i] == view.players[main]]

    def selfplay(main):
        return main if x[main] > 0.3 else choice(of(main), "variance")

    def verification(main):
        exploiters = [i for i in historical if view.roles[i] == "main_exploiter"]
        if exploiters and x[exploiters].min() < 0.3:
            return choice(exploiters, "squared")
        own = of(main)
        for i in range(len(own) - 1, 0, -1):
            if x[own[i - 1]] < x[own[i]]:
                own = own[: i + 1]
                break
        else:
            own = []
        return choice(own, "squared") if own and x[own].min() < 0.7 else None

    for _ in range(games):
        if role == "league_exploiter":
            opponent = choice(historical, "linear_capped")
        elif role == "main_exploiter":
            main = rng.choice(mains)
            opponent = main if x[main] > 0.1 else choice(of(main), "variance")
        else:
            coin, opponent = rng.random(), None
            if coin < 0.5:
                opponent = choice(historical, "squared")
            else:
                main = rng.choice(mains)
                if coin < 0.65:
                    opponent = verification(main)
                opponent = selfplay(main) if opponent is None else opponent
        counts[opponent] += 1
    return counts / games


@pytest.mark.parametrize("role", ["main", "main_exploiter", "league_exploiter"])
@pytest.mark.parametrize(
    "view",
    [
        league([0.9, 0.8, 0.6]),
        league([0.9, 0.5, 0.8, 0.6], [0.2, 0.9]),
        league([0.9, 0.5, 0.8, 0.6], [0.4, 0.9]),
        league([0.9, 0.5, 0.2], live_main=0.05),
        league([1.0, 1.0], [1.0], live_main=0.2),
        make_view([0.9, 0.4, 0.7, 0.5, 0.1], 2, ["a", "b", "a", "a", "b"], ["main"] * 5),
    ],
    ids=["progress", "exploited", "forgotten", "beaten", "perfect", "two mains"],
)
def test_distributions_are_those_of_the_pseudocode(role, view):
    p = ROLES[role]().distribution(view)
    assert p.sum() == pytest.approx(1)
    np.testing.assert_allclose(drawn(role, view, np.random.default_rng(0)), p, atol=0.04)


@pytest.mark.parametrize("role", ROLES)
@settings(max_examples=40)
@given(view=views())
def test_every_role_returns_a_distribution_for_every_league(role, view):
    p = ROLES[role]().distribution(view)
    assert p.shape == (len(view),) and (p >= 0).all() and p.sum() == pytest.approx(1)


@pytest.mark.parametrize("role", ROLES)
def test_nobody_to_play(role):
    with pytest.raises(UsageError, match="'me' has no opponents"):
        ROLES[role]().distribution(make_view([]))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_the_suffix_that_never_rises_is_no_forgetting(x):
    x = np.array(x)
    kept = without_monotonic_suffix(x, np.ones(len(x), bool))
    count = int(kept.sum())
    assert kept[:count].all(), "an end is cut off"
    assert (np.diff(x[max(count - 1, 0) :]) <= 0).all()
    assert count == 0 or x[count - 1] > x[count - 2]


def test_the_snapshot_rule():
    everybody = np.ones(2, bool)
    good, bad = make_view([0.71, 0.9]), make_view([0.7, 0.9])
    assert not RULE.holds(good, everybody, 99)
    assert RULE.holds(good, everybody, 100)
    assert not RULE.holds(bad, everybody, 199)
    assert RULE.holds(bad, everybody, 200)
    assert not RULE.holds(good, ~everybody, 150), "nobody to beat is nobody beaten"
    careful = SnapshotRule(100, 200, min_games=101)
    assert not careful.holds(good, everybody, 150)
    with pytest.raises(UsageError, match="a player frozen after 5 to 3 env-steps never is"):
        SnapshotRule(5, 3)


def test_whom_each_role_must_beat():
    strong_main = league([0.9, 0.9], live_main=0.1)
    weak_main = league([0.9, 0.2], live_main=0.9)
    for role in ("simple", "main", "league_exploiter"):
        assert ROLES[role]().ready(strong_main, 150), "all snapshots"
        assert not ROLES[role]().ready(weak_main, 150)
    assert not ROLES["main_exploiter"]().ready(strong_main, 150)
    assert ROLES["main_exploiter"]().ready(weak_main, 150), "the main agents as they learn"


@pytest.mark.parametrize("role", ROLES)
def test_steps_count_from_the_last_snapshot(role):
    player = ROLES[role]()
    view = league([0.9])
    view.win_rates[:] = 0.9
    assert player.ready(view, 100)
    player.frozen(130)
    assert not player.ready(view, 229)
    resumed = ROLES[role]()
    resumed.load_state_dict(json.loads(json.dumps(player.state_dict())))
    assert not resumed.ready(view, 229) and resumed.ready(view, 230)
    assert [resumed.frozen(i) for i in range(20)] == [player.frozen(i) for i in range(20)]
    assert resumed.state_dict() == player.state_dict()
    with pytest.raises(UsageError, match="cannot go on as a"):
        ROLES["main" if role != "main" else "simple"]().load_state_dict(player.state_dict())


def test_who_begins_anew():
    exploiter = LeagueExploiter(RULE, seed=1)
    assert np.mean([exploiter.frozen(0) for _ in range(2000)]) == pytest.approx(0.25, abs=0.03)
    assert MainExploiter(RULE).frozen(0)
    assert not Main(RULE).frozen(0)
    assert not Simple(Uniform(), RULE).frozen(0)
