"""What the console is told of a run's speed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sfmarl.memory.words import (
    INFERENCE_COUNTS,
    INFERENCE_TIMES,
    LEARNER_COUNTS,
    LEARNER_TIMES,
    ROLLOUT_COUNTS,
    ROLLOUT_TIMES,
)
from sfmarl.monitor import recorder as recorder_module
from sfmarl.monitor.recorder import Recorder
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


class Clock:
    """A `time` module whose monotonic() is told what to say."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def words(env_steps: int = 0) -> SimpleNamespace:
    """Return the control words of two rollout workers, one inference worker and one learner."""

    def zeros(rollout, inference, learner, dtype):
        names = {"rollout": (2, rollout), "inference": (1, inference), "learner": (1, learner)}
        return {role: np.zeros((count, len(of_role)), dtype) for role, (count, of_role) in names.items()}

    words = SimpleNamespace(
        counts=zeros(ROLLOUT_COUNTS, INFERENCE_COUNTS, LEARNER_COUNTS, np.int64),
        times=zeros(ROLLOUT_TIMES, INFERENCE_TIMES, LEARNER_TIMES, np.float64),
    )
    step(words, env_steps)
    return words


def step(words: SimpleNamespace, env_steps: int, agents: int = 3) -> None:
    """Have worker 1 make env-steps of so many agents."""
    words.counts["rollout"][1, ROLLOUT_COUNTS.index("env_steps")] += env_steps
    words.counts["rollout"][1, ROLLOUT_COUNTS.index("agent_steps")] += agents * env_steps


def recorder(words: SimpleNamespace) -> Recorder:
    obs, action = ObsSpec((2,), np.dtype(np.float32)), ActionSpec("discrete", (3,), (0,))
    env = EnvSpec("e", (TeamSpec("team", ("a", "b", "c"), obs, action),))
    return Recorder(words, env, ["main"], called=0.0, rollout=8, epochs=[1.0], past_seconds=0.0)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(recorder_module, "time", clock)
    return clock


@pytest.mark.parametrize("before", [0, 5000])  # of a run that was resumed
def test_the_start_of_the_processes_is_no_part_of_the_speed_that_is_shown(clock, before):
    shared = words(before)
    watch = recorder(shared)
    clock.now += 9.0  # imports, environments being built
    watch.look()
    step(shared, 10)
    watch.look()
    clock.now += 1.0
    step(shared, 200)
    scalars = watch.record()
    assert (watch.view().env_steps_per_second, watch.view().agent_steps_per_second) == (200.0, 600.0)
    assert scalars["throughput/env_steps_per_second"] == 21.0  # what is drawn counts all of the time
    clock.now += 10.0
    step(shared, 500)
    watch.look()
    scalars = watch.record()
    assert watch.view().env_steps_per_second == scalars["throughput/env_steps_per_second"] == 50.0


def test_a_record_before_the_first_step_knows_no_speed(clock):
    shared = words()
    watch = recorder(shared)
    for _ in range(2):
        clock.now += 10.0
        watch.look()
        watch.record()
        assert watch.view().env_steps_per_second == 0.0
    step(shared, 1)
    watch.look()
    clock.now += 2.0
    step(shared, 100)
    watch.record()
    assert watch.view().env_steps_per_second == 50.0
