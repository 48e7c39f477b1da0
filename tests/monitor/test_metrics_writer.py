from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sfmarl.monitor.metrics_writer import MetricsWriter
from sfmarl.monitor.record_files import Late

LAG, LENGTH = "policy_lag/mean", "episode/length"


def read_lines(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def read_events(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run_dir), purge_orphaned_data=True)
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def write(writer: MetricsWriter, steps: range) -> None:
    for step in steps:
        writer.write({LAG: step / 100, LENGTH: 25}, env_steps=step, agent_steps=3 * step, wall_seconds=step / 10)


def test_both_files_hold_what_was_written(tmp_path):
    writer = MetricsWriter(tmp_path)
    write(writer, range(100, 400, 100))
    writer.close()
    assert read_events(tmp_path, LAG) == [(100, 1.0), (200, 2.0), (300, 3.0)]
    assert read_events(tmp_path, LENGTH) == [(100, 25.0), (200, 25.0), (300, 25.0)]
    lines = read_lines(tmp_path)
    assert [list(line) for line in lines] == [["time", "wall_seconds", "env_steps", "agent_steps", LAG, LENGTH]] * 3
    assert [(x["env_steps"], x["agent_steps"], x["wall_seconds"], x[LAG]) for x in lines] == [
        (100, 300, 10.0, 1.0),
        (200, 600, 20.0, 2.0),
        (300, 900, 30.0, 3.0),
    ]


def test_non_finite_values_are_null_in_json(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({LAG: math.nan, LENGTH: math.inf, "episodes": 1e300}, env_steps=1, agent_steps=1)
    writer.close()
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert (read_lines(tmp_path)[0][LAG], read_lines(tmp_path)[0][LENGTH]) == (None, None)
    ((step, value),) = read_events(tmp_path, LAG)
    assert step == 1
    assert math.isnan(value)


def test_a_resumed_run_continues_the_step_axis(tmp_path):
    """The first session went on to 500 after its checkpoint at 300; the second one starts there."""
    writer = MetricsWriter(tmp_path)
    write(writer, range(100, 600, 100))
    writer.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"env_steps": 200, "half')
    writer = MetricsWriter(tmp_path, resume_step=300)
    writer.write({LAG: -4}, env_steps=400, agent_steps=1200)
    writer.close()
    assert [(line["env_steps"], line[LAG]) for line in read_lines(tmp_path)] == [
        (100, 1),
        (200, 2),
        (300, 3),
        (400, -4),
    ]
    assert read_events(tmp_path, LAG) == [(100, 1), (200, 2), (300, 3), (400, -4)]


def test_a_full_disk_costs_one_warning_and_no_record(tmp_path, monkeypatch):
    real, full = os.write, threading.Event()

    def filling(descriptor: int, data: bytes) -> int:
        if full.is_set() and len(data) > 8:  # a full disk takes a part first
            real(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    notices: list[str] = []
    writer = MetricsWriter(tmp_path, warn=notices.append, retry_seconds=0)
    write(writer, range(1, 3))
    while not (tmp_path / "metrics.jsonl").exists() or len(read_lines(tmp_path)) < 2:
        pass
    monkeypatch.setattr(os, "write", filling)
    full.set()
    write(writer, range(3, 6))
    while len(notices) < 2:
        writer.write({LAG: 0}, env_steps=6, agent_steps=0)
        time.sleep(0.005)
    assert [line["env_steps"] for line in read_lines(tmp_path)] == [1, 2]
    full.clear()
    write(writer, range(7, 9))
    writer.close()
    failed = [text for text in notices if "No space left" in text]
    assert len(failed) == 2
    assert sum("again." in text for text in notices if text not in failed) == 2
    steps = [line["env_steps"] for line in read_lines(tmp_path)]
    assert steps == sorted(steps)
    assert {1, 2, 3, 4, 5, 6, 7, 8} == set(steps)
    assert [step for step, _ in read_events(tmp_path, LAG)] == steps


def test_a_run_directory_that_takes_nothing_does_not_stop_training(tmp_path):
    (tmp_path / "file").write_text("")
    notices: list[str] = []
    writer = MetricsWriter(tmp_path / "file", warn=notices.append, retry_seconds=0)
    write(writer, range(5))
    writer.close()
    assert sum("cannot be written" in text for text in notices) == 2
    assert sum("5 records never reached" in text for text in notices) == 2


def test_writing_returns_while_the_disk_hangs(tmp_path, monkeypatch):
    release, real = threading.Event(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: release.wait() and real(descriptor, data))
    writer = MetricsWriter(tmp_path)
    write(writer, range(1000))
    writer.close(timeout=0.01)
    release.set()
    writer.close()
    assert len(read_lines(tmp_path)) == 1000


def test_what_comes_late_joins_its_record_and_a_failure_costs_nothing_else(tmp_path):
    notices: list[str] = []
    writer = MetricsWriter(tmp_path, warn=notices.append)
    begun = threading.Event()

    def late() -> Late:
        begun.set()
        time.sleep(1.2)
        return Late({"league/main/rating": 1300.0}, {"met": {"main": [1.0]}}, {})

    def failing() -> Late:
        raise ValueError("no colour")

    writer.write({"episodes": 1.0}, env_steps=1, agent_steps=1, late=failing)
    writer.write({"episodes": 2.0}, env_steps=2, agent_steps=2, late=late)
    assert begun.wait(10)
    writer.close(timeout=0.5)
    first, second = read_lines(tmp_path)
    assert "league/main/rating" not in first and second["league/main/rating"] == 1300 and second["episodes"] == 2
    (line,) = (tmp_path / "league.jsonl").read_text().splitlines()
    assert json.loads(line)["met"] == {"main": [1.0]} and json.loads(line)["env_steps"] == 2
    assert notices == ["A record's pictures could not be made: ValueError: no colour."]
