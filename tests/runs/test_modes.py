"""Whole runs on real processes: what each mode promises."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from small import children, config

import sfmarl
from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.envs.registry import load_spec
from sfmarl.errors import RunError
from sfmarl.monitor.metrics import describe
from sfmarl.run.runner import TrainResult, resume, train
from sfmarl.storage import checkpoint
from sfmarl.storage.checkpoint import Checkpoint, checkpoint_paths, latest, read_best

ENVELOPE = {"time", "wall_seconds", "env_steps", "agent_steps"}


@pytest.fixture(scope="module")
def async_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "async"
    return train(config(run_dir, env_steps=6000, eval_env_steps=3000, eval_episodes=4, final_eval_episodes=8))


def test_run_directory_holds_what_the_readme_says(async_run):
    names = {path.name for path in async_run.run_dir.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "summary.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    summary = json.loads((async_run.run_dir / "summary.json").read_text())
    assert summary == async_run.summary
    assert summary["env_steps"] >= 6000 and summary["stopped_by"] == "finished"
    assert summary["agent_steps"] == 2 * summary["env_steps"], "phantom steps must not count"
    assert summary["evaluation"]["episodes"] == 8 and "sum over team" in summary["evaluation"]["metric"]
    assert summary["seed"] == 1 and summary["mode"] == "async" and summary["versions"]["torch"]


def test_metrics_are_documented_and_complete(async_run):
    seen = set().union(*async_run.metrics()) - ENVELOPE
    assert not [name for name in seen if describe(name) is None]
    for name in (
        "throughput/agent_steps_per_second",
        "throughput/env_steps_per_second",
        "startup/first_update_seconds",
        "queue/actions_wait_milliseconds",
        "inference/batch_rows",
        "policy_lag/mean",
        "learner/valid_fraction",
        "learner/agent/loss_policy",
        "learner/agent/kl",
        "learner/agent/explained_variance",
        "episode/return_team/agent",
        "episode/return_agent/agent_0",
        "episode/length",
        "eval/return_team/agent",
        "system/cpu_percent",
        "time/rollout/env",
    ):
        assert name in seen


def test_a_score_stands_at_the_steps_its_checkpoint_had_seen(async_run):
    """Training goes on while a checkpoint is evaluated; env-steps of the score are the checkpoint's."""
    steps = {Checkpoint(path).run_state["env_steps"] for path in checkpoint_paths(async_run.run_dir)}
    scored = [record["env_steps"] for record in async_run.metrics() if "eval/return_team/agent" in record]
    assert len(scored) >= 2
    assert set(scored) <= steps


def test_what_a_checkpoint_counts_is_of_one_moment(async_run):
    for path in checkpoint_paths(async_run.run_dir):
        state = Checkpoint(path).run_state
        assert state["counts"]["rollout"][:2] == [state["env_steps"], state["agent_steps"]]
        assert state["agent_steps"] == 2 * state["env_steps"]


def test_the_policy_acts_on_raw_observations(async_run):
    policy = sfmarl.load_policy(async_run.run_dir)
    actions = policy.act({agent: np.zeros(policy.specs["agent"].obs.shape, np.float32) for agent in policy.agents})
    assert set(actions) == set(policy.agents) and all(action in (0, 1, 2) for action in actions.values())


def test_nothing_is_left_running(async_run):
    assert not children("")


def test_resume_continues_counters_and_weights(async_run):
    before = latest(async_run.run_dir)
    more = before.run_state["env_steps"] + 4000
    result = resume(async_run.run_dir, env_steps=more, eval_env_steps=0)
    assert result.summary["env_steps"] >= more
    assert result.summary["agent_steps"] == 2 * result.summary["env_steps"]
    assert result.summary["wall_seconds"] > before.run_state["wall_seconds"]
    after = latest(async_run.run_dir).read_policy("agent")
    assert after.policy_version > before.read_policy("agent").policy_version
    # scores stand at the steps of the checkpoint that was evaluated, which are past when they come
    steps = [record["env_steps"] for record in result.metrics() if "eval/length" not in record]
    assert steps == sorted(steps)
    # each sitting starts up anew: its own time, once it has come to an update
    starts = [r["startup/first_update_seconds"] for r in result.metrics() if "startup/first_update_seconds" in r]
    assert len(set(starts)) == 2 and min(starts) > 0


def test_sync_has_no_lag_and_ratio_one(tmp_path):
    """Every sample of every update was acted by the version that learns from it, so its ratio is 1."""
    result = train(config(tmp_path / "run", mode="sync", env_steps=4000))
    lags = [r["policy_lag/max"] for r in result.metrics() if "policy_lag/max" in r]
    assert lags and set(lags) == {0.0}
    ratios = [r["learner/agent/ratio_max_first"] for r in result.metrics() if "learner/agent/ratio_max_first" in r]
    assert ratios and max(ratios) < 1e-5


def read_records(run_dir):
    return TrainResult(run_dir, {}).metrics()


def _weights(run_dir):
    return latest(run_dir).read_policy("agent").algorithm_state["tensors"]


def test_serial_is_bit_identical_by_seed(tmp_path):
    """Same seed: every tensor of actor, critic, optimiser and normalisers is equal to the bit; another seed differs."""
    runs = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        hp = config(tmp_path).hp
        hp.minibatches = 2
        train(config(tmp_path / name, env="mpe2.simple_spread_v3", mode="serial", env_steps=600, seed=seed, hp=hp))
        runs[name] = _weights(tmp_path / name)
    assert all((runs["a"][name] == runs["b"][name]).all() for name in runs["a"])
    assert any((runs["a"][name] != runs["c"][name]).any() for name in runs["a"])


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [("mpe2.simple_spread_v3", {"continuous_actions": True}), ("native/simple_spread", {})],
    ids=["pettingzoo, acting in torch", "native, acting in numpy"],
)
def test_a_serial_run_resumed_is_the_run_that_was_not_interrupted(env, kwargs, tmp_path):
    """Minibatches, actions and initial states go on in the interrupted streams, so weights are equal to the bit."""
    hp = Hyperparameters(hidden=(16,), epochs=2, minibatches=2)
    settings = {"env": env, "env_kwargs": kwargs | {"max_cycles": 8}, "mode": "serial", "hp": hp, "algo": "mappo"}
    one_update = 2 * 4 * 8  # workers, envs, rollout; episodes end with the slot
    train(config(tmp_path / "whole", **settings, env_steps=6 * one_update))
    train(config(tmp_path / "parts", **settings, env_steps=3 * one_update))
    resume(tmp_path / "parts", env_steps=6 * one_update)
    whole, parts = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    differing = [name for name in whole if not whole[name].equal(parts[name])]
    assert not differing


def test_seeds_reach_every_environment(tmp_path):
    """Every copy of every worker has a seed of its own; they follow `--seed`, and a resumed run draws new ones."""
    from tests.runs.small import Recording

    def seeds_of(run):
        Recording.seeds.clear()
        run()
        probes = 8  # the probe's fixed seeds come first, and once per worker's split
        return {seed for seed in Recording.seeds if seed > probes}

    def settings(name, seed):
        return config(tmp_path / name, env="tests.runs.small:Recording", mode="serial", env_steps=300, seed=seed)

    first = seeds_of(lambda: train(settings("a", 1)))
    assert len(first) == 8
    assert seeds_of(lambda: train(settings("b", 1))) == first
    assert not seeds_of(lambda: train(settings("c", 2))) & first
    again = seeds_of(lambda: resume(tmp_path / "a", env_steps=600))
    assert len(again) == 8
    assert not again & first


def test_several_policies_and_inference_workers(tmp_path):
    """Teams of different sizes and spaces, each with a policy and a learner of its own."""
    result = train(config(tmp_path / "run", env="mpe2.simple_tag_v3", num_inference_workers=2, env_steps=2000))
    spec = load_spec(config(tmp_path, env="mpe2.simple_tag_v3"))
    assert set(latest(result.run_dir).policy_names) == {team.name for team in spec.teams} == {"adversary", "agent"}
    seen = set().union(*result.metrics())
    assert {"learner/adversary/loss_policy", "learner/agent/loss_policy"} <= seen
    assert result.summary["agent_steps"] == 4 * result.summary["env_steps"]


def test_one_policy_for_several_teams(tmp_path):
    """Two teams that act alike may share a policy: one learner, one set of weights."""
    policies = {"agent_0": "player", "agent_1": "player"}
    result = train(config(tmp_path / "run", teams="each", policies=policies, mode="serial", env_steps=400))
    assert latest(result.run_dir).policy_names == ("player",)


def test_stop_by_wall_time_and_by_score(tmp_path):
    result = train(config(tmp_path / "wall", mode="serial", env_steps=10**8, wall_seconds=0.5))
    assert result.summary["stopped_by"] == "stopped by wall_seconds"
    result = train(
        config(tmp_path / "score", mode="serial", env_steps=10**8, eval_env_steps=200, eval_episodes=2, stop_score=-1e9)
    )
    assert result.summary["stopped_by"] == "stopped by stop_score"
    assert result.summary["env_steps"] < 2000


def test_checkpoints_are_pruned_and_the_best_is_kept(tmp_path):
    settings = {"eval_env_steps": 200, "eval_episodes": 2, "keep_checkpoints": 2}
    run_dir = train(config(tmp_path / "run", mode="serial", env_steps=2000, **settings)).run_dir
    kept = {path.name for path in checkpoint_paths(run_dir)}
    best = read_best(run_dir)
    assert best.checkpoint in kept and 2 <= len(kept) <= 3
    scores = [r["eval/return_team/agent"] for r in read_records(run_dir) if "eval/return_team/agent" in r]
    assert len(scores) >= 8 and best.score == max(scores)


def test_an_evaluation_that_a_kill_cut_off_is_made_up_for(tmp_path, monkeypatch):
    settings = {"eval_env_steps": 1000, "eval_episodes": 2, "env_steps": 3000, "mode": "serial"}
    with monkeypatch.context() as patched:
        patched.setattr("sfmarl.run.serial.evaluate_checkpoint", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config(tmp_path / "run", **settings))
    cut_off = latest(tmp_path / "run").env_steps
    assert 1000 <= cut_off < 2000
    resume(tmp_path / "run")
    evaluated = [r["env_steps"] for r in read_records(tmp_path / "run") if "eval/return_team/agent" in r]
    assert cut_off <= evaluated[0] < 2000 <= evaluated[1] < 3000


def test_an_evaluation_waits_for_a_checkpoint_that_can_be_written(tmp_path, monkeypatch):
    """Not for the next one that is due."""
    commit, failed = checkpoint.commit, []

    def full_once(tmp, state, teams):
        if state["env_steps"] >= 1000 and not failed:
            failed.append(state["env_steps"])
            raise RunError("no space is left")
        return commit(tmp, state, teams)

    monkeypatch.setattr(checkpoint, "commit", full_once)
    settings = {"eval_env_steps": 1000, "eval_episodes": 2, "env_steps": 2500, "mode": "serial"}
    train(config(tmp_path / "run", checkpoint_seconds=0.01, **settings))
    evaluated = [r["env_steps"] for r in read_records(tmp_path / "run") if "eval/return_team/agent" in r]
    assert failed[0] < evaluated[0] < 2000 <= evaluated[1]


@pytest.mark.parametrize(
    ("settings", "hp"),
    [
        ({"sharing": "none"}, {}),
        ({"sharing": '{"hunter_0": "left", "hunter_1": "right", "prey_0": "prey"}'}, {"lr_schedule": "linear"}),
        ({"death": "masked", "team_reward": "mean"}, {"critic": "state", "minibatches": 3}),
        (
            {"teams": "each", "policies": {"hunter_0": "h", "hunter_1": "h"}},
            {"normalise_returns": True, "returns": "gae"},
        ),
        pytest.param(
            {"sharing": "none"}, {"actor_rnn": "gru", "critic_rnn": "lstm", "minibatches": 3}, marks=pytest.mark.slow
        ),
        ({"death": "masked", "team_reward": "sum"}, {"actor_rnn": "lstm", "critic_rnn": "gru", "critic": "state"}),
    ],
    ids=["none", "roles", "masked death", "each", "memory", "memory of a central critic"],
)
def test_masks_deaths_and_births_in_every_arrangement(settings, hp, tmp_path):
    """The environment itself asserts that no illegal action and no action of a dead agent ever reaches it."""
    hp = replace(config(tmp_path).hp, **hp)
    env = "tests.runs.small:Perilous"
    result = train(
        config(tmp_path / "run", env=env, mode="serial", env_steps=1500, hp=hp, final_eval_episodes=4, **settings)
    )
    records = result.metrics()
    ratios = [x for r in records for name, x in r.items() if name.endswith("/ratio_max_first")]
    assert ratios and max(ratios) < 1e-4, "what the actor saw is not what the learner saw"
    assert not any(x for r in records for name, x in r.items() if name.endswith("/skipped_updates"))
    assert 2 * 1500 > result.summary["agent_steps"] - result.summary["env_steps"] > 0


@pytest.mark.slow
def test_masks_hold_in_async_mode(tmp_path):
    result = train(config(tmp_path / "run", env="tests.runs.small:Perilous", env_steps=3000))
    assert result.summary["stopped_by"] == "finished"
