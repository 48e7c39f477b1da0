"""What is measured of real environments, in this process; costs themselves are the machine's."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.errors import RunError
from sfmarl.tuning import probe
from sfmarl.tuning.probe import learner_thread_counts, measure, measure_sizes
from tests.runs.small import RaisesAtThird


def settings(env, **changes) -> Config:
    changes = {"algo": "ippo", "device": "cpu", "rollout": 8, **changes}
    hp = replace(get_algorithm(changes["algo"]).hyperparameters(), hidden=(8,), epochs=1, minibatches=1)
    return Config(env=env, hp=hp, **changes)


def test_threads_of_a_learner():
    counts = {cores: learner_thread_counts(cores) for cores in (1, 2, 4, 8, 13, 64)}
    assert counts == {1: (1,), 2: (1, 2), 4: (1, 2), 8: (1, 2, 4), 13: (1, 2, 3, 6), 64: (1, 2, 16, 32)}


def test_every_piece_is_counted(monkeypatch):
    monkeypatch.setattr(probe, "SIZES", (2, 4))
    config = settings("games/climbing")
    sizes = measure_sizes(config, load_spec(config), (1, 2), seconds=1000.0)  # ends when enough is known
    assert [(size.envs, size.threads) for size in sizes] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    for size in sizes:
        assert size.complete and set(size.update_seconds) == {0}
        assert all(len(times) >= probe.UPDATES for times in size.update_seconds.values())
        # an update takes one slot of every env; a truncated episode spends a phantom step in it
        assert set(size.steps_between_updates[0]) <= {size.envs * steps for steps in (7, 8)}
        assert size.agent_steps == 2 * size.env_steps
        assert 0.8 * size.passes * size.envs < size.env_steps <= size.passes * size.envs
        assert min(size.step_seconds, size.act_seconds) > 0
    figures = probe._figures(sizes, 2, 0.0, "cpu", (1e-4, 1e-4))
    assert [size for size, _ in figures.step.points] == [2, 4] and set(figures.learn) == {1, 2}
    assert figures.learning(3) == figures.learn[2] != figures.learning(1)


def test_an_environment_that_sleeps_waits_and_does_not_compute(monkeypatch):
    monkeypatch.setattr(probe, "SIZES", (4,))
    config = settings("tests.runs.small:Slow")  # sleeps a millisecond per step
    (size,) = measure_sizes(config, load_spec(config), (1,), seconds=5.0)
    assert median(size.pauses) >= 4e-3
    assert size.step_seconds / size.passes < median(size.pauses)


def test_a_slow_environment_is_measured_without_an_update(monkeypatch):
    monkeypatch.setattr(probe, "SIZES", (4, 32))
    config = settings("tests.runs.small:Slow", rollout=1000)
    (size,) = measure_sizes(config, load_spec(config), (1,), seconds=0.5)
    assert not size.complete and size.passes > 0
    figures = probe._figures([size], 2, 0.0, "cpu", (1e-4, 1e-4))
    assert figures.learn == {}


def test_several_policies_memory_and_turns(monkeypatch):
    monkeypatch.setattr(probe, "SIZES", (4,))
    for config in (
        settings("tests.runs.small:Perilous"),
        settings("tests.runs.turn_games:Betting", policies={"player_0": "main", "player_1": "main"}),
    ):
        config.hp.actor_rnn = "gru"
        env = load_spec(config)
        (size,) = measure_sizes(config, env, (1,), seconds=20.0)
        policies = 1 if env.turn_based else len(env.teams)
        assert size.complete and len(size.steps_between_updates) == policies


@pytest.mark.slow
def test_measuring_happens_in_a_process_of_its_own():
    config = settings("games/climbing")
    figures = measure(config, load_spec(config), 1.5)
    assert figures.agents == 2.0 and figures.learn[1][0](64) > 0
    assert 0 < figures.wake_seconds < 1 and figures.to_json()["cores"] == figures.cores
    RaisesAtThird.copies.clear()
    broken = settings("tests.runs.small:RaisesAtThird")
    with pytest.raises(RunError, match="no licence for a third simulator"):
        measure(broken, load_spec(broken), 2.0)
