from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_runs import MIXED, SPREAD, save_run
from toy_envs import Mixed

import sfmarl
from sfmarl.algorithms import get_algorithm
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.policy import load_policy
from sfmarl.models.acting import make_acting
from sfmarl.storage import checkpoint as checkpoints

torch.set_num_threads(1)


def observations(agents: list[str], size: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {agent: rng.normal(size=size).astype(np.float32) for agent in agents}


@pytest.mark.parametrize("sharing", ["full", "none"])
def test_three_lines_act_in_an_environment_as_training_does(tmp_path, sharing):
    from mpe2 import simple_spread_v3

    players = save_run(tmp_path, SPREAD, sharing)
    acting = make_acting(players["agent"][1], players["agent"][0], "cpu", seed=1)
    env = simple_spread_v3.parallel_env(N=3)

    policy = sfmarl.load_policy(tmp_path)
    seen, _ = env.reset(seed=1)
    for _ in range(5):
        actions = policy.act(seen)
        stored, _ = acting.act(np.stack(list(seen.values()))[None], None, None, greedy=True)
        assert actions == dict(zip(seen, stored[0].tolist(), strict=True))
        assert actions == {agent: policy.act(seen[agent], agent) for agent in seen}
        assert all(type(action) is int for action in actions.values())
        seen, *_ = env.step(actions)


def test_agents_differ_and_may_be_missing(tmp_path):
    save_run(tmp_path, SPREAD, "none")
    policy = load_policy(tmp_path)
    same = np.random.default_rng(3).normal(size=18).astype(np.float32)
    together = policy.act(dict.fromkeys(policy.agents, same))
    assert len(set(together.values())) > 1
    assert policy.act({"agent_2": same}) == {"agent_2": together["agent_2"]}
    some = policy.act({"agent_2": same, "agent_0": same})
    assert list(some.items()) == [("agent_2", together["agent_2"]), ("agent_0", together["agent_0"])]
    assert policy.act({}) == {}


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    save_run(tmp_path, SPREAD)
    seen = observations(["agent_0"], 18)
    seen["agent_0"][3] = np.nan
    with pytest.raises(UsageError, match="'agent_0' holds NaN or infinite numbers"):
        load_policy(tmp_path).act(seen)


def test_greedy_repeats_and_sampling_follows_the_seed(tmp_path):
    save_run(tmp_path, SPREAD)
    seen = observations(["agent_0", "agent_1", "agent_2"], 18)

    def sampled(seed: int) -> list:
        policy = load_policy(tmp_path, seed=seed)
        return [policy.act(seen, greedy=False) for _ in range(20)]

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)
    policy = load_policy(tmp_path)
    assert all(policy.act(seen) == policy.act(seen) for _ in range(5))


def test_masks_tuples_and_bounds(tmp_path):
    """The env asserts that every action is legal and inside its space."""
    save_run(tmp_path, MIXED)
    env, policy = Mixed(), load_policy(tmp_path)
    for episode in range(20):
        seen, _ = env.reset(seed=episode)
        while env.agents:
            seen, *_ = env.step(policy.act(seen, greedy=episode % 2 == 0))
    seen, _ = env.reset(seed=0)
    single = policy.act(seen["m_1"], "m_1")
    assert single == policy.act(seen)["m_1"]
    plain = seen["m_1"]["observation"], seen["m_1"]["action_mask"]
    assert policy.act(plain[0], "m_1", action_mask=plain[1]) == single
    assert policy.act({"m_1": plain[0]}, action_mask={"m_1": plain[1]}) == {"m_1": single}
    only = np.eye(4, dtype=np.int8)
    assert [policy.act(plain[0], "m_1", action_mask=mask) for mask in only] == [0, 1, 2, 3]


def test_a_checkpoint_alone_is_enough_for_arrays(tmp_path):
    save_run(tmp_path / "run", SPREAD)
    (tmp_path / "run/config.json").unlink()
    (tmp_path / "run/checkpoints/step-000000000100").rename(tmp_path / "weights")
    policy = load_policy(tmp_path / "weights")
    seen = observations(["agent_0", "agent_1", "agent_2"], 18)
    assert set(policy.act(seen)) == set(seen)
    with pytest.raises(UsageError, match=r"expects shape \(18,\) and dtype float32 .*got array of shape \(17,\)"):
        policy.act(np.zeros(17, np.float32), "agent_0")


@pytest.mark.parametrize("raw", [np.zeros(17, np.float32), np.zeros((1, 18)), 3, None, "left", {"x": 1}, [[1, 2], [3]]])
def test_a_wrong_observation_says_what_was_expected_and_what_came(tmp_path, raw):
    save_run(tmp_path, SPREAD)
    with pytest.raises(UsageError, match=r"expects shape \(18,\) and dtype float32 of agent 'agent_0'; got "):
        load_policy(tmp_path).act(raw, "agent_0")


def test_wrong_calls_are_explained(tmp_path):
    save_run(tmp_path / "spread", SPREAD)
    save_run(tmp_path / "mixed", MIXED)
    spread, mixed = load_policy(tmp_path / "spread"), load_policy(tmp_path / "mixed")
    seen = np.zeros(18, np.float32)
    with pytest.raises(UsageError, match=r"'agent_3' is no agent.*Did you mean 'agent_"):
        spread.act(seen, "agent_3")
    with pytest.raises(UsageError, match="Name the agent"):
        spread.act(seen)
    with pytest.raises(UsageError, match="without action masks"):
        spread.act(seen, "agent_0", action_mask=np.ones(5))
    with pytest.raises(UsageError, match=r"pass action_mask for agent 'm_0' \(4 entries"):
        mixed.act(np.zeros(3), "m_0")
    with pytest.raises(UsageError, match="expected an action mask of 4 entries"):
        mixed.act(np.zeros(3), "m_0", action_mask=np.ones(5))
    with pytest.raises(UsageError, match="agent: mask"):
        mixed.act({"m_0": np.zeros(3)}, action_mask=np.ones(4))


def test_which_checkpoint(tmp_path):
    for n in (1, 2, 3):
        save_run(tmp_path, SPREAD, env_steps=n, seed=n)
    names = [f"step-{n:012d}" for n in (1, 2, 3)]
    paths = [tmp_path / "checkpoints" / name for name in names]

    def chosen(which: str, path: Path = tmp_path) -> str:
        return load_policy(path, checkpoint=which).checkpoint.path.name

    assert chosen("best") == chosen("latest") == names[2]
    checkpoints.mark_best(tmp_path, paths[0], 1.0, "m")
    assert [chosen(w) for w in ("best", "latest", names[1], str(paths[1]))] == [names[0], names[2], names[1], names[1]]
    assert chosen("best", paths[1]) == names[1]
    with pytest.raises(UsageError, match=r"Did you mean"):
        chosen("step-00000000001")
    with pytest.raises(UsageError, match="neither a run directory nor a checkpoint"):
        chosen("best", tmp_path / "nowhere")
    (paths[0] / "run.json").write_text("x")
    with pytest.warns(UserWarning, match="the latest, is used instead"):
        assert chosen("best") == names[2]
    with pytest.raises(RunError, match=r"run\.json"):
        chosen(names[0])


def test_teams_that_share_a_policy(tmp_path):
    config = replace(SPREAD, teams="each", policies=dict.fromkeys(("agent_0", "agent_1", "agent_2"), "one"))
    save_run(tmp_path, config)
    policy = load_policy(tmp_path)
    assert policy.policy_versions == {"one": 7}
    same = np.random.default_rng(3).normal(size=18).astype(np.float32)
    assert len(set(policy.act(dict.fromkeys(policy.agents, same)).values())) == 1


def test_weights_of_another_network_are_an_error_in_words(tmp_path):
    save_run(tmp_path, SPREAD)
    entry = get_algorithm("ippo")
    state = checkpoints.latest(tmp_path).read_policy("agent")
    tmp = checkpoints.begin(tmp_path, 200)
    hp = replace(entry.hyperparameters(), hidden=(8,))
    actor = entry.cls.build_actor(state.spec, entry.hyperparameters())
    checkpoints.write_policy(tmp, state.spec, "ippo", hp, actor, {"tensors": {}, "scalars": {}}, 1)
    checkpoints.commit(tmp, {})
    with pytest.raises(RunError, match="weights of policy 'agent' do not fit"):
        load_policy(tmp_path)
