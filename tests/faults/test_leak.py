"""No process grows, whatever kind of environment: a short version of `benchmarks/leak.py`, which watches an hour."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TOLERANCE_MIB = 8.0
"""Growth within the last half minute that is no leak: allocators still settle."""


@pytest.fixture
def leak(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import leak

    yield leak
    for name in ("leak", "leak_report", "machine", "watched_run"):
        sys.modules.pop(name, None)


def watch(leak, monkeypatch, folder: Path, works: str, seconds: int, warm_up: int) -> tuple[int, dict]:
    words = f"leak.py --works {works} --seconds {seconds} --warm-up {warm_up} --interval 1 --results"
    monkeypatch.setattr(sys, "argv", [*words.split(), str(folder), "--tolerance-mib", str(TOLERANCE_MIB)])
    return leak.main(), json.loads((folder / "leak.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_process_grows_in_a_minute_of_short_episodes(leak, tmp_path, monkeypatch):
    code, record = watch(leak, monkeypatch, tmp_path, "dict native game", seconds=90, warm_up=45)
    roles = {"main", "forkserver", "resource tracker", "rollout-0", "rollout-1", "inference-0", "learner-0",
             "evaluator-0"}  # fmt: skip
    for name, work in record["works"].items():
        assert work["processes"].keys() == roles and work["exit_code"] == 130 and work["episodes"] > 1000, name
        for process, found in work["processes"].items():
            grown = (found["rss"]["end"] - found["rss"]["start"]) / leak.MIB
            assert grown <= TOLERANCE_MIB and found["lives"] == 1, (name, process)
    assert code == 0 and record["flat"] and record["shm_bytes_left"] == 0


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_environment_that_leaks_is_found(leak, tmp_path, monkeypatch):
    """In the rollout workers, and nowhere else."""
    hoarding = "train tests.faults.troubles:Hoarding --algo ippo --eval-env-steps 0"
    monkeypatch.setitem(leak.WORKS, "hoarding", ("keeps what it should forget", hoarding))
    code, record = watch(leak, monkeypatch, tmp_path, "hoarding", seconds=25, warm_up=10)
    assert code == 1 and not record["flat"]
    processes = record["works"]["hoarding"]["processes"]
    assert {name for name, found in processes.items() if not found["flat"]} == {"rollout-0", "rollout-1"}
