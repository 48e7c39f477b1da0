"""`rps_league.py`: paths with known turns and averages, snapshots read back from a run, and the report."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from sfmarl.evaluation.policy import build_actor
from sfmarl.league.store import open_store
from sfmarl.models.acting import make_acting
from sfmarl.storage import checkpoint

CORNERS = np.eye(3)


def round_the_centre(times: float, points: int, radius: float = 0.3) -> np.ndarray:
    """Return a circle [points, 3] in the plane of the simplex, from rock towards paper."""
    angle = np.linspace(0, 2 * np.pi * times, points)[:, None]
    return 1 / 3 + radius * np.cos(angle - 2 * np.pi * np.arange(3) / 3)


def test_turns_are_counted_with_their_direction():
    from simplex import turns

    assert turns(round_the_centre(2.25, 40)) == pytest.approx(2.25)
    assert turns(round_the_centre(2.25, 40)[::-1]) == pytest.approx(-2.25)
    assert turns(CORNERS[[0, 1, 2, 0, 2]]) == pytest.approx(2 / 3)
    assert turns(np.tile([0.5, 0.3, 0.2], (5, 1))) == 0


def test_distances_averages_and_nash_conv():
    from simplex import distance, nash_convs, pool_averages

    averages = pool_averages(CORNERS)
    np.testing.assert_allclose(averages, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(distance(averages), [2 / 3, 1 / 3, 0], atol=1e-12)
    # against (.5, .5, 0) paper wins .5, and who plays it can be made to lose as much
    np.testing.assert_allclose(nash_convs(averages), [2, 1, 0], atol=1e-12)


def drawn(run_dir) -> np.ndarray:
    """Return with what probability the newest snapshot draws each action as an opponent, [3]."""
    saved = checkpoint.latest(run_dir)
    state = saved.read_policy("main")
    acting = make_acting(build_actor(state), state.spec, "cpu", seed=1)
    acting.load(open_store(run_dir).get(saved.run_state["league"]["pool"]["entries"][-1]["address"]).weights)
    action, log_prob = acting.act(np.ones((2000, 1, 1), np.float32))
    return np.array([np.exp(log_prob[action == move]).mean() for move in range(3)])


@pytest.mark.slow
def test_snapshots_are_read_back_from_a_short_run(tmp_path, monkeypatch, capsys):
    import rps_league
    from simplex import read_snapshots

    words = ["--only", "uniform", "--seeds", "4", "--env-steps", "6000", "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["rps_league.py", *words, "--results", str(tmp_path)])
    rps_league.main()
    runs = json.loads((tmp_path / "rps_league.json").read_text())["runs"]
    assert [run["recipe"] for run in runs] == ["uniform"]
    for run, run_dir in zip(runs, sorted((tmp_path / "runs").iterdir()), strict=True):
        path = np.array(run["path"])
        assert len(path) == 2 and (np.diff(path[:, 0]) >= 2_400).all()
        np.testing.assert_allclose(path[:, 1:].sum(axis=1), 1, atol=1e-4)
        found = read_snapshots(run_dir)
        np.testing.assert_allclose(found.strategies, path[:, 1:], atol=1e-5)
        np.testing.assert_allclose(drawn(run_dir), found.strategies[-1], atol=1e-5)
    assert "| **uniform** | mean |" in (tmp_path / "rps_league.md").read_text()
    assert (tmp_path / "rps_league.png").stat().st_size > 10_000
    capsys.readouterr()
    # what is there is not trained again
    rps_league.main()
    assert capsys.readouterr().out.count("already") == 1


def test_the_report_says_who_misses_the_goal(tmp_path):
    import rps_league_report

    cycle = round_the_centre(4, 49)[:-1]
    held = np.tile([0.6, 0.3, 0.1], (48, 1))
    runs = [
        {
            "recipe": name,
            "seed": seed,
            "machine": {"cores": 2, "cpu": "x", "python": "3", "torch": "2", "numpy": "2"},
            "env_steps": 1000,
            "wall_seconds": 1.0,
            "path": [[step, *row] for step, row in enumerate(strategies.tolist())],
        }
        for name, seed, strategies in (("uniform", 1, cycle), ("uniform", 2, cycle), ("uniform_async", 1, held))
    ]
    rps_league_report.write(runs, tmp_path)
    text = (tmp_path / "rps_league.md").read_text()
    assert "| uniform | 1 | 48 | 3.9 |" in text
    assert "uniform passes" in text and "uniform_async MISSES: the average is 0.2667" in text
