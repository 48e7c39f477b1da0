"""Whole runs that learn: data plane, learner and evaluation together, on games whose best return is known."""

from __future__ import annotations

import pytest
from pettingzoo.utils import parallel_to_aec
from small import config

from sfmarl.algorithms import get_algorithm
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.envs.recall import Recall
from sfmarl.run.runner import train

MEMORY = {"hidden": (16,), "rnn_size": 16, "epochs": 5, "gamma": 0.95, "critic": "own"}

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


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("rnn", "mode", "lr", "env_steps"),
    [
        ("gru", "serial", 5e-3, 30_000),
        ("lstm", "serial", 5e-3, 30_000),
        ("gru", "sync", 5e-3, 30_000),
        ("gru", "async", 3e-3, 60_000),
        ("lstm", "async", 3e-3, 120_000),
    ],
)
def test_memory_is_learned(rnn, mode, lr, env_steps, tmp_path):
    """Without memory nobody is right more often than by chance (see `Recall`); with it everybody always is.

    Steps of such a size, taken on for ten times as long as learning needs, may also unlearn it when the policy lags:
    asynchronously they shrink.
    """
    schedule = "linear" if mode == "async" else "constant"
    hp = Hyperparameters(**MEMORY, actor_rnn=rnn, critic_rnn=rnn, lr=lr, lr_schedule=schedule)
    settings = {"env": "games/recall", "mode": mode, "hp": hp, "num_envs_per_worker": 16}
    result = train(config(tmp_path / "run", env_steps=env_steps, final_eval_episodes=100, **settings))
    agents = result.summary["evaluation"]["agents"]
    assert [agent["mean"] for agent in agents.values()] == [1.0, 1.0]
    assert always_recalls(result.policy())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rnn", ["gru", "lstm"])
def test_a_checkpoint_that_always_recalls_ends_an_asynchronous_run(rnn, tmp_path):
    """Long before its env-steps are over, and it is the one that `policy()` loads."""
    hp = Hyperparameters(**MEMORY, actor_rnn=rnn, critic_rnn=rnn, lr=3e-3, lr_schedule="linear")
    settings = {"env": "games/recall", "mode": "async", "hp": hp, "num_envs_per_worker": 16, "env_steps": 120_000}
    result = train(config(tmp_path / "run", eval_env_steps=4_000, stop_score=2.0, **settings))
    assert result.summary["stopped_by"] == "stopped by stop_score" and result.summary["best"]["score"] == 2.0
    assert always_recalls(result.policy())


def always_recalls(policy) -> bool:
    """Return whether both agents are right in eight episodes."""
    env = Recall()
    for seed in range(8):
        observations, _ = env.reset(seed)
        policy.reset()
        while env.agents:
            observations, rewards, *_ = env.step(policy.act(observations))
        if rewards != {"agent_0": 1.0, "agent_1": 1.0}:
            return False
    return True


def recall_in_turns():
    """Return `Recall` with the agents acting one after the other."""
    return parallel_to_aec(Recall())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("mode", "env_steps"), [("serial", 120_000), ("async", 200_000)])
def test_memory_is_learned_in_turns(mode, env_steps, tmp_path):
    """Each agent's memory is its own, though one policy plays both and their turns alternate."""
    hp = Hyperparameters(**MEMORY, actor_rnn="gru", critic_rnn="gru", lr=5e-3)
    game = {"env": "tests.runs.test_learning:recall_in_turns", "policies": {"agent_0": "both", "agent_1": "both"}}
    settings = {"mode": mode, "hp": hp, "num_envs_per_worker": 16, "env_steps": env_steps, "final_eval_episodes": 100}
    result = train(config(tmp_path / "run", **game, **settings))
    assert [agent["mean"] for agent in result.summary["evaluation"]["agents"].values()] == [1.0, 1.0]


@pytest.mark.slow
def test_without_memory_recall_is_a_guess(tmp_path):
    settings = {"env": "games/recall", "mode": "serial", "num_envs_per_worker": 16, "final_eval_episodes": 400}
    result = train(config(tmp_path / "run", env_steps=30_000, hp=Hyperparameters(**MEMORY, lr=5e-3), **settings))
    assert all(0.35 < agent["mean"] < 0.65 for agent in result.summary["evaluation"]["agents"].values())
