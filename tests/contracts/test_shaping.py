"""Reward shaping sees what the slot holds, final observations included, and changes only what is learned from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from harness import act, act_frozen, acted_rows, check_rows, collect, make_plane
from script import ScriptedVectorEnv, reward, script, spec
from scripted_turns import ScriptedTurnEnv

from sfmarl.errors import RunError, UsageError, UserCodeError
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.routing import HomeRoute
from sfmarl.workers.seating import HomeSeating, frozen
from sfmarl.workers.shaping import REWARDS, Shaping, find_shape, register_reward
from sfmarl.workers.turns import TurnSplit

ENVS = 4


def clock(transition, weight=100.0):
    """weight x (step acted at) + (step that followed): exact, and wrong if next_obs were the next episode's."""
    assert transition.obs.shape == transition.next_obs.shape == (*transition.reward.shape, 5)
    assert transition.action.shape == transition.acted.shape == transition.reward.shape
    return weight * transition.obs[..., 2] + transition.next_obs[..., 2]


def garbled(transition, how):
    answers = {
        "shape": transition.reward[:, :1],
        "scalar": 1.0,
        "text": np.full(transition.reward.shape, "x"),
        "nan": np.where(transition.agents == 1, np.nan, transition.reward),
        "none": None,
    }
    if how == "raise":
        raise KeyError("potential")
    if how == "write":
        transition.obs[...] = 0
    return answers[how]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(REWARDS, "_values", {})
    register_reward("clock", clock)
    register_reward("garbled", garbled)


def play(split, blocks, steps):
    slots = []
    for count in range(steps):
        if split.advance():
            act(blocks, version=1 + count)
            split.step()
        slots += collect(blocks)
    return slots


def lockstep(team_sizes, rollout, setting, seed=0, **more):
    env = ScriptedVectorEnv(spec(team_sizes), ENVS, seed)
    blocks = make_plane(env.spec, ENVS, rollout, masked_death=more.pop("masked", False)).blocks()
    shaping = [Shaping(setting, block) for block in blocks] if setting else []
    return LockstepSplit(env, blocks, HomeRoute(blocks), 0, shaping=shaping, **more), blocks, env


@pytest.mark.parametrize("rollout", [1, 3, 8])
@pytest.mark.parametrize("team_sizes", [(3,), (1, 2)])
def test_every_row_is_shaped_from_its_own_step_and_successor(rollout, team_sizes):
    """Deaths, births, truncations and terminations at every t: the successor is of the same episode, always."""
    split, blocks, _ = lockstep(team_sizes, rollout, "clock?weight=1000", seed=rollout)
    slots = play(split, blocks, 200)
    check_rows(slots, check_reward=False)
    seen = ended = 0
    for steps in acted_rows(slots).values():
        for step, (slot, t, a) in steps.items():
            assert slot.reward[t, a] == 1000 * step + step + 1
            seen, ended = seen + 1, ended + int(slot.terminated[t, a])
    assert seen > 1000 and ended > 100
    for slot in slots:
        assert (slot.reward[~slot.active[:-1]] == 0).all()


def test_statistics_are_the_environments_and_the_shaped_returns_stand_beside_them():
    split, blocks, env = lockstep((1, 2), 5, "clock")
    play(split, blocks, 150)
    finished = split.episodes.drain()
    assert finished.shaped.shape == finished.returns.shape
    left = [(tuple(r), tuple(s)) for r, s in zip(finished.returns, finished.shaped, strict=True)]
    for e in range(ENVS):
        for episode in range(int(env.episode[e])):
            plan = script(e, episode, 3)
            alive = [[k for k in range(plan.length) if plan.alive(agent, k)] for agent in range(3)]
            own = tuple(float(sum(reward(e, episode, k, a) for k in steps)) for a, steps in enumerate(alive))
            shaped = tuple(float(sum(100 * k + k + 1 for k in steps)) for steps in alive)
            left.remove((own, shaped))
    assert not left


def test_without_shaping_there_is_nothing_beside_them():
    split, blocks, _ = lockstep((2,), 5, "")
    check_rows(play(split, blocks, 50))
    assert split.episodes.drain().shaped is None


def test_the_team_pools_shaped_rewards_and_the_dead_earn_them():
    split, blocks, _ = lockstep((3,), 4, "clock", masked=True, team_reward="sum")
    dead = 0
    for slot in play(split, blocks, 150):
        for t in range(4):
            acted = slot.active[t]
            if acted.any():
                step = slot.obs[t, acted][0, 2]
                assert (slot.reward[t] == acted.sum() * (101 * step + 1)).all()
                dead += int((slot.in_return[t] & ~acted).sum())
    assert dead > 10


def test_agents_that_take_turns_are_shaped_lane_by_lane():
    env_spec = spec((1, 2), turn_based=True)
    envs = [ScriptedTurnEnv(env_spec, e) for e in range(ENVS)]
    plane = make_plane(env_spec, ENVS, 4)
    blocks = plane.blocks()
    shaping = [Shaping("clock", block) for block in blocks]
    split = TurnSplit(envs, blocks, 0, [plane.weights(p) for p in range(2)], 1000, shaping=shaping)
    slots = play(split, blocks, 500)
    check_rows(slots, check_reward=False)
    checked = 0
    for of_lane in acted_rows(slots).values():
        for at, following in pairwise(sorted(of_lane)):
            slot, t, a = of_lane[at]
            if not slot.terminated[t, a]:
                assert slot.reward[t, a] == 100 * at + slot.obs[t + 1, a, 2] and slot.obs[t + 1, a, 2] <= following
                checked += 1
        slot, t, a = of_lane[max(of_lane)]
        if slot.truncated[t, a]:
            assert slot.reward[t, a] == 100 * max(of_lane) + slot.obs[t + 1, a, 2]
            checked += 1
        if slot.terminated[t, a]:
            assert slot.reward[t, a] == 100 * max(of_lane), "next_obs of the terminated is zero"
            checked += 1
    assert checked > 500
    finished = split.episodes.drain()
    assert finished.shaped.shape == (len(finished.lengths), 3) and (finished.shaped > 0).any(axis=0).all()


def test_who_does_not_learn_is_not_shaped():
    """Its shaped return is its return, as in lock-step."""
    env_spec = spec((1, 1), turn_based=True)
    envs = [ScriptedTurnEnv(env_spec, e) for e in range(ENVS)]
    plane = make_plane(env_spec, ENVS, 4, policies=(0, -1))
    blocks, scratch = plane.blocks(), plane.scratch(0, 0)
    seating = HomeSeating((0, frozen(0)))
    shaping = [Shaping("clock", block) for block in blocks]
    split = TurnSplit(envs, blocks, 0, [plane.weights(0)], 1000, seating=seating, scratch=scratch, shaping=shaping)
    for count in range(300):
        if split.advance():
            act(blocks, version=1 + count)
            act_frozen(scratch)
            split.step()
        collect(blocks)
    finished = split.episodes.drain()
    assert finished.returns[:, 1].any() and (finished.shaped[:, 1] == finished.returns[:, 1]).all()
    assert (finished.shaped[:, 0] != finished.returns[:, 0]).any()


def test_columns_say_which_agents_they_are():
    seen = set()
    register_reward("who", lambda transition: seen.add((transition.team.name, *transition.agents)) or transition.reward)
    split, blocks, _ = lockstep((1, 2), 3, "who")
    play(split, blocks, 5)
    assert seen == {("t0", 0), ("t1", 0, 1)}
    seen.clear()
    env_spec = spec((2,), turn_based=True)
    plane = make_plane(env_spec, 1, 4)
    blocks = plane.blocks()
    envs = [ScriptedTurnEnv(env_spec, 0)]
    shaping = [Shaping("who", block) for block in blocks]
    play(TurnSplit(envs, blocks, 0, [plane.weights(0)], 1000, shaping=shaping), blocks, 50)
    assert seen == {("t0", 0), ("t0", 1)}


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("shape", RunError, ["'garbled'", "'t0'", "[4, 2]", "[4, 1]"]),
        ("scalar", RunError, ["[4, 2]", "shape []"]),
        ("text", RunError, ["numbers"]),
        ("none", RunError, ["numbers", "object"]),
        ("nan", RunError, ["nan", "'a1'", "whose reward in the environment was"]),
        ("raise", UserCodeError, ["KeyError", "potential"]),
        ("write", UserCodeError, ["read-only"]),
    ],
)
def test_what_a_function_does_wrong_is_said(how, error, words):
    split, blocks, _ = lockstep((2,), 3, f"garbled?how={how}")
    with pytest.raises(error) as caught:
        play(split, blocks, 20)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("clok", ["no reward named 'clok'", "'clock'", "--imports"]),
        ("clock?wait=3", ["'clock'", "wait"]),
        ("garbled", ["'garbled'", "how"]),
        ("clock?weight", ["key=value", "'weight'"]),
        ("no_such_package:shape", ["no_such_package", "cannot be imported"]),
        ("test_shaping:clck", ["test_shaping has no 'clck'", "'clock'"]),
    ],
)
def test_a_setting_that_names_no_function_is_refused(setting, words):
    with pytest.raises(UsageError) as caught:
        find_shape(setting)
    for word in words:
        assert word in str(caught.value)


def test_a_function_may_be_named_where_it_stands():
    assert find_shape("test_shaping:clock?weight=2")[0] == "test_shaping:clock"
