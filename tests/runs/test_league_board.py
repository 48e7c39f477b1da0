"""What a run records of its league besides scalars: pictures for TensorBoard, and their numbers as JSON lines."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sfmarl.league.ratings import bradley_terry
from sfmarl.run import league_board
from sfmarl.run.league_board import Board
from sfmarl.run.league_history import LOOKS, Look, fewer, over_time_of
from sfmarl.run.runner import resume, train
from sfmarl.workers.match_seating import LIVE
from tests.runs.test_league_runs import config, learned, make_league, played

PICTURES = {"league/payoff", "league/ratings", "league/opponents", "league/opponents_over_time"}


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "league.jsonl").read_text().splitlines()]


def test_a_run_leaves_pictures_and_their_numbers_and_a_resumed_one_goes_on_with_them(tmp_path):
    league = {"board_seconds": 0.0}
    settings = {"mode": "serial", "num_workers": 1, "env_steps": 8000, "league": league}
    run_dir = train(config(tmp_path / "run", **settings)).run_dir
    resume(run_dir, env_steps=10_000)
    events = EventAccumulator(str(run_dir), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == PICTURES
    assert [len(events.Images(tag)) for tag in PICTURES] == [2] * 4
    first, second = lines(run_dir)
    assert 8000 <= first["env_steps"] < 10_000 <= second["env_steps"]
    assert {c["kind"] for c in second["contestants"]} == {"learning", "script", "snapshot"}
    assert sum(second["met"]["main"]) == pytest.approx(1, abs=1e-3)
    assert sum(games for *_, won, drew, lost in second["payoff"] for games in (won, drew, lost)) > 100
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    main = second["contestants"][0]
    assert last["league/main/rating"] == pytest.approx(main["rating"], abs=0.1)
    assert last["league/main/rating_high"] - last["league/main/rating_low"] == pytest.approx(
        2 * main["half_width"], abs=0.2
    )
    assert last["league/main/elo"] == pytest.approx(main["elo"], abs=0.1)
    assert 1 <= last["league/main/effective_opponents"] <= 5 and 0 < last["league/main/self_play"] < 1


def test_what_is_recorded_are_the_leagues_own_numbers(tmp_path):
    league = make_league(tmp_path, league={"live_snapshots": 3, "self_play": 0.25, "matchmaker": "uniform"})
    for step in range(2):
        learned(league, 5000 * (1 + step))
    league.episodes(played(league, *6 * [((LIVE, 0), (1, -1))], ((1, LIVE), (1, -1)), ((LIVE - 1, 1), (0, 0))))
    made = Board(tmp_path, league.settings).look(league, 10_000, last=True)()
    document = made.document
    assert [c["label"] for c in document["contestants"]] == ["main", "random", "#0", "#1"]
    assert [c["games"] for c in document["contestants"]] == [7, 1, 6, 2]
    assert document["payoff"] == [[0, 2, 6, 0, 0], [0, 3, 0, 0, 1], [1, 3, 0, 1, 0]]
    assert document["met"] == {"main": [0.25, 0.0, 0.375, 0.375]}
    wins, draws = np.zeros((2, 4, 4))
    wins[0, 2], wins[3, 0], draws[1, 3], draws[3, 1] = 6, 1, 1, 1
    rated = bradley_terry(wins, draws, anchor=1)
    assert [c["rating"] for c in document["contestants"]] == pytest.approx(rated.ratings, abs=0.06)
    assert document["contestants"][1]["rating"] == 1200
    assert made.scalars["league/main/rating_low"] == pytest.approx(rated.ratings[0] - rated.half_width[0])
    assert set(made.pictures) == PICTURES


def test_figures_are_gone_once_they_are_drawn(tmp_path):
    """Each is a cycle of megabytes, which Python collects when it has made enough other objects, or never."""
    from matplotlib.figure import Figure

    league = make_league(tmp_path)
    learned(league, 5000)
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    gc.disable()
    try:
        made = Board(tmp_path, league.settings).look(league, 10_000, last=True)()
        after = sum(type(thing) is Figure for thing in gc.get_objects())
    finally:
        gc.enable()
    assert made.pictures and after == before


def test_a_look_is_due_after_its_seconds_and_as_often_as_its_cost_allows(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(league_board.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(league_board.time, "thread_time", lambda: now[0])
    monkeypatch.setattr(Board, "_made", lambda self, standing: now.__setitem__(0, now[0] + 2.0))
    league = make_league(tmp_path, league={"board_seconds": 30.0})
    board = Board(tmp_path, league.settings)
    assert board.look(league, 0) is None
    now[0] = 31.0
    board.look(league, 0)()
    due = []
    for now[0] in (100.0, 200.0, 231.5):
        due.append(board.look(league, 0) is not None)
    assert due == [False, False, True], "2 s of work every 200 s"
    assert board.look(league, 0, last=True) is not None
    never = Board(tmp_path, make_league(tmp_path / "other", league={"board_seconds": 0.0}).settings)
    now[0] = 1e9
    assert never.look(league, 0) is None


def test_looks_back_are_bounded_and_keep_the_newest():
    looks = [Look(step, np.array([-1, step]), {"main": np.array([0.5, 0.5])}) for step in range(1, LOOKS + 50)]
    kept = fewer(looks)
    assert len(kept) <= LOOKS and kept[-1] is looks[-1]
    steps, names, met = over_time_of(kept, ["main", "new"], bins=4)
    assert met["main"].shape == (len(steps), len(names)) == (len(kept), 5)
    assert met["main"].sum(axis=1) == pytest.approx(np.ones(len(kept))) and not met["new"].any()
    assert met["main"][-1].tolist() == [0, 0, 0, 0.5, 0.5]
