"""`benchmarks/leak.py`: what grows is told from what is only restless, and the report says who grew."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import psutil
import pytest

MIB = 2**20
MACHINE = {"cores": 2, "cpu": "a CPU", "python": "3.11", "torch": "2.13", "numpy": "2.4"}
ARGS = argparse.Namespace(warm_up=100.0, tolerance_mib=16.0, tolerance_files=4)


def watched(run: Path, rss_mib, files=12, pids=(1,)):
    """Return a run whose learner was looked at every 5 s for an hour; it begins with 300 MiB of warm-up."""
    import leak
    from watched_run import WatchedRun

    found = leak.Watched("dict", WatchedRun(run))
    for i in range(720):
        seconds = 5.0 * i
        rss = int((rss_mib(seconds / 3600) + (300 if seconds < 100 else 0)) * MIB)
        opened = files(seconds / 3600) if callable(files) else files
        found.looks["learner-0"].append((seconds, rss, rss // 2, rss // 3, 7 * MIB, opened, 3))
    found.pids["learner-0"] = set(pids)
    return found


@pytest.mark.parametrize(
    ("rss", "files", "pids", "flat"),
    [
        (lambda hour: 500.0, 12, (1,), True),
        (lambda hour: 500.0 + 40 * (0.2 < hour < 0.21), 12, (1,), True),
        (lambda hour: 500.0 + 40 * hour, 12, (1,), False),
        (lambda hour: 500.0 - 40 * hour, 12, (1,), True),
        (lambda hour: 500.0, lambda hour: int(12 + 20 * hour), (1,), False),
        (lambda hour: 500.0, lambda hour: 12 + 8 * (hour > 0.1 and int(100 * hour) % 10 > 0), (1,), True),
        (lambda hour: 500.0, 12, (1, 2), False),
    ],
    ids=["flat", "a peak", "grows", "shrinks", "forgets to close files", "opens and closes files", "was replaced"],
)
def test_what_is_flat(rss, files, pids, flat, tmp_path):
    assert watched(tmp_path, rss, files, pids).judged(ARGS)["learner-0"]["flat"] is flat


def test_the_slope_is_that_of_the_line_whatever_peaks_there_are():
    import leak

    seconds = np.arange(0, 3600, 5.0)
    noise = np.random.default_rng(1).normal(size=len(seconds))
    values = 100.0 + 12.0 * seconds / 3600 + noise
    values[::20] += 500.0
    found = leak.growth(seconds, values)
    assert found["low"] < 12.0 < found["high"] and abs(found["per_hour"] - 12.0) < 1.0
    assert abs(found["end"] - found["start"] - 0.9 * 12.0) < 1.0


def test_a_process_that_came_late_is_no_result(tmp_path):
    found = watched(tmp_path, lambda hour: 1.0)
    found.looks["learner-0"] = found.looks["learner-0"][:20]
    with pytest.raises(RuntimeError, match="learner-0"):
        found.judged(ARGS)


def test_quantities_of_this_process():
    import leak

    rss, uss, anon, shared, files, threads = leak.quantities(psutil.Process())
    assert rss > uss > 0 and rss > anon > 0 and shared >= 0
    assert files == len(os.listdir("/proc/self/fd")) and threads >= 1
    held = np.ones(2**23)
    assert leak.quantities(psutil.Process())[0] - rss > 0.9 * held.nbytes


def test_the_report_says_who_grew(tmp_path):
    import leak_report

    flat = watched(tmp_path, lambda hour: 500.0).judged(ARGS)
    grown = watched(tmp_path, lambda hour: 500.0 + 40 * hour).judged(ARGS)
    work = {
        "about": "spread",
        "command": "train x",
        "episodes": 123456,
        "env_steps": 400000,
        "exit_code": 130,
        "orphans": 0,
    }
    record = {
        "command": "python benchmarks/leak.py", "machine": MACHINE, "seconds": 3600.0, "warm_up": 100.0,
        "tolerance_mib": 16.0, "tolerance_files": 4, "shm_bytes_most": 5, "shm_bytes_left": 0, "flat": False,
        "works": {"dict": {**work, "processes": flat | {"rollout-0": grown["learner-0"]}}},
    }  # fmt: skip
    leak_report.write(record, tmp_path)
    text = (tmp_path / "leak.md").read_text()
    assert "123,456 episodes" in text and "NOT flat." in text and "0 at the end.\n" in text
    assert "in TMPDIR 1 files were left" in leak_report.tables({**record, "tmp_left": ["pymp-x"]})
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "500.0 | 500.0 | +0.00 (+0.00 to +0.00)" in rows["learner-0"] and rows["learner-0"].endswith("| yes |")
    assert "+40.00 (+40.00 to +40.00)" in rows["rollout-0"] and rows["rollout-0"].endswith("| NO |")
    assert (tmp_path / "leak.png").stat().st_size > 0
