"""Whole runs, in one process, on environments with integer agents and nested spaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from small import config
from space_envs import ACTIONS, Echo, Seeing

import sfmarl
from sfmarl.algorithms.ppo import PPO, Hyperparameters
from sfmarl.config import Config
from sfmarl.envs.codec import decode_actions
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.stacking import stack_frames
from sfmarl.errors import RunError, UsageError
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import latest
from sfmarl.storage.config_file import read_config


def serial(run_dir, env, **settings):
    hp = settings.pop("hp", None) or Hyperparameters(critic="own", hidden=(8,), epochs=1, normalise_obs=False)
    small = {"mode": "serial", "num_workers": 1, "num_envs_per_worker": 4, "rollout": 6, "env_steps": 100}
    return config(run_dir, env=env, hp=hp, **{**small, **settings})


@pytest.mark.parametrize(
    "kind", ["tuple", "boxes", *(pytest.param(k, marks=pytest.mark.slow) for k in ("dict", "box"))]
)
def test_what_is_stored_is_what_was_drawn_and_the_env_gets_it_decoded(tmp_path, monkeypatch, kind):
    batches = []
    update = PPO.update

    def spied(algo, batch, progress):
        with torch.no_grad():
            prepared = algo.actor.prepare(batch.obs[:-1])
            again = algo.actor.evaluate(prepared, batch.action)[0]
        batches.append((algo.spec, {name: getattr(batch, name).clone() for name in ("obs", "action", "active")}))
        rows = batch.active[:-1]
        torch.testing.assert_close(again[rows], batch.log_prob[rows], rtol=1e-5, atol=1e-5)
        return update(algo, batch, progress)

    monkeypatch.setattr(PPO, "update", spied)
    train(serial(tmp_path / "run", "space_envs:Echo", env_kwargs={"actions": kind}))
    space, clipped = ACTIONS[kind], 0
    for spec, batch in batches:
        acted = np.argwhere(batch["active"][:-1].numpy())
        assert len(acted)
        for t, lane, agent in acted:
            stored = batch["action"][t, lane, agent].numpy()
            sent = decode_actions(spec.action, stored[None, None])[0][0]
            told = batch["obs"][t + 1, lane, agent].numpy()[: spaces.flatdim(space)]
            np.testing.assert_allclose(told, spaces.flatten(space, sent).astype(np.float32), rtol=1e-6)
            if spec.action.kind == "continuous":
                clipped += int((stored < spec.action.low).any() or (stored > spec.action.high).any())
    assert clipped > 10 or spec.action.kind != "continuous"


def test_integer_agents_all_the_way(tmp_path):
    run = serial(
        tmp_path / "run",
        "space_envs:Echo",
        teams='{"pair": [0, "1"], "lone": [2]}',
        policies={"lone": "solo"},
        sharing='{"0": "left", "1": "right", "2": "left"}',
        final_eval_episodes=1,
    )
    result = train(run)
    names = set().union(*result.metrics())
    assert {"episode/return_agent/0", "episode/return_agent/2", "episode/return_team/pair"} <= names
    assert result.summary["evaluation"]["agents"].keys() == {"0", "1", "2"}
    saved = latest(result.run_dir)
    assert saved.teams["pair"].agents == (0, 1) and saved.read_policy("pair").spec.parameter_set == (0, 1)
    assert saved.teams["lone"].policy == "solo"
    policy = sfmarl.load_policy(result.run_dir)
    env = Echo()
    seen, _ = env.reset(seed=1)
    for _ in range(3):
        seen, *_ = env.step(policy.act(seen))
    assert policy.act(seen[2], agent=2) in env.action_space(2)
    with pytest.raises(UsageError, match="'0' is no agent"):
        policy.act({"0": seen[0]})


def test_pictures_beside_vectors_with_masks_train_and_act(tmp_path):
    hp = Hyperparameters(critic="state", hidden=(8,), epochs=1)
    result = train(serial(tmp_path / "run", "space_envs:Seeing", hp=hp, frame_stack=2))
    spec = latest(result.run_dir).read_policy("agent").spec
    assert [(part.name, part.shape) for part in spec.obs.parts] == [("vector", (12,)), ("camera", (8, 9, 6))]
    assert read_config(result.run_dir / "config.json").frame_stack == 2
    assert any(record.get("learner/agent/ratio_max_first", 1) < 1e-4 for record in result.metrics())
    policy = sfmarl.load_policy(result.run_dir)
    env = stack_frames(Seeing(), 2)
    seen, _ = env.reset(seed=0)
    for _ in range(5):
        # the environment raises on what its mask forbids
        seen, *_ = env.step(policy.act(seen, greedy=False))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("nan", ["agent 1", "observation: part 'pose': nan at 1", "must be finite"]),
        ("shape", ["agent 1", "part 'camera'", "(8, 9, 3)", "(7, 9, 3)"]),
        ("dtype", ["agent 1", "part 'camera'", "uint8", "float64"]),
        ("mask", ["agent 1", "leaves no legal action"]),
        ("reject", ["step() raised ValueError: illegal", "It was sent {0: ("]),
    ],
)
def test_bad_input_is_named(bad, words):
    # later than the probe looks
    kwargs = {"bad": bad, "bad_at": 14, "length": 20}
    env = make_vector_env(Config("space_envs:Seeing", env_kwargs=kwargs), 2, [5, 6])
    rows, outcome = new_obs_rows(env.spec, 2), new_outcome_rows(env.spec, 2)
    rng = np.random.default_rng(0)
    env.reset([0, 1], rows)

    def play():
        for _ in range(20):
            actions = random_actions(env.spec.teams[0].action, (2, 2), rng, rows[0].action_mask)
            env.step([actions], np.ones(2, bool), rows, outcome)

    with pytest.raises(RunError) as caught:
        play()
    for word in ["space_envs:Seeing, copy 0 (seed 5), episode 1, step 14: ", *words]:
        assert word in str(caught.value)


def test_bad_input_ends_a_run_with_that_message(tmp_path):
    kwargs = {"bad": "nan", "bad_at": 14, "length": 20}
    with pytest.raises(RunError, match=r"copy 0 .*step 14: agent 1: observation: part 'pose': nan at 1"):
        train(serial(tmp_path / "run", "space_envs:Seeing", env_kwargs=kwargs, max_env_faults=0))
