"""Matchmakers in a run: by Elo ratings, by the equilibrium of the payoff, by a file, and one of the user's own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sfmarl.config import LeagueConfig
from sfmarl.errors import UsageError
from sfmarl.league.roles import SnapshotRule
from sfmarl.memory.match_table import EMPTY
from sfmarl.run.runner import resume, train
from sfmarl.workers.match_seating import LIVE
from tests.runs.test_league_runs import config, league_of, learned, make_league, played

RPS = {"env": "native/rock_paper_scissors", "mode": "serial", "num_workers": 1}


def cyclic_league(tmp_path, rounds: int = 20, **league):
    """Return a league of three snapshots of which each beats the next, always, and a fourth that loses to all."""
    made = make_league(tmp_path, league={"live_snapshots": 4, "self_play": 0.2, **league})
    for step in range(4):
        learned(made, 5000 * (1 + step))
    matches = [((a, b), (1, -1)) for a, b in ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))]
    made.episodes(played(made, *rounds * matches))
    made.roles[0].rule = SnapshotRule(10**9, 10**9)
    made.look(10**6)
    return made


def met(league) -> dict[int, float]:
    """Return whom main meets, by the entry's number; EMPTY is itself."""
    _, matches = league._plane.match_table().read()
    return {int(e): float(p) for e, p in zip(matches.entry, matches.probability[0], strict=True) if p > 0}


def test_the_equilibrium_of_the_payoff_is_whom_a_player_meets(tmp_path):
    league = cyclic_league(tmp_path, matchmaker="meta", pool_size=4)
    cycle = dict.fromkeys((0, 1, 2), 0.8 / 3)
    assert met(league) == pytest.approx({EMPTY: 0.2, **cycle})
    league.episodes(played(league, *200 * [((2, 1), (1, -1))]))
    league.look(2 * 10**6)
    assert met(league) == pytest.approx({EMPTY: 0.2, 2: 0.8}), "now 2 beats 0, 1 and 3"


def test_snapshots_that_the_mixture_leaves_out_are_live_while_there_is_room(tmp_path):
    league = cyclic_league(tmp_path, matchmaker="meta", pool_size=4)
    _, matches = league._plane.match_table().read()
    assert 3 in matches.entry and 3 not in met(league)
    assert (matches.evaluation == matches.entry.tolist().index(3)).any(), "it still plays evaluation matches"


def test_elo_follows_results_and_chooses_equals(tmp_path):
    league = cyclic_league(tmp_path, rounds=4, matchmaker="elo?width=30", pool_size=4, elo_k=24.0, elo_base=1000.0)
    elo = league.results.elo.ratings
    assert set(elo) == {"main", "random", *league.pool.addresses}
    assert sum(elo.values()) == pytest.approx(1000 * len(elo)), "who enters has its player's rating, the base"
    numbers = {entry.address: entry.number for entry in league.pool.entries}
    found = met(league)
    ratings = {numbers[address]: rating for address, rating in elo.items() if address in numbers}
    near = {number: np.exp(-((rating - elo["main"]) ** 2) / 2 / 30**2) for number, rating in ratings.items()}
    expected = {number: 0.8 * weight / sum(near.values()) for number, weight in near.items()}
    assert {number: p for number, p in found.items() if number != EMPTY} == pytest.approx(expected)
    assert min(ratings, key=ratings.get) == 3 and expected[3] < 0.2
    league.episodes(played(league, *10 * [((LIVE, LIVE - 1), (1, -1))]))
    assert elo["main"] > 1000 > elo["random"]
    league._address[99] = "f" * 64
    league.results.enter("f" * 64, "main")
    assert league.results.elo.ratings["f" * 64] == elo["main"], "a snapshot is as strong as its player"


@pytest.mark.slow
@pytest.mark.parametrize("matchmaker", ["elo?width=100", "meta"])
def test_a_serial_league_runs_resumes_and_is_a_function_of_its_seed(matchmaker, tmp_path):
    league = {"matchmaker": matchmaker, "evaluation_share": 0.3, "live_snapshots": 4}
    one, two = (train(config(tmp_path / name, league=league, **RPS, env_steps=8000)).run_dir for name in ("one", "two"))
    before = league_of(one)
    assert before == league_of(two)
    assert len(before["elo"]["ratings"]) == len(before["pool"]["entries"]) + 2
    assert len(set(before["elo"]["ratings"].values())) > 3
    resume(one, env_steps=11_000)
    after = league_of(one)
    assert after["pool"]["next"] > before["pool"]["next"]
    assert after["elo"] != before["elo"]


def test_a_mixture_from_a_file_is_whom_a_player_meets(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text("[1, 3, 0, 0]")
    league = cyclic_league(tmp_path, matchmaker="meta", pool_size=10, meta_strategy=str(path))
    assert met(league) == pytest.approx({EMPTY: 0.2, 0: 0.2, 1: 0.6})


@pytest.mark.parametrize(
    ("league", "why"),
    [
        ({"meta_strategy": "nowhere.json", "matchmaker": "meta"}, "nowhere.json cannot be read"),
        ({"elo_k": 0.0}, "elo_k = 0"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(league, why, tmp_path):
    with pytest.raises(UsageError, match=why):
        train(config(tmp_path / "run", league=league))
    assert not (tmp_path / "run").exists()


def test_the_settings_are_json(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps([1.0]))
    settings = LeagueConfig(meta_strategy=str(path), matchmaker="meta")
    run = train(config(tmp_path / "run", league=vars(settings), **RPS, env_steps=2000))
    assert json.loads((run.run_dir / "config.json").read_text())["league"]["meta_strategy"] == str(path)
