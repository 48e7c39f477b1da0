from __future__ import annotations

import pytest

from sfmarl.monitor.metrics import METRICS, describe


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("throughput/agent_steps_per_second", "agent-steps/s"),
        ("learner/agent/entropy", "nats"),
        ("learner/a/b/lr", "1"),
        ("learner/agent/something_new", "1"),
        ("learner/valid_fraction", "1"),
        ("episode/return_agent/agent_0", "reward"),
        ("time/rollout/wait_slots", "1"),
    ],
)
def test_names_are_documented(name, unit):
    assert describe(name).unit == unit


def test_unknown_names_are_not():
    assert describe("throughput/fps") is None
    assert describe("episode/length2") is None
    assert all(metric.description and metric.unit for metric in METRICS.values())
