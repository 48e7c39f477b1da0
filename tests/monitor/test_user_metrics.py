"""Metrics that a user registers: names, documentation, values, failures."""

from __future__ import annotations

import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import UsageError, UserCodeError
from sfmarl.evaluation.evaluator import Evaluator
from sfmarl.monitor.episodes import EpisodeStats
from sfmarl.monitor.metrics import USER_METRICS, describe, register_metric
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(USER_METRICS, "_values", {})


def spec() -> EnvSpec:
    obs, action = ObsSpec((2,), np.dtype(np.float32)), ActionSpec("discrete", (3,), (0,))
    return EnvSpec("e", (TeamSpec("red", ("r0", "r1"), obs, action), TeamSpec("blue", ("b0",), obs, action)))


def gap(episodes):
    """Red's lead over blue."""
    return (episodes.returns_of("red").sum(axis=1) - episodes.returns_of("blue")[:, 0]).mean()


def test_values_of_the_episodes_since_the_last_record():
    register_metric("gap", gap, unit="reward")
    register_metric("wins", lambda episodes: np.nansum(episodes.info_of("win", "blue")), "blue's wins")
    register_metric("documented/only")
    stats = EpisodeStats(spec())
    assert stats.collect() == {"episodes": 0}
    for blue, win in ((1.0, 1.0), (4.0, 0.0), (7.0, np.nan)):
        told = stats.add(
            np.array([[1.0, 2.0, blue]]),
            np.array([4]),
            shaped=np.array([[0.5, 0.5, blue]]),
            infos={"win": np.array([[np.nan, win]])},
        )
        assert told.returns_of("blue").tolist() == told.shaped[:, 2:].tolist() == [[blue]]
        np.testing.assert_array_equal(told.info_of("win", "blue"), [win])
    scalars = stats.collect()
    assert scalars["gap"] == 3.0 - 4.0 and scalars["wins"] == 1.0 and "documented/only" not in scalars
    assert scalars["info/win/blue"] == 0.5 and "info/win/red" not in scalars
    assert scalars["episode/shaped_return_team/red"] == 1.0 and scalars["episode/shaped_return_team/blue"] == 4.0
    assert all(describe(name) for name in (*scalars, "documented/only"))


def test_evaluations_compute_them_too():
    register_metric("mean_length", lambda episodes: episodes.lengths.mean(), "length", unit="env-steps")
    config = Config("games/climbing", env_kwargs={"length": 6})
    evaluator = Evaluator(config, {t.name: ScriptedPlayer("random", t, 1) for t in load_spec(config).teams}, 5, seed=3)
    while evaluator.run_once():
        pass
    evaluation = evaluator.result()
    evaluator.close()
    assert evaluation.metrics == {"mean_length": 6.0} and evaluation.scalars()["eval/mean_length"] == 6.0
    assert evaluation.to_json()["metrics"] == {"mean_length": 6.0} and "mean_length" in str(evaluation)
    assert describe("eval/mean_length").unit == describe("mean_length").unit == "env-steps"
    assert describe("mean_lengths") is None


@pytest.mark.parametrize("name", ["episode/length", "learner/x/kl", "custom/x", "env_steps", "time", "eval/info/a/b"])
def test_the_packages_own_names_are_refused(name):
    with pytest.raises(UsageError, match="itself"):
        register_metric(name, gap)


@pytest.mark.parametrize("answer", ["high", None, [1, 2]])
def test_what_is_no_number_is_an_error_of_the_metric(answer):
    register_metric("odd", lambda episodes: answer)
    stats = EpisodeStats(spec())
    stats.add(np.zeros((1, 3)), np.ones(1))
    with pytest.raises(UserCodeError, match="metric 'odd' raised"):
        stats.collect()


def test_a_metric_that_raises_names_itself():
    register_metric("gap", lambda episodes: episodes.info_of("win", "red"))
    stats = EpisodeStats(spec())
    stats.add(np.zeros((1, 3)), np.ones(1))
    with pytest.raises(UserCodeError, match="metric 'gap' raised KeyError: 'win'"):
        stats.collect()
