"""Whole runs that learn: data plane, learner and evaluation together, on games whose best return is known."""

from __future__ import annotations

import pytest
from small import config

from sfmarl.algorithms import get_algorithm
from sfmarl.run.runner import train

OPTIMUM = 25 * 10.0
"""Penalty game (k = 0), 25 repetitions: both agents on the same corner, 10 per repetition and agent."""


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["ippo", "mappo", "appo", "a2c"])
@pytest.mark.parametrize("mode", ["serial", "async"])
def test_every_preset_solves_the_penalty_game(algo, mode, tmp_path):
    """k = 0: coordination is needed, mistakes are not punished. Every agent earns the common reward."""
    hp = get_algorithm(algo).hyperparameters()
    hp.lr, hp.hidden, hp.gamma = 3e-3, (32,), 0.5
    settings = {
        "env": "games/penalty",
        "env_kwargs": {"k": 0.0},
        "algo": algo,
        "hp": hp,
        "mode": mode,
        "num_envs_per_worker": 16,
    }
    env_steps = 30_000 if hp.epochs > 1 else 120_000  # a single pass over each batch needs more of them
    result = train(config(tmp_path / "run", env_steps=env_steps, final_eval_episodes=20, **settings))
    agents = result.summary["evaluation"]["agents"]
    assert [agent["mean"] for agent in agents.values()] == [OPTIMUM, OPTIMUM]
