"""`benchmarks/kill_resume.py`: counters that jump are seen, and a short training survives three kills."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest

MACHINE = {"cores": 2, "cpu": "a CPU", "python": "3.11", "torch": "2.13", "numpy": "2.4"}


@pytest.fixture
def states():
    """Return a state and one that a run may well have come to from there."""
    from kill_resume import State

    return State(10_000, 30_000, 400, 5.0, 8, 35, 27_000), State(20_000, 60_000, 800, 9.0, 16, 75, 54_000)


def test_a_run_that_goes_on_has_no_jumps(states):
    before, after = states
    assert before.jumps_to(after) == before.jumps_to(before) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"env_steps": 5_000, "agent_steps": 15_000}, "env_steps went back by 5000"),
        ({"agent_steps": 59_999}, "29999 agent-steps in 10000 env-steps"),
        ({"policy_version": 2}, "policy_version went back by 6"),
        ({"adam_steps": 0}, "adam_steps went back by 35"),
        ({"adam_steps": 76}, "41 gradient steps in 8 updates"),
        ({"normaliser_samples": 0}, "normaliser_samples went back by 27000"),
        ({"normaliser_samples": 58_000}, "31000 samples normalised of 30000 agent-steps"),
        ({"episodes": 399}, "episodes went back by 1"),
        ({"episodes": 735}, "335 episodes in 10000 env-steps"),
        ({"seconds": 4.0}, "seconds went back by 1"),
        ({"normaliser_samples": 27_000}, "nothing was learned"),
    ],
)
def test_jumps_are_seen(states, changes, wrong):
    before, after = states
    assert wrong in before.jumps_to(replace(after, **changes))


def test_learning_rates_off_the_schedule_are_seen():
    import argparse

    from kill_resume import LR, Killed

    killed = Killed(argparse.Namespace(env_steps=1000), None, None)
    killed._check_lr(LR * 0.55, since=400, now=500)
    assert not killed.jumps
    killed._check_lr(LR, since=400, now=500)
    assert killed.jumps == ["after kill 0: learning rate 0.001, not 0.0006 to 0.0005"]


class Ended:
    """A run that was over, with this exit code, before anybody came to kill it."""

    def __init__(self, code: int) -> None:
        self.run_dir, self.process, self.code = "run", None, code

    def start(self, words) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({self.code})"])
        self.process.wait()

    def record(self) -> dict:
        return {}

    def family(self) -> list:
        return []

    def ends_within(self, seconds: float) -> bool:
        return True

    def last_words(self) -> str:
        return "so it was"


@pytest.mark.parametrize(("code", "failure"), [(0, ""), (1, "the run did not come to its kill 1: so it was")])
def test_a_run_that_ends_before_it_is_killed(monkeypatch, states, code, failure):
    import argparse

    import kill_resume

    monkeypatch.setattr(kill_resume, "state_of", lambda run_dir: states[1])
    killed = kill_resume.Killed(argparse.Namespace(env_steps=1000, kills=3), Ended(code), random.Random(1))
    assert (killed.train(["train"]), killed.kills, killed.jumps) == (failure, [], [])


def test_report(states):
    from dataclasses import asdict

    import kill_resume_report

    before, after = states
    finished = {"score": -30.0, "half_width": 1.25, **asdict(after)}
    kills = [
        {"moment": "training", "env_steps_lost": 700, "lr": 0.0005, "checkpoint": asdict(before)},
        {"moment": "start-up", "env_steps_lost": 0, "lr": None, "checkpoint": asdict(before)},
    ]
    pair = {"seed": 3, "whole": finished, "killed": {**finished, "score": -31.0}, "failure": "", "kills": kills,
            "jumps": ["after kill 2: x"], "lost": 0, "orphans": 0, "shm_bytes_left": 0}  # fmt: skip
    failed = {**pair, "seed": 4, "whole": None, "killed": None, "failure": "it hung", "jumps": []}
    failed["tmp_left"] = ["pymp-x"]
    record = {"command": "python benchmarks/kill_resume.py", "machine": MACHINE, "seconds": 60.0, "env_steps": 20_000,
              "seeds": [pair, failed], "difference": {"mean": -1.0, "half_width": None, "count": 1}}  # fmt: skip
    text = kill_resume_report.page(record)
    assert "| 3 | -31.00 ± 1.25 | -30.00 ± 1.25 | 2 (1) | 700 | 1 | 0 | 0 | 0 |" in text
    assert "| 0 | 0 | 0 |  |" in text and "| 0 | 0 | 0 | 1 |" in text
    assert "NOT right, seed 3: after kill 2: x" in text and "NOT right, seed 4: it hung" in text
    assert "| 2 | start-up | 10,000 | 30,000 | 400 | 8 | 35 | 27,000 |  |" in text
    assert "-31.00 after 2 kills, -30.00 without" in kill_resume_report.line(pair)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_kills(tmp_path, monkeypatch):
    import kill_resume

    words = "kill_resume.py --seeds 2 --kills 3 --env-steps 120000 --episodes 20 --results"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(tmp_path)])
    assert kill_resume.main() == 0
    record = json.loads((tmp_path / "kill_resume.json").read_text())
    (pair,) = record["seeds"]
    assert pair["kills"] and pair["killed"]["env_steps"] >= 120_000
    assert pair["failure"] == "" and pair["jumps"] == [] and pair["lost"] == pair["orphans"] == 0
    counted = [kill["checkpoint"]["env_steps"] for kill in pair["kills"]]
    assert counted == sorted(counted) and counted[-1] > 0
