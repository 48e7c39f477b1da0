"""`benchmarks/chaos.py`: a short training under fire survives, and its report says what did not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


def test_report():
    import chaos_report

    score = {"metric": "return", "mean": -30.0, "half_width": 1.0}
    record = {
        "faults": {"rollout worker: SIGKILL": 3, "learner: SIGSTOP": 1}, "recovered": 3, "rebuilt": 1,
        "env_steps": 9000, "env_steps_lost": 120, "agent_steps_unlearned": 60, "checkpoints_lost": 0, "orphans": 0,
        "shm_bytes_left": 0, "resume_seconds": [], "score": score, "score_undisturbed": {**score, "mean": -29.0},
        "recovery_seconds": [{"component": "rollout", "seconds": x} for x in (1.0, 3.0, 2.0)], "failure": "it hung",
    }  # fmt: skip
    assert "| 0 | 0 | 0 | 2 |" in chaos_report.table({**record, "tmp_left": ["pymp-x", "pymp-x/listener-y"]})
    text = chaos_report.table(record)  # as older ones are, in which nobody looked at TMPDIR
    assert "| 4 | 3 | 1 | 9,000 | 120 env-steps | 60 agent-steps | 0 | 0 | 0 |" in text
    assert "| rollout | 3 | 2.00 | 3.00 | 3.00 |" in text
    assert "disturbed -30.0 ± 1.0, undisturbed -29.0 ± 1.0" in text and "NOT survived: it hung" in text


def killed(monkeypatch, paths: list[Path], readable: Path):
    """Return a `Chaos` after a kill before which there were `paths`, newest first, and after which one is readable."""
    import chaos

    record = {"env_steps": 0, "agent_steps": 0}
    run = SimpleNamespace(run_dir=paths[0].parent, kill=lambda: None, orphans=list, start=lambda words: None,
                          record=lambda: record)  # fmt: skip
    monkeypatch.setattr(chaos.checkpoint, "checkpoint_paths", lambda run_dir: paths)
    monkeypatch.setattr(chaos.checkpoint, "latest", lambda run_dir: SimpleNamespace(path=readable, run_state=record))
    monkeypatch.setattr(chaos, "PATIENCE", 0.0)
    monkeypatch.setattr(chaos.Chaos, "_goes_on", lambda self, before: True)
    (paths[0].parent / "events.jsonl").touch()
    disturbed = chaos.Chaos(None, run, None)
    disturbed._kill_main()
    return disturbed


def test_a_newest_checkpoint_that_cannot_be_read_after_a_kill_is_lost(monkeypatch, tmp_path):
    newest, before, oldest = (tmp_path / f"checkpoint-{steps}" for steps in (300, 200, 100))
    assert killed(monkeypatch, [newest, before, oldest], newest).checkpoints_lost == 0
    assert killed(monkeypatch, [newest, before, oldest], before).checkpoints_lost == 1


def test_what_a_run_leaves_in_its_tmpdir_is_seen(tmp_path):
    from watched_run import WatchedRun

    run = WatchedRun(tmp_path / "run")
    run.start(["--version"])
    assert run.ends_within(60) and run.process.returncode == 0 and run.left_in_tmp() == []
    (run.tmp / "pymp-x").mkdir()
    (run.tmp / "pymp-x" / "listener-y").touch()
    assert run.left_in_tmp() == ["pymp-x", "pymp-x/listener-y"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_training_survives(tmp_path, monkeypatch):
    import chaos

    words = "chaos.py --faults 6 --interval 1 --episodes 8 --seed 3 --results"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(tmp_path)])
    assert chaos.main() == 0
    record = json.loads((tmp_path / "chaos.json").read_text())
    assert record["recovered"] == 6 and record["failure"] == ""
    assert record["orphans"] == record["checkpoints_lost"] == record["shm_bytes_left"] == 0
    assert record["tmp_left"] == [] and "| files left in TMPDIR |" in (tmp_path / "chaos.md").read_text()
