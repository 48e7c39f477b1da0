"""Whole runs of games that are stepped together: equal to those of the same games stepped one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image
from small import config
from turn_games import BettingTables

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config
from sfmarl.envs.check import check_env
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import UsageError
from sfmarl.evaluation.evaluate import evaluate, evaluate_run
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import latest
from sfmarl.tuning.probe import measure_sizes

NATIVE, PETTINGZOO = "native/tic_tac_toe", "pettingzoo.classic.tictactoe_v3"
SELF_PLAY = {"player_1": "main", "player_2": "main"}
TABLES = {"env": "tests.runs.turn_games:BettingTables", "policies": {"player_0": "main", "player_1": "main"}}


def weights(run_dir, policy="main"):
    return latest(run_dir).read_policy(policy).algorithm_state["tensors"]


def different(one, other):
    return [name for name in one if not one[name].equal(other[name])]


@pytest.mark.parametrize(
    "settings",
    [
        {"policies": SELF_PLAY},
        {"policies": SELF_PLAY, "hp": Hyperparameters(critic="own", hidden=(16,), actor_rnn="gru", rnn_size=8)},
        {"policies": {}, "reward": "tests.runs.test_native_games:halved"},
    ],
    ids=["self-play", "recurrent", "two policies, shaped"],
)
def test_a_serial_run_is_that_of_pettingzoos_game_bit_by_bit(settings, tmp_path):
    """The same games by another road: what differs is how long they take."""
    pytest.importorskip("pygame")
    for name, env in (("native", NATIVE), ("pettingzoo", PETTINGZOO)):
        train(config(tmp_path / name, env=env, mode="serial", env_steps=900, **settings))
    policies = latest(tmp_path / "native").policy_names
    assert policies == latest(tmp_path / "pettingzoo").policy_names
    for policy in policies:
        assert not different(weights(tmp_path / "native", policy), weights(tmp_path / "pettingzoo", policy))


def test_a_script_plays_the_other_seat(tmp_path):
    """Its turns are no samples."""
    settings = {"env": NATIVE, "players": {"player_2": {"script": "random"}}}
    run = train(config(tmp_path / "run", **settings, mode="serial", env_steps=900))
    assert 0.5 < run.summary["agent_steps"] / run.summary["env_steps"] < 0.6
    assert latest(run.run_dir).policy_names == ("player_1",)


def halved(transition):
    return transition.reward / 2 + 0.01 * transition.next_obs.sum(axis=(-1, -2, -3))


@pytest.fixture(scope="module")
def async_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "async"
    settings = {"env": "native/connect_four", "policies": {"player_0": "main", "player_1": "main"}}
    return train(config(run_dir, **settings, env_steps=6000, eval_env_steps=3000, eval_episodes=4))


@pytest.mark.slow
def test_self_play_between_processes(async_run):
    """An illegal move would end the run."""
    summary = async_run.summary
    assert summary["stopped_by"] == "finished" and summary["env_steps"] >= 6000
    assert summary["agent_steps"] == summary["env_steps"], "every turn is one valid action of one agent"
    returns = [r for r in async_run.metrics() if "episode/return_agent/player_0" in r]
    assert returns
    for record in returns:
        both = [record[f"episode/return_agent/player_{i}"] for i in (0, 1)]
        assert sum(both) == pytest.approx(0.0, abs=1e-12)
        assert 7 <= record["episode/length"] <= 42


@pytest.mark.slow
def test_an_evaluation_and_an_animation(async_run, tmp_path):
    found = evaluate_run(async_run.run_dir, episodes=5, greedy=False, gif=tmp_path / "game.gif")
    assert found.teams["player_0"].mean == -found.teams["player_1"].mean
    assert found.env_version.startswith("sfmarl ")
    with Image.open(tmp_path / "game.gif") as image:
        assert 8 <= image.n_frames <= 43 and image.size == (280, 240)


@pytest.mark.slow
def test_a_run_is_resumed(async_run):
    more = async_run.summary["env_steps"] + 4000
    assert resume(async_run.run_dir, env_steps=more).summary["env_steps"] >= more


def test_sync_has_no_lag_and_ratio_one(tmp_path):
    result = train(config(tmp_path / "run", env=NATIVE, policies=SELF_PLAY, mode="sync", env_steps=1500))
    records = result.metrics()
    assert {r["policy_lag/max"] for r in records if "policy_lag/max" in r} == {0.0}
    ratios = [r["learner/main/ratio_max_first"] for r in records if "learner/main/ratio_max_first" in r]
    assert ratios and max(ratios) < 1e-5
    fractions = [r["learner/main/valid_fraction"] for r in records if "learner/main/valid_fraction" in r]
    assert min(fractions) > 0.5, "an update was made of slots that nobody had filled"


def test_a_serial_run_resumed_is_the_run_that_was_not_interrupted(tmp_path):
    """Every table goes on in its own stream. Episodes end with slots, so checkpoints fall on the end of all."""
    hp = Hyperparameters(critic="own", hidden=(16,), epochs=2, minibatches=2)
    settings = TABLES | {"env_kwargs": {"rounds": 8}, "mode": "serial", "hp": hp}
    one_update = 2 * 4 * 16  # workers, envs, turns of an episode: 8 of each player
    train(config(tmp_path / "whole", **settings, env_steps=6 * one_update))
    train(config(tmp_path / "parts", **settings, env_steps=3 * one_update))
    resume(tmp_path / "parts", env_steps=6 * one_update)
    assert not different(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_rewards_that_come_out_of_turn_are_learned_from(tmp_path):
    """Naming the card is worth 3 an episode to each player."""
    hp = Hyperparameters(critic="own", hidden=(16,), epochs=6, lr=1e-2)
    result = train(config(tmp_path / "run", **TABLES, mode="serial", env_steps=2500, hp=hp))
    found = evaluate_run(result.run_dir, episodes=20)
    assert all(agent.mean == 3.0 for agent in found.agents.values())


@pytest.mark.parametrize("name", ["connect_four", "tic_tac_toe"])
def test_evaluations_of_both_are_one(name):
    """Players that draw from the same streams, episode by episode."""
    pytest.importorskip("pygame")
    found = []
    for env in (f"native/{name}", f"pettingzoo.classic.{name.replace('tic_tac_toe', 'tictactoe')}_v3"):
        cfg = Config(env)
        players = {team.name: ScriptedPlayer("random", team, i) for i, team in enumerate(load_spec(cfg).teams)}
        found.append(evaluate(cfg, players, 40, seed=0).to_json())
    for result in found:
        del result["env"], result["env_version"]
    assert found[0] == found[1]


def test_the_environment_is_checked():
    report = check_env(Config("native/connect_four", policies={"player_0": "main", "player_1": "main"}), 3.0, 20)
    assert report.ok and not report.warnings
    told = "\n".join(report.facts)
    for words in ("native vector environment", "turn-based", "illegal actions are masked", "deterministic"):
        assert words in told


def test_it_is_measured_for_tuning(tmp_path):
    cfg = config(tmp_path, env=NATIVE, policies=SELF_PLAY)
    (size,) = measure_sizes(cfg, load_spec(cfg), (1,), seconds=1.0)[:1]
    assert size.env_steps == size.agent_steps > 0 and size.complete


class OnlyOne(BettingTables):
    """Not what it must be: a native game of one seat."""

    def __init__(self, num_envs, seeds):
        super().__init__(num_envs, seeds)
        self.spec = replace(self.spec, teams=self.spec.teams[:1])


def test_a_game_without_opponents_is_refused():
    with pytest.raises(UsageError, match="two teams or more of one agent each"):
        load_spec(Config("tests.runs.test_native_games:OnlyOne"))
