"""What a tournament reports: intervals, ratings, and a verdict that is right about whoever beats the champion."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

from sfmarl.errors import UsageError
from sfmarl.evaluation.contestants import Contestant
from sfmarl.evaluation.cross_play import pairings
from sfmarl.league.ratings import bradley_terry
from sfmarl.results.tournament import tournament
from sfmarl.results.tournament_result import Tournament
from sfmarl.results.verdict import Verdict
from tests.evaluation.simple_players import HERE


def of_results(*names: str, games: int = 10, wins: dict[tuple[str, str], int], seats: int = 2, **known) -> Tournament:
    """Return the tournament in which, of each pairing, whoever sits in the first seat wins so many of the games."""
    matches = np.repeat(pairings(len(names), seats), games, axis=0)
    outcomes = np.zeros((len(matches), seats))
    for number, (pair, group) in enumerate(itertools.groupby(map(tuple, matches.tolist()))):
        won = wins[names[pair[0]], names[pair[1]]]
        first = np.arange(len(list(group))) < won
        outcomes[number * games : (number + 1) * games] = np.stack([first, ~first], -1)
    contestants = [Contestant(name, name, "script", script=name) for name in names]
    defaults = {"env": "a game", "env_version": "x 1", "seats": ("white", "black"), "seed": 0, "greedy": False}
    return Tournament(
        **{**defaults, "contestants": contestants, "games": games, "openings": 0, **known},
        matches=matches,
        outcomes=outcomes,
    )


def test_win_rates_are_of_both_seats_and_have_wilsons_interval():
    found = of_results("a", "b", wins={("a", "b"): 9, ("b", "a"): 5})
    assert found.win_rates[0, 1] == (9 + 5) / 20 and found.win_rates[1, 0] == pytest.approx(6 / 20)
    assert found.by_seat(0) == [0.9, 0.5] and found.by_seat(1) == [0.5, pytest.approx(0.1)]
    assert found.played.tolist() == [[0, 20], [20, 0]]
    for bound in (found.intervals[0][0, 1], found.intervals[1][0, 1]):
        # the score interval ends where the observed rate is 1.96 standard errors away
        assert abs(0.7 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 20), rel=1e-5)


def test_a_match_of_many_seats_is_one_observation():
    """Three seats: each pair meets in 3 x 2 x games matches, whoever sits twice in them."""
    found = tournament([f"{name}={HERE}:{name}" for name in ("zero", "one", "two")], games=5, env=f"{HERE}:HighNumber")
    assert found.seats == ("north", "east", "south") and len(found.matches) == 6 * 3 * 5
    assert found.played.tolist() == [[0, 30, 30], [30, 0, 30], [30, 30, 0]]
    assert found.win_rates.tolist() == [[0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.5]]
    # in each seat 2 matches of 6 alone, 4 beside oneself, which is a draw
    assert found.by_seat(2) == pytest.approx([5 / 6] * 3) and found.by_seat(0) == pytest.approx([1 / 6] * 3)
    of_matches = bradley_terry([[0, 0, 0], [30, 0, 0], [30, 30, 0]], np.zeros((3, 3)))
    np.testing.assert_allclose(found.ratings.ratings, of_matches.ratings)
    np.testing.assert_allclose(found.ratings.half_width, of_matches.half_width)


def test_bonferroni_widens_by_the_number_of_comparisons():
    for m, z in ((1, 1.959964), (5, 2.575829), (50, 3.290527)):
        verdict = Verdict.of("c", "other player", [str(i) for i in range(m)], np.full(m, 0.4), np.full(m, 200.0))
        assert abs(0.4 - verdict.high[0]) == pytest.approx(z * math.sqrt(verdict.high[0] * (1 - verdict.high[0]) / 200))
    assert Verdict.of("c", "player", ["x"], np.array([0.4]), np.array([200.0])).beaten_by == ["x"]
    assert verdict.beaten_by == [], "among fifty somebody does so by chance"


def test_the_verdict_rarely_accuses_equals():
    """Of tournaments in which all are equal, at most one in twenty may find somebody who beats the champion."""
    rng, m, games = np.random.default_rng(0), 20, 100
    wrong = sum(
        bool(Verdict.of("c", "x", ["?"] * m, rng.binomial(games, 0.5, m) / games, np.full(m, games)).beaten_by)
        for _ in range(2000)
    )
    assert wrong / 2000 < 0.05


def test_own_snapshots_are_judged_apart(tmp_path):
    wins = dict.fromkeys(itertools.permutations(("main", "old", "random"), 2), 10)
    wins |= {("main", "old"): 1, ("old", "main"): 9, ("random", "main"): 5, ("main", "random"): 5}
    found = of_results("main", "old", "random", games=10, wins=wins)
    about = [{"kind": "checkpoint", "source": "runs/x"}, {"kind": "snapshot", "source": f"{tmp_path}/../runs/x"}, {}]
    about[1]["source"] = "./runs/x"
    contestants = [Contestant(name, name, **{"kind": "script", **more}) for name, more in
                   zip(found.names, about, strict=True)]  # fmt: skip
    found = Tournament(**{**{k: v for k, v in vars(found).items() if k in Tournament.__annotations__},
                          "contestants": contestants})  # fmt: skip
    own, rest = found.verdicts
    assert (own.title, own.names, own.beaten_by) == ("own snapshot", ["old"], ["old"])
    assert (rest.title, rest.names, rest.beaten_by) == ("other player", ["random"], [])
    assert "main against 1 own snapshot: it is BEATEN by 1 (old), it beats 0." in str(found)
    assert "main against 1 other player: none beats it, it beats 0." in str(found)


def test_everything_is_in_the_json_and_the_picture(tmp_path):
    found = tournament(
        ["random", f"first={HERE}:first", f"last={HERE}:last"],
        games=10,
        env="native/tic_tac_toe",
        champion="first",
        elo_k=16,
    )
    written = found.write(tmp_path / "new" / "t.json", tmp_path / "t.png")
    assert written == [tmp_path / "new" / "t.json", tmp_path / "t.png"]
    data = json.loads(written[0].read_text())
    assert [player["name"] for player in data["players"]] == ["random", "first", "last"]
    assert data["env"] == "native/tic_tac_toe" and data["env_version"].startswith("sfmarl ")
    assert data["champion"] == data["verdicts"][0]["champion"] == "first"
    assert np.array(data["played"]).sum() == 2 * data["matches"] == 2 * 6 * 10
    rates = np.array(data["win_rate"])
    np.testing.assert_allclose(rates + rates.T, 1)
    assert (np.array(data["win_rate_low"]) <= rates).all() and (np.array(data["win_rate_high"]) >= rates).all()
    wins = sum(np.array(seat["wins"]) for seat in data["by_seat"])
    draws = sum(np.array(seat["draws"]) for seat in data["by_seat"])
    np.testing.assert_allclose((wins + draws / 2)[0, 1] / 20, rates[0, 1])
    assert sum(player["elo"] for player in data["players"]) == pytest.approx(3 * 1200)
    assert sum(player["rating"] for player in data["players"]) == pytest.approx(3 * 1200)
    with Image.open(written[1]) as image:
        assert image.format == "PNG" and min(image.size) > 300


def test_a_large_tournament_prints_standings_alone_and_still_draws(tmp_path):
    names = [f"p{number}" for number in range(24)]
    found = of_results(*names, games=2, wins=dict.fromkeys(itertools.permutations(names, 2), 1))
    text = str(found)
    assert all(f" {name} " in text for name in names) and "win rate of the row" not in text
    assert found.write(picture=tmp_path / "many.png")
    assert "are in the JSON" in str(of_results(*names[:12], wins=dict.fromkeys(itertools.permutations(names, 2), 5)))


def test_equal_seeds_give_equal_tournaments():
    def played(seed: int) -> dict:
        return tournament(["random", f"{HERE}:first"], games=70, env="native/tic_tac_toe", seed=seed).to_json()

    assert played(1) == played(1) != played(2)


@pytest.mark.parametrize(
    ("players", "settings", "why"),
    [
        (["random"], {}, "two players or more"),
        (["random", "random"], {}, "two players are called 'random'"),
        (["random", "x=random"], {"games": 0}, "games = 0"),
        (["random", "x=random"], {"snapshots": 0}, "snapshots = 0"),
        (["random", "x=random"], {"champion": "y"}, "'y' is none of the players"),
        (["random", "x=random"], {"env": "native/simple_spread"}, "has one team"),
        (["random", "x=random"], {"env": "native/prisoners_dilemma"}, "outcome of a match cannot be read"),
        (["random", "x=random"], {"env": "native/tictactoe"}, "no environment"),
        (["random", "x=random"], {"env": None, "env_kwargs": {"a": 1}}, "give both"),
        (["random", "x=random"], {"env": None}, "no player says which game"),
        (["random", "mcts:0"], {}, "number of simulations"),
        (["random", "mcts:5"], {"env": "native/rock_paper_scissors"}, "cannot play native/rock_paper_scissors"),
        (["random", "randm"], {}, r"no player 'randm'.*Did you mean 'random'"),
        (["random", f"{HERE}:second"], {}, "has no 'second'"),
    ],
)
def test_what_cannot_be_a_tournament_is_refused(players, settings, why):
    with pytest.raises(UsageError, match=why):
        tournament(players, **{"env": "native/tic_tac_toe", "games": 1, **settings})
