"""`benchmarks/chaos.py`: a short training under fire survives, and its report says what did not."""

from __future__ import annotations

import json
import sys

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
    text = chaos_report.table(record)
    assert "| 4 | 3 | 1 | 9,000 | 120 env-steps | 60 agent-steps | 0 | 0 | 0 |" in text
    assert "| rollout | 3 | 2.00 | 3.00 | 3.00 |" in text
    assert "disturbed -30.0 ± 1.0, undisturbed -29.0 ± 1.0" in text and "NOT survived: it hung" in text


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
