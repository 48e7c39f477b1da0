"""`matrix_games.py`: tabular learners with known answers, and a report of what was recorded."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from sfmarl.envs.matrix.payoffs import matching_pennies, prisoners_dilemma, read_game
from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan


def test_greedy_learners_find_a_dominant_action_and_never_leave_it():
    from tabular import q_learners

    learned = q_learners(prisoners_dilemma(), 2000, seed=1, exploration=0.2)
    assert not learned.probabilities[200:].any()
    assert (learned.flips[-1] == learned.flips[200]).all()
    # exploration is what is left of cooperation: .2 / 2
    assert (learned.chosen[200:] == 0).mean() == pytest.approx(0.1, abs=0.02)


def test_greedy_learners_chase_each_other_and_averaging_players_settle():
    from tabular import averaging_players, q_learners

    greedy = q_learners(matching_pennies(), 6000, seed=2)
    assert (greedy.flips[-1] - greedy.flips[3000] > 100).all()
    settled = averaging_players(matching_pennies(), 6000, seed=2)
    np.testing.assert_allclose(settled.probabilities[3000:], 0.5, atol=0.15)
    np.testing.assert_allclose((settled.chosen == 0).mean(axis=0), 0.5, atol=0.02)


def test_q_values_are_averages_of_what_was_earned():
    """One action each, payoff 2 and -2, learning rate .5: nothing to choose, nothing to flip."""
    from tabular import q_learners

    learned = q_learners(read_game([[2]], "zero_sum"), 10, seed=0, learning_rate=0.5)
    assert learned.probabilities.all() and not learned.flips.any() and not learned.chosen.any()


def test_flips_are_counted_for_each_player():
    from tabular import Learned

    greedy = np.array([[1, 1], [1, 0], [0, 1], [0, 1], [0.6, 0.4]])
    assert Learned(greedy, np.zeros((5, 2), int)).flips.T.tolist() == [[0, 0, 1, 1, 2], [0, 1, 2, 2, 3]]


@pytest.mark.parametrize("script", ["prisoners_dilemma", "matching_pennies"])
def test_recipes_train_two_learners(script):
    from suites import launch_config

    config = launch_config(script)
    plan = make_plan(config, load_spec(config))
    assert len(plan.batch_lanes) == 2


def test_what_is_played_is_recorded_and_reported(tmp_path, monkeypatch, capsys):
    import matrix_games

    words = ["--only", "pennies_q", "pennies_averaged", "--seeds", "1", "2", "--rounds", "400"]
    monkeypatch.setattr(sys, "argv", ["matrix_games.py", *words, "--results", str(tmp_path)])
    matrix_games.main()
    runs = json.loads((tmp_path / "matrix_games.json").read_text())["runs"]
    assert [(run["recipe"], run["seed"]) for run in runs] == [
        (part, seed) for part in ("pennies_averaged", "pennies_q") for seed in (1, 2)
    ]
    assert all(run["curves"]["player_0"][-1][0] == 400 for run in runs)
    assert (tmp_path / "matrix_games.png").stat().st_size > 0
    report = (tmp_path / "matrix_games.md").read_text()
    for run in runs:
        row = next(line for line in report.splitlines() if f"| {run['recipe']} | {run['seed']} |" in line)
        assert f"| {run['flips'][0]:,} and {run['flips'][1]:,} |" in row
    capsys.readouterr()
    # what is there is not played again
    matrix_games.main()
    assert capsys.readouterr().out.count("already") == 4


def test_rates_are_means_over_copies(tmp_path):
    from types import SimpleNamespace

    from episode_rates import EpisodeRates, read_rates

    callback = EpisodeRates("heads")
    callback.run = SimpleNamespace(run_dir=tmp_path)
    for first in (0, 4, 8):
        heads = np.array([[x, -x] for x in range(first, first + 4)], float)
        callback.on_episodes(SimpleNamespace(infos={"heads": heads, "tails": -heads}))
    callback.on_end({})
    assert read_rates(tmp_path, 2).tolist() == [[x + 0.5, -x - 0.5] for x in range(0, 12, 2)]
    assert len(read_rates(tmp_path, 5)) == 2
