"""Whole runs of turn-based games: self-play in every mode, exact resumption, learning, evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small import config
from turn_games import Betting

import sfmarl
from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config
from sfmarl.envs.registry import load_spec, make_env
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import UsageError
from sfmarl.evaluation.evaluate import evaluate, evaluate_run
from sfmarl.run.runner import resume, train
from sfmarl.seeding import seed_for
from sfmarl.statistics import mean_interval
from sfmarl.storage.checkpoint import latest, read_best

TICTACTOE = {"env": "pettingzoo.classic.tictactoe_v3", "policies": {"player_1": "main", "player_2": "main"}}
BETTING = {"env": "tests.runs.turn_games:Betting", "policies": {"player_0": "main", "player_1": "main"}}


def weights(run_dir, policy="main"):
    return latest(run_dir).read_policy(policy).algorithm_state["tensors"]


@pytest.fixture(scope="module")
def async_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "async"
    settings = {"env_steps": 4000, "eval_env_steps": 1500, "eval_episodes": 4, "final_eval_episodes": 8}
    return train(config(run_dir, **TICTACTOE, **settings))


def test_self_play_between_processes(async_run):
    """The environment ends the game at an illegal move with -1 for one and 0 for the other: no game may end so."""
    summary = async_run.summary
    assert summary["stopped_by"] == "finished" and summary["env_steps"] >= 4000
    assert summary["agent_steps"] == summary["env_steps"], "every turn is one valid action of one agent"
    assert latest(async_run.run_dir).policy_names == ("main",)
    for record in async_run.metrics():
        if "episode/return_agent/player_1" in record:
            both = [record[f"episode/return_agent/player_{i}"] for i in (1, 2)]
            assert sum(both) == pytest.approx(0.0, abs=1e-12)
            assert 5 <= record["episode/length"] <= 9
    fractions = [r["learner/main/valid_fraction"] for r in async_run.metrics() if "learner/main/valid_fraction" in r]
    assert fractions and min(fractions) > 0.5


def test_the_newest_checkpoint_of_self_play_is_the_best(async_run):
    """What a policy earns against itself in a zero-sum game says nothing: the score is 0 throughout."""
    best = read_best(async_run.run_dir)
    assert (best.score, best.checkpoint) == (0.0, latest(async_run.run_dir).path.name)
    assert "mean over teams `player_1`, `player_2` of one policy" in best.metric


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(TICTACTOE["policies"], id="self-play"),
        # between two objects: tests/contracts/test_turns.py
        pytest.param({}, id="two policies", marks=pytest.mark.slow),
    ],
)
def test_sync_has_no_lag_and_ratio_one(policies, tmp_path):
    """Also when each side has a learner of its own and one is slower: nothing goes on before both have learned."""
    settings = TICTACTOE | {"policies": policies}
    result = train(config(tmp_path / "run", **settings, mode="sync", env_steps=1500))
    records = result.metrics()
    names = set(policies.values()) or {"player_1", "player_2"}
    lags = [r["policy_lag/max"] for r in records if "policy_lag/max" in r]
    assert lags and set(lags) == {0.0}
    for name in names:
        ratios = [r[f"learner/{name}/ratio_max_first"] for r in records if f"learner/{name}/ratio_max_first" in r]
        assert ratios and max(ratios) < 1e-5
        fractions = [r[f"learner/{name}/valid_fraction"] for r in records if f"learner/{name}/valid_fraction" in r]
        assert min(fractions) > 0.5, "an update was made of slots that nobody had filled"


def test_serial_is_bit_identical_by_seed(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(config(tmp_path / name, **BETTING, mode="serial", env_steps=400, seed=seed))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all((a[name] == b[name]).all() for name in a)
    assert any((a[name] != c[name]).any() for name in a)


def test_a_serial_run_resumed_is_the_run_that_was_not_interrupted(tmp_path):
    """Episodes are as long as slots and end with them, so checkpoints fall on the end of all episodes."""
    hp = Hyperparameters(critic="own", hidden=(16,), epochs=2, minibatches=2)
    settings = BETTING | {"env_kwargs": {"rounds": 8}, "mode": "serial", "hp": hp}
    one_update = 2 * 4 * 16  # workers, envs, turns of an episode: 8 of each player
    train(config(tmp_path / "whole", **settings, env_steps=6 * one_update))
    train(config(tmp_path / "parts", **settings, env_steps=3 * one_update))
    resume(tmp_path / "parts", env_steps=6 * one_update)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert not [name for name in whole if not whole[name].equal(parts[name])]


@pytest.mark.parametrize(
    ("settings", "hp"),
    [
        ({}, {}),
        ({"policies": {}}, {"returns": "gae"}),
        ({"teams": "all", "policies": {}, "sharing": "none"}, {}),
        ({}, {"actor_rnn": "gru", "rnn_size": 8}),
    ],
    ids=["self-play", "two policies", "one team, no sharing", "recurrent"],
)
def test_rewards_that_come_out_of_turn_are_learned_from(settings, hp, tmp_path):
    """Naming the card is worth 3 an episode to each player, chance 1.5."""
    hp = Hyperparameters(critic="own", hidden=(16,), epochs=6, lr=1e-2, **hp)
    result = train(config(tmp_path / "run", **{**BETTING, **settings}, mode="serial", env_steps=2500, hp=hp))
    found = evaluate_run(result.run_dir, episodes=20, random_baseline=True)
    assert all(agent.mean == 3.0 for agent in found.agents.values())
    assert all(abs(agent.mean - 1.5) < 0.7 for agent in found.baseline.agents.values())
    assert found.length.mean == 6.0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="serial"),
        pytest.param(
            {"teams": "all", "hp": Hyperparameters(critic="state", hidden=(16,), epochs=2)}, id="central critic"
        ),
        pytest.param({"mode": "sync"}, id="sync", marks=pytest.mark.slow),
    ],
)
def test_deaths_births_masks_and_five_players(settings, tmp_path):
    """The environment itself asserts that no illegal action reaches it."""
    kwargs = {"agents": ["a", "b", "c", "d", "e"], "masks": "info", "state": True}
    settings = {"mode": "serial", "env_steps": 800, "final_eval_episodes": 4} | settings
    env = "tests.envs.scripted_aec:chaos_turns"
    result = train(config(tmp_path / "run", env=env, env_kwargs=kwargs, **settings))
    records = result.metrics()
    ratios = [x for r in records for name, x in r.items() if name.endswith("/ratio_max_first")]
    assert ratios and max(ratios) < 1e-4, "what the actor saw is not what the learner saw"
    assert not any(x for r in records for name, x in r.items() if name.endswith("/skipped_updates"))
    assert result.summary["agent_steps"] == result.summary["env_steps"]


def test_evaluation_equals_pettingzoos_own_loop(async_run):
    """Greedy play, episode by episode, on raw observations."""
    policy = sfmarl.load_policy(async_run.run_dir, checkpoint="latest")
    returns = []
    for e in range(3):
        env = make_env(Config(TICTACTOE["env"]))
        env.reset(seed=seed_for(9, "evaluate", e))
        total = dict.fromkeys(env.possible_agents, 0.0)
        for agent in env.agent_iter():
            raw, reward, terminated, truncated, _ = env.last()
            total[agent] += reward
            env.step(None if terminated or truncated else policy.act(raw, agent=agent))
        returns.append(list(total.values()))
    found = evaluate_run(async_run.run_dir, episodes=3, seed=9, checkpoint="latest")
    assert [x.mean for x in found.agents.values()] == np.mean(returns, axis=0).tolist()
    assert found.teams["player_2"].to_json() == mean_interval(np.array(returns)[:, 1]).to_json()


def test_random_players_of_a_known_game():
    """At random play the first player of tic-tac-toe wins .585, loses .288 (by enumeration of all games)."""
    cfg = Config(TICTACTOE["env"])
    players = {team.name: ScriptedPlayer("random", team, i) for i, team in enumerate(load_spec(cfg).teams)}
    found = evaluate(cfg, players, 600, seed=0)
    assert found.teams["player_1"].mean == pytest.approx(0.585 - 0.288, abs=0.1)
    assert found.teams["player_1"].mean == -found.teams["player_2"].mean
    assert found.episodes == 600


def test_an_animation_of_a_game(async_run, tmp_path):
    evaluate_run(async_run.run_dir, episodes=1, gif=tmp_path / "game.gif")
    with Image.open(tmp_path / "game.gif") as image:
        assert 6 <= image.n_frames <= 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"algo": "mappo", "hp": None}, ["central critic", "take turns", "ippo"]),
        ({"teams": "all", "policies": {}, "team_reward": "sum"}, ["team_reward = sum", "take turns"]),
        ({"death": "masked", "team_reward": "mean"}, ["death = masked", "take turns"]),
    ],
)
def test_what_needs_simultaneous_moves_is_refused(settings, words, tmp_path):
    cfg = config(tmp_path / "run", **{**BETTING, **settings})
    cfg.hp = settings.get("hp", cfg.hp)
    with pytest.raises(UsageError) as caught:
        train(cfg)
    for word in words:
        assert word in str(caught.value)


def test_the_game_is_what_it_says():
    env = Betting(rounds=2)
    env.reset(seed=1)
    paid = dict.fromkeys(env.possible_agents, 0.0)
    for agent in env.agent_iter():
        raw, reward, over, _, _ = env.last()
        paid[agent] += reward
        env.step(None if over else raw["observation"])
    assert paid == {"player_0": 2.0, "player_1": 2.0}
