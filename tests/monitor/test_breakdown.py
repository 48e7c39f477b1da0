from __future__ import annotations

import pytest

from sfmarl.monitor.breakdown import CATEGORIES, break_down
from sfmarl.monitor.metrics import describe


def seconds(rollout: tuple, inference: tuple, learner: tuple) -> dict[str, dict[str, float]]:
    given = {"rollout": rollout, "inference": inference, "learner": learner}
    return {role: dict(zip(CATEGORIES[role], values, strict=True)) for role, values in given.items()}


@pytest.mark.parametrize(
    ("rollout", "inference", "learner", "bottleneck"),
    [
        # env, write, wait_actions, wait_slots | wait, weights, gather, forward, scatter | wait, gather, update, publish
        ((50, 10, 30, 10), (70, 1, 9, 15, 5), (3, 10, 85, 2), "learner"),
        ((30, 5, 15, 50), (80, 1, 4, 10, 5), (15, 5, 78, 2), "learner"),
        ((30, 10, 60, 0), (5, 2, 13, 70, 10), (60, 5, 33, 2), "inference"),
        ((85, 10, 5, 0), (75, 1, 4, 15, 5), (70, 5, 23, 2), "environment"),
        ((50, 10, 40, 0), (60, 5, 10, 20, 5), (70, 5, 23, 2), "environment"),
    ],
)
def test_the_bottleneck_is_named(rollout, inference, learner, bottleneck):
    found = break_down(seconds(rollout, inference, learner))
    assert found.bottleneck == bottleneck
    assert bottleneck in found.sentence.lower()
    for shares in found.fractions.values():
        assert sum(shares.values()) == pytest.approx(1)
    assert found.fractions["rollout"]["env"] == rollout[0] / 100
    scalars = found.scalars()
    assert scalars["time/learner/update"] == learner[2] / 100
    assert len(scalars) == 13
    assert all(describe(name) for name in scalars)


@pytest.mark.parametrize(
    ("rollout", "learner", "bottleneck"),
    [
        ((30, 5, 60, 5), (60, 5, 33, 2), "inference"),
        ((50, 10, 35, 5), (60, 5, 33, 2), "environment"),
        ((50, 10, 35, 5), (5, 10, 83, 2), "learner"),
    ],
)
def test_local_inference_never_waits_and_is_judged_by_its_share_of_the_workers_time(rollout, learner, bottleneck):
    found = break_down(seconds(rollout, (0, 1, 4, 90, 5), learner), local_inference=True)
    assert found.bottleneck == bottleneck
    assert bottleneck in found.sentence.lower()
    if bottleneck != "learner":
        assert f"{rollout[2]}% in computing actions" in found.sentence


def test_the_scale_does_not_matter():
    given = seconds((3, 1, 2, 0), (1, 1, 1, 1, 1), (1, 0, 1, 0))
    doubled = {role: {name: 2 * x for name, x in spent.items()} for role, spent in given.items()}
    assert break_down(given) == break_down(doubled)


def test_roles_without_time_are_left_out():
    found = break_down({"rollout": {"env": 2.0, "write": 0.5}, "learner": {"wait": 0.0}})
    assert list(found.fractions) == ["rollout"]
    assert found.bottleneck == "environment"
    assert break_down({}).bottleneck == ""
