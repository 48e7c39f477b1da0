"""Environments that fail in the rollout workers of a real run."""

from __future__ import annotations

import re

import pytest

from sfmarl.command.cli import main
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import latest
from sfmarl.workers.faults import FILE
from tests.faults.test_env_faults import STEP, config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["async", "sync"])
@pytest.mark.parametrize("kind", ["Together", "ByTurns", "AllAtOnce", "Tables"])
def test_a_run_goes_on(kind, mode, tmp_path, capsys):
    """Workers count for themselves, and say who they are."""
    ways = STEP if kind in ("Together", "ByTurns") else "raise,exit,nan,inf,reward"
    run = train(config(tmp_path / "run", kind, ways=ways, every=100, mode=mode, num_workers=2, env_steps=6000))
    faults = run.metrics()[-1]["env/faults"]
    assert run.summary["stopped_by"] == "finished" and run.summary["env_faults"] == faults > 4
    shown = capsys.readouterr().out
    for worker in (0, 1):
        assert re.search(rf"warning.*rollout worker {worker}: tests.faults.faulty.*is built anew", shown)
    assert f"environments failed {faults:,.0f} times" in shown and (run.run_dir / FILE).exists()
    assert run.metrics()[-1]["policy_lag/max"] == 0 or mode == "async"


@pytest.mark.parametrize("kind", ["Together", "ByTurns", "AllAtOnce", "Tables"])
def test_a_run_goes_on_when_episodes_cannot_begin_or_environments_be_closed(kind, tmp_path):
    for place, ways, every in (("reset", "raise,exit,nan", 12), ("close", "raise,exit", 1)):
        run = train(config(tmp_path / place, kind, place, ways, every, mode="async", num_workers=2))
        assert run.summary["stopped_by"] == "finished" and run.summary["env_steps"] >= 1200
        assert run.summary["env_faults"] > 0


def test_too_many_faults_end_with_exit_code_1(tmp_path, capsys):
    run_dir = tmp_path / "run"
    words = f"train tests.faults.faulty:Together --env-kwargs place=step every=20 --run-dir {run_dir}"
    words += " --num-workers 2 --num-envs-per-worker 4 --rollout 8 --algo ippo --max-env-faults 5 --env-steps 1000000"
    assert main(words.split()) == 1
    shown = "".join(capsys.readouterr())
    assert re.search(r"rollout worker \d failed: .*FloatingPointError: the physics exploded in step", shown)
    assert "environment fault 6 of rollout worker" in shown and "--max-env-faults" in shown
    assert "Traceback" not in shown
    assert latest(run_dir).run_state["env_steps"] > 0
