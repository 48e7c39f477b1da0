"""Meta-strategies over a pool: the equilibrium of its payoff, or a mixture from a file."""

from __future__ import annotations

import json

import pytest

from sfmarl.errors import UsageError
from sfmarl.league import meta
from sfmarl.league.meta import GivenMixture, NashOfThePool, make_meta_strategy
from sfmarl.league.payoff import Payoff

A, B, C, D = ("aa" + 62 * "0", "ab" + 62 * "0", "c" * 64, "d" * 64)


def cycle(games: int = 10) -> Payoff:
    """A beats B beats C beats A, always; D loses to all of them."""
    payoff = Payoff()
    for winner, loser in ((A, B), (B, C), (C, A), (A, D), (B, D), (C, D)):
        payoff.record([winner, loser], [1, 0], games)
    return payoff


def test_the_equilibrium_of_a_cycle_is_uniform_and_leaves_out_who_always_loses():
    mixture = NashOfThePool().mixture([A, B, C, D, A], cycle())
    assert mixture == pytest.approx({A: 1 / 3, B: 1 / 3, C: 1 / 3, D: 0}, abs=1e-9)
    assert NashOfThePool().mixture([], Payoff()) == {}
    assert sum(NashOfThePool().mixture([A, B], Payoff()).values()) == pytest.approx(1), "nobody has played yet"


def test_it_is_solved_anew_when_the_pool_or_the_games_have_grown(monkeypatch):
    solved = []
    monkeypatch.setattr(meta, "nash", lambda game, nash=meta.nash: solved.append(len(game)) or nash(game))
    strategy, payoff = NashOfThePool(), cycle(100)
    first = strategy.mixture([A, B], payoff)
    assert first[A] == pytest.approx(1)
    payoff.record([B, A], [1, 0], 5)
    assert strategy.mixture([A, B], payoff) is first
    payoff.record([B, A], [1, 0], 300)
    assert strategy.mixture([A, B], payoff)[B] == pytest.approx(1)
    strategy.mixture([A, B, C], payoff)
    assert solved == [2, 2, 3]


def test_a_mixture_from_a_file_is_by_place_or_by_address(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text("[2, 0, 1]")
    given = make_meta_strategy(str(path))
    assert given.mixture([A, B, A, C], Payoff()) == {A: 3, B: 0}
    path.write_text(json.dumps({"aa": 0.5, "c": 0.25, "main": 0.25}))
    assert GivenMixture(path).mixture([A, B, C], Payoff()) == {A: 0.5, C: 0.25, "main": 0.25}


@pytest.mark.parametrize("text", ["{", "[]", "3", "[0, 0]", '["a"]', "[-1, 2]", "[true]", '{"main": null}', "[1e999]"])
def test_what_is_no_mixture_is_refused(text, tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"meta-strategy .* is no"):
        make_meta_strategy(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        make_meta_strategy(str(tmp_path / "nowhere.json"))
