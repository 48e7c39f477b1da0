"""`benchmarks/scaling.py`: points that can be planned, steps that take their time, efficiencies that add up."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from sfmarl.config import Config
from sfmarl.envs.registry import make_env
from sfmarl.run.runner import check_run
from sfmarl.user_code import import_user_code

MACHINE = {"cores": 2, "cpu": "a CPU", "python": "3.11", "torch": "2.13", "numpy": "2.4"}


def test_every_point_can_be_planned():
    from curves import COSTLY, CURVES, all_series

    import_user_code((COSTLY,))
    series = all_series(list(CURVES), cores=8)
    assert {one.curve for one in series} == set(CURVES)
    assert len({(one.curve, one.name) for one in series}) == len(series)
    for one in series:
        for x in (one.xs[0], one.xs[-1]):
            plan, _ = check_run(one.config(x))
            assert plan.batch_lanes[0] <= plan.plane.lanes_of_policy(0)
            if one.curve in ("workers", "speedup"):
                assert plan.plane.workers == x
    spread = next(one for one in series if one.curve == "speedup")
    assert {plan.num_workers * plan.num_envs_per_worker for plan in map(spread.config, spread.xs)} == {128}
    picture = check_run(next(one for one in series if one.curve == "obs").config("84x84x4"))[0]
    assert picture.env.teams[0].obs.shape == (84, 84, 4)


def test_numbers_of_workers():
    from curves import powers_of_two

    assert [powers_of_two(cores) for cores in (1, 2, 6, 8)] == [[1, 2], [1, 2], [1, 2, 4], [1, 2, 4, 8]]


@pytest.mark.parametrize(("microseconds", "busy"), [(50, True), (2000, False)])
def test_a_step_takes_no_less_than_its_cost(microseconds: int, busy: bool):
    from curves import COSTLY

    import_user_code((COSTLY,))
    env = make_env(Config("benchmark/costly", env_kwargs={"microseconds": microseconds}))
    env.reset(seed=0)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(20):
        env.step({})
    assert time.perf_counter() - start >= 20e-6 * microseconds
    assert busy or time.process_time() - cpu < 20e-6 * microseconds, "who sleeps leaves the core to others"


def point(x, rate: float) -> dict:
    return {
        "x": x,
        "agent_steps_per_second": rate,
        "windows": [rate] * 3,
        "updates_per_second": 2.0,
        "cpu_percent": 90.0,
        "policy_lag_mean": 0.5,
        "rollout_env": 0.93,
        "workers": 2,
        "envs_per_worker": 8,
        "rollout": 32,
    }


def series(curve: str, *points: dict) -> dict:
    return {
        "curve": curve,
        "name": "1 ms",
        "points": list(points),
        "command": "python benchmarks/scaling.py",
        "machine": MACHINE,
        "busy_before": 1.0,
    }


def test_tables_and_figure(tmp_path: Path):
    import scaling_report

    recorded = [
        series("workers", point(1, 1000.0), point(8, 7600.0)),
        series("obs", point(8, 500.0), point("84x84x4", 20.0)),
    ]
    scaling_report.write(recorded, tmp_path)

    text = (tmp_path / "scaling.md").read_text()
    assert "| 1 ms | 8 | 7,600 (7,600, 7,600, 7,600) | 95% | 93% | 90 % | 2.0 | 0.5 | 2 x 8, 32 |" in text
    assert "| 1 ms | 84x84x4 | 20 (20, 20, 20) | 4% |" in text
    assert (tmp_path / "scaling.png").stat().st_size > 1000


@pytest.mark.slow
def test_what_is_recorded_is_skipped(tmp_path: Path, monkeypatch, capsys):
    import scaling

    measured = []

    def train_windows(config, seconds, warm_up):
        measured.append(config)
        rate = {"throughput/agent_steps_per_second": 1000.0 * config.num_workers}
        return [rate | {"throughput/updates_per_second": 1.0}] * 3

    monkeypatch.setattr(scaling, "train_windows", train_windows)
    monkeypatch.setattr(scaling.machine, "busy_percent", lambda: 0.0)
    monkeypatch.setattr(scaling.scaling_report, "write", lambda recorded, folder: None)
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--curves", "workers", "--results", str(tmp_path)])
    scaling.main()
    assert len(measured) == 16
    recorded = json.loads((tmp_path / "scaling.json").read_text())["series"]
    assert [one["name"] for one in recorded] == ["10 us", "100 us", "1 ms", "10 ms"]
    assert [p["x"] for p in recorded[0]["points"]] == [1, 2, 4, 8]

    scaling.main()
    assert len(measured) == 16 and "recorded already" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--force"])
    scaling.main()
    assert len(measured) == 32
