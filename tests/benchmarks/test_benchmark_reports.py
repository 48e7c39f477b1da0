"""The benchmark scripts' bookkeeping: recipes that exist, numbers that reach the table, rooflines that add up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan
from sfmarl.run.runner import TrainResult
from sfmarl.statistics import mean_interval

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def recipes() -> list[tuple[str, str]]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from suites import SUITES
    finally:
        sys.path.remove(str(BENCHMARKS))
    return [(suite, recipe) for suite, about in SUITES.items() for recipe in about.recipes]


def run_of(recipe: str, seed: int, score: float) -> dict:
    return {
        "recipe": recipe,
        "seed": seed,
        "env": "mpe2.simple_spread_v3",
        "env_kwargs": {"N": 3},
        "env_version": "mpe2 1.1.1",
        "metric": "undiscounted episode return, sum over team `agent`",
        "evaluations": [[1000 * seed, -70.0, 2.0], [9000 + seed, score, 2.0]],
        "training_returns": [[500, -75.0], [9000, score]],
        "final": {"episodes": 200, "mean": score, "half_width": 1.5},
        "env_steps": 2_000_000 + seed,
        "wall_seconds": 100.0 * seed,
        "agent_steps_per_second": 9000,
        "cpu_percent": 190,
        "policy_lag_mean": 1.5,
        "policy_lag_max": 4.0 + seed,
        "machine": {"cores": 2, "cpu": "a CPU", "python": "3.11", "torch": "2.13", "numpy": "2.4"},
    }


@pytest.mark.parametrize(("suite", "recipe"), recipes())
def test_every_recipe_can_be_planned(suite: str, recipe: str):
    from suites import SUITES

    config = SUITES[suite].recipes[recipe][0]()

    plan = make_plan(config, load_spec(config))

    assert plan.batch_lanes[0] <= plan.plane.lanes_of_policy(0)
    assert config.env_steps == (120_000 if suite == "recall" else 2_000_000)


def test_the_table_shows_every_seed_and_the_interval_over_seeds(tmp_path: Path):
    pytest.importorskip("matplotlib")
    import learning_report
    from suites import SUITES

    scores = [-27.5, -30.0, -33.1]
    runs = [run_of("mappo", seed, score) for seed, score in enumerate(scores, 1)] + [run_of("ippo", 1, -55.0)]

    learning_report.write("spread", SUITES["spread"], runs, tmp_path)

    text = (tmp_path / "spread.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| mappo |"))
    assert str(mean_interval(scores)) in row
    assert all(f"{seed}: {score} ± 1.5" in row for seed, score in enumerate(scores, 1))
    assert "| 200 |" in row and "| 2,000,002 |" in row and "1.50 (7)" in row
    assert "mappo passes, ippo MISSES" in text
    assert (tmp_path / "spread.png").stat().st_size > 1000


def test_the_report_says_whether_an_optimum_was_kept(tmp_path: Path):
    import learning_report
    from suites import SUITES

    curves = {1: [1.0, 1.9, 2.0, 1.79, 2.0], 2: [1.8, 1.0], 3: [2.0, 1.85]}
    runs = [
        run_of("sync-lstm", seed, scores[-1]) | {"evaluations": [[1000 * i, s, 0.1] for i, s in enumerate(scores)]}
        for seed, scores in curves.items()
    ]

    learning_report.write("recall", SUITES["recall"], runs, tmp_path)

    assert "sync-lstm: 1: 1.79, 25%, 2: never reached, 3: 1.85, 0%." in (tmp_path / "recall.md").read_text()


def test_a_run_too_short_for_a_periodic_evaluation_has_an_empty_curve(tmp_path: Path):
    import learning_report
    from suites import SUITES

    runs = [run_of("mappo", 1, -30.0) | {"evaluations": []}]

    learning_report.write("spread", SUITES["spread"], runs, tmp_path)

    assert (tmp_path / "spread.png").stat().st_size > 1000


def test_a_report_without_runs_writes_nothing(tmp_path: Path):
    import learning_report
    from suites import SUITES

    learning_report.write("spread", SUITES["spread"], [], tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_run_is_summed_up_from_its_records(tmp_path: Path):
    import learning

    team = {"eval/return_team/agent": -40.0, "eval/interval_team/agent": 3.0}
    records = [{"env_steps": i, "episode/return_team/agent": float(-i), "policy_lag/mean": 2.0, "policy_lag/max": i}
               for i in range(200)]  # fmt: skip
    records[100] |= {"eval/episodes": 40.0, **team}
    records.append({"env_steps": 200, "eval/episodes": 200.0, "system/cpu_percent": 150.0, **team})
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)))
    final = {"mean": -39.0, "half_width": 1.0, "metric": "return"}
    summary = dict.fromkeys(("env", "env_kwargs", "algo", "mode", "env_steps", "agent_steps", "versions"), "x")
    summary |= {"seed": 7, "wall_seconds": 12.34, "agent_steps_per_second": 99.6}
    summary["evaluation"] = {"episodes": 200, "env_version": "v", "teams": {"agent": final}}

    run = learning.about_run("mappo", TrainResult(tmp_path, summary))

    assert run["evaluations"] == [[100, -40.0, 3.0]], "the final evaluation is not a point of the curve"
    assert len(run["training_returns"]) == learning.CURVE_POINTS
    assert run["training_returns"][0] == [0, 0.0] and run["training_returns"][-1] == [199, -199.0]
    assert run["final"] == {"episodes": 200, "mean": -39.0, "half_width": 1.0}
    assert (run["seed"], run["policy_lag_mean"], run["policy_lag_max"], run["cpu_percent"]) == (7, 2.0, 199, 150)


def test_runs_are_merged_by_recipe_and_seed(tmp_path: Path):
    import learning

    path = tmp_path / "spread.json"
    learning.write_runs(path, {("b", 2): run_of("b", 2, -1.0), ("a", 1): run_of("a", 1, -2.0)})
    learning.write_runs(path, learning.read_runs(path) | {("b", 2): run_of("b", 2, -3.0)})

    runs = learning.read_runs(path)

    assert list(runs) == [("a", 1), ("b", 2)]
    assert runs["b", 2]["final"]["mean"] == -3.0


def test_native_scenarios_stand_beside_mpe2():
    import native_envs

    run, steps = native_envs.episodes_of("native/simple_tag", num_envs=3, episodes=2)
    run()
    assert steps == 2 * 25 * 3

    rows = [{"name": "simple_tag_v3", "original": 2000.0, "native": {"32": 300_000.0, "256": 1_000_000.0}}]
    assert native_envs.lines(rows) == [
        "| | original | native, 32 at once | native, 256 at once |",
        "|---|---|---|---|",
        "| simple_tag_v3 | 2,000 | 300,000 (150 x) | 1,000,000 (500 x) |",
    ]
