from __future__ import annotations

import numpy as np
import pytest

from sfmarl.monitor.episodes import WINDOW, EpisodeStats
from sfmarl.monitor.metrics import describe
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


def spec() -> EnvSpec:
    obs, action = ObsSpec((2,), np.dtype(np.float32)), ActionSpec("discrete", (3,), (0,))
    return EnvSpec("e", (TeamSpec("red", ("r0", "r1"), obs, action), TeamSpec("blue", ("b0",), obs, action)))


def test_means_of_the_episodes_since_the_last_record():
    stats = EpisodeStats(spec(), episodes=10)
    stats.add(np.array([[1.0, 2, 3], [3, 4, 5]]), np.array([10, 20]))
    stats.add(np.array([[5.0, 6, -7]]), np.array([60]))
    scalars = stats.collect()
    assert scalars == {
        "episodes": 13,
        "episode/return_team/red": 7.0,
        "episode/return_team/blue": pytest.approx(1 / 3),
        "episode/return_agent/r0": 3.0,
        "episode/return_agent/r1": 4.0,
        "episode/return_agent/b0": pytest.approx(1 / 3),
        "episode/length": 30.0,
    }
    assert all(describe(name) for name in scalars)
    assert stats.collect() == {"episodes": 13}


def test_the_window_holds_the_last_hundred():
    stats = EpisodeStats(spec())
    assert stats.recent() == {}
    returns = np.random.default_rng(0).normal(size=(3 * WINDOW, 3))
    for first in range(0, len(returns), 130):
        stats.add(returns[first : first + 130], np.ones(len(returns[first : first + 130])))
    stats.collect()
    last = returns[-WINDOW:].mean(axis=0)
    assert stats.recent() == {"red": pytest.approx(last[0] + last[1]), "blue": pytest.approx(last[2])}


def test_a_row_of_other_agents_is_refused():
    with pytest.raises(ValueError, match=r"\[1, 3\]"):
        EpisodeStats(spec()).add(np.zeros((1, 2)), np.zeros(1))
