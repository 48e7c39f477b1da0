"""Matchmakers: each a distribution with the support, the order and the limits that its rule promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from league_views import make_view, views

from sfmarl.errors import UsageError, UserCodeError
from sfmarl.league.matchmakers import (
    MATCHMAKERS,
    PFSP,
    EloNear,
    MetaStrategy,
    PrioritisedFictitious,
    Quality,
    Window,
    make_matchmaker,
    opponents,
    register_matchmaker,
)
from sfmarl.league.payoff import Payoff
from sfmarl.league.pool import SnapshotPool
from sfmarl.league.quality import QualityScores
from sfmarl.league.snapshot import SnapshotMeta
from sfmarl.league.store import MemoryStore
from sfmarl.league.view import LivePlayer, view

RULES = [
    "latest",
    "uniform",
    "window",
    "window?size=3&latest=0",
    *(f"pfsp?weighting={name}" for name in PFSP),
    "elo",
    "elo?width=1e-3",
    "meta",
    "quality",
]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=30)
@given(seen=views())
def test_every_rule_returns_a_distribution(rule, seen):
    p = make_matchmaker(rule).distribution(seen)
    assert p.shape == (len(seen),) and (p >= 0).all() and p.sum() == pytest.approx(1)
    if rule.startswith(("uniform", "pfsp", "elo", "window?size=3&latest=0")):
        assert (p[~seen.frozen] == 0).all(), "those who learn are no snapshots"
    if rule == "uniform":
        assert (p[seen.frozen] == 1 / seen.frozen.sum()).all()
    np.testing.assert_allclose(opponents(make_matchmaker(rule), seen), p)


@given(seen=views())
def test_latest_is_the_newest_policy_of_ones_own(seen):
    chosen = int(np.argmax(make_matchmaker("latest").distribution(seen)))
    own = [i for i, name in enumerate(seen.players) if name == "me"]
    assert chosen == (own[-1] if own else np.flatnonzero(seen.frozen)[-1])


def test_settings_are_read_as_they_are_written_in_the_documentation():
    assert make_matchmaker("window?size=20&latest=.5") == Window(20, 0.5)


@settings(max_examples=50)
@given(seen=views(), size=st.integers(1, 15), ratio=st.floats(0, 1))
def test_the_window_holds_the_last_snapshots(seen, size, ratio):
    p = Window(size, ratio).distribution(seen)
    recent = np.flatnonzero(seen.frozen)[-size:]
    newest = np.argmax(make_matchmaker("latest").distribution(seen))
    assert set(np.flatnonzero(p)) <= {*recent, newest}
    assert p[newest] >= ratio - 1e-12
    assert p[recent].sum() >= 1 - ratio - 1e-12


@given(x=st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_pfsp_by_the_published_formulae(x):
    x = np.array(x)
    by_name = {
        "linear": 1 - x,
        "linear_capped": np.array([min(0.5, 1 - v) for v in x]),
        "squared": (1 - x) * (1 - x),
        "variance": x - x * x,
    }
    for name, weights in by_name.items():
        p = PrioritisedFictitious(name).distribution(make_view(x))
        expected = weights / weights.sum() if weights.sum() >= 1e-10 else np.full(len(x), 1 / len(x))
        np.testing.assert_allclose(p, expected, atol=1e-12)
        if name != "variance" and weights.sum() >= 1e-10:
            assert (np.diff(p[np.argsort(x, kind="stable")]) <= 1e-12).all(), "the harder, the more often"


@pytest.mark.parametrize("name", PFSP)
def test_pfsp_is_uniform_when_nothing_is_left_to_learn(name):
    assert PrioritisedFictitious(name).distribution(make_view([1.0] * 4, live=1)).tolist() == [1 / 3, 1 / 3, 1 / 3, 0]


def test_pfsp_limits():
    assert PrioritisedFictitious("squared").distribution(make_view([1, 0, 1])).tolist() == [0, 1, 0]
    assert PrioritisedFictitious("variance").distribution(make_view([0, 0.5, 1])).tolist() == [0, 1, 0]
    capped = PrioritisedFictitious("linear_capped").distribution(make_view([0, 0.2, 0.5, 0.9]))
    assert capped[0] == capped[1] == capped[2] > capped[3] > 0


@settings(max_examples=50)
@given(seen=views(), width=st.floats(1e-3, 1e6))
def test_elo_prefers_the_nearest(seen, width):
    p = EloNear(width).distribution(seen)
    order = np.argsort(np.abs(seen.ratings - seen.rating)[seen.frozen], kind="stable")
    assert (np.diff(p[seen.frozen][order]) <= 1e-12).all()


def test_elo_limits():
    seen = make_view([0.5] * 3, ratings=np.array([-300.0, 10, 200]))
    assert EloNear(1e-3).distribution(seen).tolist() == [0, 1, 0]
    np.testing.assert_allclose(EloNear(1e9).distribution(seen), 1 / 3)
    one_width_off = EloNear(100).distribution(make_view([0.5] * 2, ratings=np.array([0.0, 100])))
    assert one_width_off[1] / one_width_off[0] == pytest.approx(np.exp(-0.5))


def test_meta_is_what_was_given():
    seen = make_view([0.5] * 3, meta=np.array([2.0, 0, 6]))
    assert MetaStrategy().distribution(seen).tolist() == [0.25, 0, 0.75]
    assert MetaStrategy().distribution(dataclasses.replace(seen, meta=np.zeros(3))).tolist() == [1 / 3] * 3
    for wrong in (None, np.ones(2), np.array([1, -1, 1]), np.array([1, np.nan, 1])):
        with pytest.raises(UsageError, match="meta"):
            MetaStrategy().distribution(dataclasses.replace(seen, meta=wrong))


def test_quality_is_a_softmax_beside_the_latest():
    seen = make_view([0.5] * 3, live=1, quality=np.log([3.0, 1, 99]))
    np.testing.assert_allclose(Quality().distribution(seen), [0.15, 0.05, 0.8])


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.integers(0, 7))
def test_quality_falls_as_in_the_paper(scores, which):
    which %= len(scores)
    quality = QualityScores()
    quality.scores = {str(i): q for i, q in enumerate(scores)}
    quality.won(str(which), list(quality.scores))
    p = np.exp(scores[which]) / np.exp(scores).sum()
    expected = list(scores)
    expected[which] -= 0.01 / (len(scores) * p)
    assert list(quality.scores.values()) == pytest.approx(expected)
    quality.enter("new")
    assert quality.scores["new"] == max(list(quality.scores.values())[:-1])
    again = QualityScores()
    again.load_state_dict(quality.state_dict())
    again.keep(["new", "0"])
    assert again.scores == {key: quality.scores[key] for key in ("0", "new")}


def test_views_join_pool_and_results():
    pool, payoff = SnapshotPool(MemoryStore()), Payoff()
    for i, name in enumerate(["me", "you", "me", "me"]):
        pool.add({}, [float(i % 3)], SnapshotMeta(name, role="main"))
    a, b, c, _ = pool.addresses
    for _ in range(4):
        payoff.record(["me", b], [1, 0])
    payoff.record(["you", "me"], [1, 0])
    live = [LivePlayer("me", "main"), LivePlayer("you", "main_exploiter")]
    seen = view("me", pool.entries, payoff, live, {"me": 7.0, b: 5.0}, {c: 2.0}, {a: 0.5, b: 0.5})
    assert seen.keys == (a, b, c, a, "me", "you")
    assert seen.players == ("me", "you", "me", "me", "me", "you")
    assert seen.roles[-2:] == ("main", "main_exploiter")
    assert seen.live.tolist() == [False] * 4 + [True] * 2
    assert seen.win_rates.tolist() == [0.5, 1, 0.5, 0.5, 0.5, 0]
    assert seen.games.tolist() == [0, 4, 0, 0, 0, 1]
    assert (seen.rating, seen.ratings.tolist(), seen.quality.tolist()) == (7, [0, 5, 0, 0, 7, 0], [0, 0, 2, 0, 0, 0])
    assert seen.meta.tolist() == [0.25, 0.5, 0, 0.25, 0, 0], "a key's share is divided among its entries"


class Newest:
    """Always the last."""

    def __init__(self, broken: str = ""):
        self.broken = {}["early"] if broken == "early" else broken

    def distribution(self, seen):
        if self.broken == "raises":
            raise KeyError("oh")
        return {"shape": np.ones(1), "sum": np.ones(len(seen)), "nan": np.full(len(seen), np.nan)}.get(
            self.broken, np.eye(len(seen))[-1]
        )


def test_a_users_own_is_registered_and_checked():
    register_matchmaker("newest", Newest)
    try:
        assert opponents(make_matchmaker("newest"), make_view([0.5] * 3)).tolist() == [0, 0, 1]
        with pytest.raises(UsageError, match=r"broken = 3 \(int\) is not of the expected kind: str"):
            make_matchmaker("newest?broken=3")
        with pytest.raises(UserCodeError, match=r"'newest\?broken=early' raised KeyError when it was made"):
            make_matchmaker("newest?broken=early")
        for broken in ("raises", "shape", "sum", "nan"):
            with pytest.raises(UserCodeError, match="Matchmaker Newest"):
                opponents(make_matchmaker(f"newest?broken={broken}"), make_view([0.5] * 3))
    finally:
        del MATCHMAKERS._values["newest"], MATCHMAKERS._descriptions["newest"]
    assert type(make_matchmaker(f"{__name__}:Newest")).__name__ == "Newest"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniforn", "Did you mean 'uniform'"),
        ("window?sizee=3", r"no setting 'sizee'\. Did you mean 'size'\? Its settings are size, latest"),
        (
            "window?size=ten",
            r"'window\?size=ten': size = 'ten' \(str\) is not of the expected kind: int\. Its settings",
        ),
        ("window?size=2.5", r"size = 2\.5 \(float\)"),
        ("elo?width=true", r"width = True \(bool\) is not of the expected kind: float"),
        ("uniform?x=1", "no setting 'x'. It has no settings"),
        ("window?size=0", "size = 0"),
        ("window?latest=2", "latest = 2"),
        ("pfsp?weighting=square", "Did you mean 'squared'"),
        ("elo?width=0", "width = 0"),
        ("builtins:dict", "without a method distribution"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UsageError, match=message):
        make_matchmaker(text)


def test_an_empty_league_has_no_opponents():
    with pytest.raises(UsageError, match="'me' has no opponents"):
        opponents(make_matchmaker("uniform"), make_view([]))
