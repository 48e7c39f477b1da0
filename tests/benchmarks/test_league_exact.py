"""`benchmarks/league_exact.py`: the known scores of exact leagues, through the real pool, payoff and matchmakers."""

from __future__ import annotations

import random

import numpy as np
import pytest


def test_circle_payoff():
    from league_exact import circle

    game = circle()
    np.testing.assert_array_equal(game + game.T, 1)
    assert (np.sort(game, axis=1)[:, [13, 14, 15, 16]] == [0, 0.5, 0.5, 1]).all(), "beats 14, draws 2, loses to 14"
    assert game[0, 1] == game[29, 0] == 1 and game[0, 15] == 0.5


def test_rock_paper_scissors():
    from league_exact import highest, lowest, respond, rock_paper_scissors

    game = rock_paper_scissors()
    assert set(respond(game, "latest", 20, lowest)["nash_conv"]) == {2.0}
    by_lowest = respond(game, "uniform", 100, lowest)["nash_conv"]
    by_highest = respond(game, "uniform", 100, highest)["nash_conv"]
    assert by_lowest[9] == pytest.approx(0.4) and by_lowest[99] == pytest.approx(0.14)
    assert by_highest[9] == pytest.approx(0.4) and by_highest[99] == pytest.approx(0.10)
    assert respond(game, "meta", 3, lowest)["nash_conv"] == pytest.approx([2, 2, 0])


def test_circle_from_strategy_0():
    from league_exact import circle, lowest, respond, rounding

    assert set(respond(circle(), "latest", 31, lowest)["strength"]) == {0}
    uniform = respond(circle(), "uniform", 60, lowest)["strength"]
    assert [round(uniform[size - 1], 3) for size in (15, 60)] == [0.4, 0.458]
    # how sums are rounded is the processor's affair: the textbook's .433 within its neighbourhood
    rounded = respond(circle(), "uniform", 60, rounding)["strength"]
    assert [rounded[14], rounded[59]] == pytest.approx([0.4, 0.433], abs=0.03)
    equilibrium = respond(circle(), "meta", 15, lowest)["strength"]
    assert equilibrium[14] == pytest.approx(0.5) and equilibrium[13] < 0.47


def test_the_textbooks_run():
    from league_exact import textbook_run

    pair, league = textbook_run(60, "oldest")
    assert set(pair["strength"]) == {0}
    digits = [round(league["strength"][r - 1], 3) for r in (1, 5, 15, 30, 45, 60)]
    assert digits == [0.150, 0.233, 0.338, 0.437, 0.340, 0.280]
    assert round(np.mean(league["strength"][45:]), 3) == 0.292


def test_thinning_does_not_forget():
    from league_exact import circle, textbook

    means = {}
    for rule in ("oldest", "thin"):
        runs = [textbook(circle(), random.Random(seed), 60, rule)["strength"][45:] for seed in (1, 2)]
        means[rule] = np.mean(runs)
    assert means["thin"] > means["oldest"] + 0.03


def test_report(tmp_path):
    import league_exact_report
    from league_exact import circle, highest, lone_pair, lowest, respond, rock_paper_scissors

    series = respond(circle(), "uniform", 120, lowest)
    recorded = {
        "rock_paper_scissors": {
            **dict.fromkeys(("latest", "nash"), respond(rock_paper_scissors(), "latest", 5, lowest)),
            **dict.fromkeys(
                ("uniform, lowest", "uniform, highest"), respond(rock_paper_scissors(), "uniform", 1000, highest)
            ),
        },
        "circle": dict.fromkeys(("latest", "uniform", "pfsp", "nash", "uniform, rounding"), series),
        "league, oldest": series,
        "league, thin": series,
        "lone_pair": lone_pair(circle(), random.Random(7), 120),
    }
    text = league_exact_report.write(recorded, tmp_path)
    assert "| latest | lowest | 1 to 30 | 2.000 | 2.0 |" in text
    assert "0.400 / 0.100 / 0.030" in text
    assert (tmp_path / "league_exact.png").stat().st_size > 10_000
