"""What the user sees, and what is left, when a run cannot go on."""

from __future__ import annotations

import json
import re

import pytest
from small import children, config

from sfmarl.errors import RunError, UsageError
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import checkpoint_paths, latest
from tests.runs.small import Licensed, RaisesAtThird


def test_env_that_raises_at_construction_starts_nothing(tmp_path):
    with pytest.raises((UsageError, RunError), match="NotHere"):
        train(config(tmp_path / "run", env="tests.runs.small:NotHere"))
    assert not (tmp_path / "run").exists()


def test_env_that_raises_at_step_200_ends_the_run_with_a_checkpoint(tmp_path):
    """The message names worker, environment, copy, step and cause; what was learned is on disk; nothing runs on."""
    with pytest.raises(RunError, match=r"rollout worker \d failed: .*FloatingPointError.*the physics exploded") as info:
        train(config(tmp_path / "run", env="tests.runs.small:RaisesAtStep", env_steps=100_000))
    assert "step" in str(info.value) and "crash.txt" in str(info.value)
    assert re.search(r'^File ".*small\.py", line \d+, in step$', str(info.value), re.MULTILINE)
    assert "FloatingPointError" in (tmp_path / "run" / "crash.txt").read_text()
    assert latest(tmp_path / "run").run_state["env_steps"] > 0
    assert not children("")


def test_env_that_cannot_be_built_in_a_worker(tmp_path):
    with pytest.raises(RunError, match=r"rollout worker \d failed: .*no licence for a third simulator"):
        train(config(tmp_path / "run", env="tests.runs.small:RaisesInWorkers"))
    assert not children("")


def test_what_was_built_is_closed_when_the_next_cannot_be(tmp_path):
    with pytest.raises(RunError, match="no licence for an eighth simulator"):
        train(config(tmp_path / "run", env="tests.runs.small:Licensed", mode="serial", num_envs_per_worker=4))
    assert not Licensed.open


def test_existing_run_directory_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="run"):
        train(config(tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_impossible_combinations(tmp_path):
    with pytest.raises(UsageError, match="batch_size"):
        train(config(tmp_path / "run", batch_size=10**9))
    with pytest.raises(UsageError, match="batch_size"):
        train(config(tmp_path / "run", mode="sync", batch_size=64))
    with pytest.raises(UsageError, match="no role"):
        train(config(tmp_path / "run", sharing='{"agent_0": "left"}'))
    with pytest.raises(UsageError, match="state"):
        train(config(tmp_path / "run", algo="mappo", hp=None, state_source="env"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_killed_before_its_result_was_told_tells_it(tmp_path):
    """`kill -9` during the final evaluation leaves the last checkpoint and no summary."""
    run_dir = tmp_path / "run"
    train(config(run_dir, mode="serial", env_steps=400))
    with pytest.raises(UsageError, match=r"has taken \d+ of its 400 env-steps\. Raise --env-steps"):
        resume(run_dir)
    (run_dir / "summary.json").unlink()
    result = resume(run_dir, final_eval_episodes=4)
    assert result.summary["stopped_by"] == "finished" and result.summary["evaluation"]["episodes"] == 4
    assert json.loads((run_dir / "summary.json").read_text()) == result.summary
    with pytest.raises(UsageError, match="Raise --env-steps"):
        resume(run_dir)


def test_resume_passes_over_a_corrupt_checkpoint_loudly(tmp_path, capsys):
    run_dir = tmp_path / "run"
    train(config(run_dir, mode="serial", env_steps=400, checkpoint_seconds=0.01))
    newest = checkpoint_paths(run_dir)[0]
    weights = newest / "policies" / "agent" / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    resume(run_dir, env_steps=800)
    shown = capsys.readouterr().out
    assert newest.name in shown and "warning" in shown


def test_resume_without_a_usable_checkpoint_does_not_start_from_zero(tmp_path):
    run_dir = tmp_path / "run"
    train(config(run_dir, mode="serial", env_steps=200))
    for path in checkpoint_paths(run_dir):
        (path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="No checkpoint"):
        resume(run_dir, env_steps=800)


def test_a_finished_run_is_not_resumed(tmp_path):
    train(config(tmp_path / "run", mode="serial", env_steps=200))
    with pytest.raises(UsageError, match="env-steps"):
        resume(tmp_path / "run")


def test_a_run_that_dies_before_it_learns_says_only_that(tmp_path, capsys):
    """There is nothing to save, and training does not go on."""
    RaisesAtThird.copies.clear()
    settings = {"env": "tests.runs.small:RaisesAtThird", "mode": "serial", "num_workers": 1, "quiet": False}
    with pytest.raises(RunError, match="no licence"):
        train(config(tmp_path / "run", **settings))
    said = "".join(capsys.readouterr())
    assert "Training goes on" not in said


def test_opponents_in_one_team_are_warned_of(tmp_path, capsys):
    """Their team return is 0 whatever they learn; a team whose members earn differently is none of the kind."""
    common = {"mode": "serial", "num_workers": 1, "env_steps": 2000, "quiet": False}
    train(config(tmp_path / "rivals", env="tests.runs.small:Rivals", **common))
    assert "team 'agent': its agents' returns cancel out in every episode" in "".join(capsys.readouterr())
    train(config(tmp_path / "partners", **common))
    assert "cancel out" not in "".join(capsys.readouterr())
