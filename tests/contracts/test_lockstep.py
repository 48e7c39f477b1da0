"""Invariants of parallel environments, on an environment whose true successors are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from harness import act, act_frozen, acted_rows, check_rows, collect, make_plane
from script import OBS, ScriptedVectorEnv, reward, script, spec

from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.routing import HomeRoute, SeatRoute
from sfmarl.workers.seating import frozen

ENVS = 4


def play(split, blocks, steps, scratch=(), learner_period=1):
    """Step `steps` times, collecting slots every `learner_period` steps."""
    slots, stalls = [], 0
    for count in range(steps):
        if split.advance():
            act(blocks, version=1 + count)
            act_frozen(scratch)
            split.step()
        else:
            stalls += 1
        if count % learner_period == 0:
            slots += collect(blocks)
    return slots + collect(blocks), stalls


def home_split(team_sizes, rollout, seed=0, deaths=True, state=False, **more):
    env = ScriptedVectorEnv(spec(team_sizes, state=state), ENVS, seed, deaths)
    masked = more.pop("masked_death", False)
    plane = make_plane(env.spec, ENVS, rollout, masked_death=masked)
    blocks = plane.blocks(worker=0, split=0)
    return LockstepSplit(env, blocks, HomeRoute(blocks), generation=0, **more), blocks, env, plane


@pytest.mark.parametrize("rollout", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("team_sizes", [(3,), (1, 2)])
def test_every_row_is_what_the_script_says(rollout, team_sizes):
    """Truncations and terminations at every t, deaths, births: all rows right, none lost, none twice."""
    split, blocks, env, _ = home_split(team_sizes, rollout, seed=rollout)
    slots, _ = play(split, blocks, 250)
    check_rows(slots)
    rows = acted_rows(slots)
    for e in range(ENVS):
        for episode in range(int(env.episode[e]) - 3):  # the last ones may not be published yet
            plan = script(e, episode, 3, rollout)
            for agent in range(3):
                expected = [k for k in range(plan.length) if plan.alive(agent, k)]
                assert sorted(rows.get((e, episode, agent), {})) == expected
                for k in expected:
                    slot, t, a = rows[e, episode, agent][k]
                    last, dies = k + 1 == plan.length, not plan.alive(agent, k + 1)
                    assert slot.terminated[t, a] == (dies and not (last and plan.truncated))
                    assert slot.truncated[t, a] == (last and plan.truncated)
                    assert slot.is_first[t, a] == (k == 0 or not plan.alive(agent, k - 1))


@pytest.mark.parametrize("rollout", [2, 5])
def test_every_truncation_position_occurs(rollout):
    """The test above would prove little if truncations missed a position of the slot."""
    split, blocks, _, _ = home_split((2,), rollout)
    slots, _ = play(split, blocks, 250)
    cut = {t for slot in slots for t in range(rollout) if slot.truncated[t].any()}
    ended = {t for slot in slots for t in range(rollout) if slot.terminated[t].any()}
    assert cut == ended == set(range(rollout))


def test_slots_of_a_lane_join_without_a_gap():
    """The last row of a slot is the first of the next, unless an episode was cut there."""
    split, blocks, _, _ = home_split((3,), 4, state=True)
    slots, _ = play(split, blocks, 200)
    for lane in range(ENVS):
        own = [slot for slot in slots if slot.lane == lane]
        assert [slot.number for slot in own] == sorted(slot.number for slot in own)
        for old, new in pairwise(own):
            if old.truncated[-1].any():
                assert new.is_first[0].any() and new.obs[0, 0, 2] == 0
            else:
                for name in ("obs", "action_mask", "active", "is_first", "state"):
                    np.testing.assert_array_equal(getattr(old, name)[-1], getattr(new, name)[0])


def test_state_belongs_to_the_observation():
    """The global state of a row is that of the same moment."""
    split, blocks, _, _ = home_split((3,), 4, state=True)
    for slot in play(split, blocks, 100)[0]:
        for t in range(4):
            if slot.active[t].any():
                np.testing.assert_array_equal(slot.state[t], slot.obs[t, slot.active[t]][0, 1:3])


def test_a_full_ring_makes_the_worker_wait():
    """Back-pressure: without a learner exactly `ring` slots are filled."""
    split, blocks, _, _ = home_split((2,), 4)
    slots, stalls = play(split, blocks, 50, learner_period=1000)
    assert stalls == 50 - 2 * 4
    assert split.env_steps <= 2 * 4 * ENVS
    check_rows(slots)


def test_sync_claims_only_once_everything_was_learned():
    """With a ring of 3, sync mode still holds a single slot per lane in flight."""
    env = ScriptedVectorEnv(spec((2,)), ENVS)
    blocks = make_plane(env.spec, ENVS, 4, ring=3).blocks()
    split = LockstepSplit(env, blocks, HomeRoute(blocks), generation=0, sync=True)
    slots, stalls = play(split, blocks, 20, learner_period=1000)
    assert len(slots) == ENVS and stalls == 16


def test_counts_are_of_valid_samples_only():
    """Phantom steps are no env-steps; dead agents' rows are no agent-steps."""
    split, blocks, env, _ = home_split((3,), 5)
    slots, _ = play(split, blocks, 200)
    assert split.agent_steps == pytest.approx(sum(int(slot.active[:-1].sum()) for slot in slots), abs=5 * ENVS * 3)
    finished = sum(script(e, k, 3).length for e in range(ENVS) for k in range(int(env.episode[e])))
    assert split.env_steps == finished + int(env.step_of.sum())


def test_episode_returns_are_the_scripts():
    """Metrics see the environment's own rewards, whatever the agents learn from."""
    split, blocks, _, _ = home_split((3,), 5, deaths=False, team_reward="sum")
    play(split, blocks, 60)
    returns, lengths, *_ = split.episodes.drain()
    assert len(returns) > 10 and (lengths >= 1).all()
    possible = {
        tuple(sum(reward(e, k, s, a) for s in range(script(e, k, 3, 0, False).length)) for a in range(3))
        for e in range(ENVS)
        for k in range(60)
    }
    assert {tuple(row) for row in returns} <= possible


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_team_reward(how):
    """Every agent of a team learns from the team's sum or mean."""
    split, blocks, _, _ = home_split((3,), 5, deaths=False, team_reward=how)
    for slot in play(split, blocks, 60)[0]:
        for t in range(5):
            if slot.active[t].any():
                e, k, s = (int(x) for x in slot.obs[t, 0, :3])
                own = [reward(e, k, s, a) for a in range(3)]
                assert slot.reward[t].tolist() == pytest.approx([getattr(np, how)(own)] * 3)


def test_masked_death_keeps_the_return_running():
    """The dead earn the team's reward until the episode ends, and are bootstrapped only if it was cut."""
    split, blocks, _env, _ = home_split((3,), 6, masked_death=True, team_reward="sum")
    slots, _ = play(split, blocks, 250)
    seen = {"ghost": 0, "end": 0, "cut": 0}
    for slot in slots:
        for t in range(6):
            for a in range(3):
                if slot.active[t, a]:
                    assert not slot.in_return[t, a]
                if slot.terminated[t, a]:
                    e, k, s = (int(x) for x in slot.obs[t, 0, :3])  # agent 0 lives throughout
                    assert s + 1 == script(e, k, 3).length, "a masked death is no end of the return"
                if slot.in_return[t, a]:
                    e, k, s = (int(x) for x in slot.obs[t, 0, :3])
                    plan = script(e, k, 3)
                    assert slot.active[t, 0] and a in plan.death and s > plan.death[a] and not plan.alive(a, s)
                    last = s + 1 == plan.length
                    seen["ghost"] += 1
                    seen["end"] += last and not plan.truncated
                    seen["cut"] += last and plan.truncated
                    assert slot.terminated[t, a] == (last and not plan.truncated)
                    assert slot.truncated[t, a] == (last and plan.truncated)
                    assert slot.reward[t, a] == slot.reward[t, 0]
    assert all(seen.values())


class Rotating:
    """Seats change at every episode: at home, swapped, one frozen, the other frozen, both frozen."""

    KINDS = ((0, 1), (1, 0), (0, frozen(0)), (frozen(1), 0), (frozen(0), frozen(2)), (1, frozen(1)))

    identity = None
    generators = ()

    def __init__(self):
        self.drawn: dict[int, list] = {}

    def draw(self, env):
        history = self.drawn.setdefault(env, [])
        history.append(self.KINDS[(env + len(history)) % len(self.KINDS)])
        return history[-1]


@pytest.mark.parametrize("rollout", [1, 2, 3, 5, 8])
def test_slots_follow_their_player_through_seat_swaps(rollout):
    """A learning player's slot holds exactly its own rows, whichever seat it takes; frozen rows reach no slot."""
    env = ScriptedVectorEnv(spec((2, 2), state=True), ENVS, seed=rollout)
    plane = make_plane(env.spec, ENVS, rollout, frozen_seats=True)
    blocks, scratch, seating = plane.blocks(), plane.scratch(0, 0), Rotating()
    split = LockstepSplit(env, blocks, SeatRoute(blocks, scratch, seating), generation=0)
    slots, _ = play(split, blocks, 250, scratch)
    check_rows(slots)
    rows = acted_rows(slots)
    for e in range(ENVS):
        for episode in range(int(env.episode[e]) - 3):
            plan, players = script(e, episode, 4, rollout), seating.drawn[e][episode]
            for agent in range(4):
                player = players[agent // 2]
                expected = [k for k in range(plan.length) if plan.alive(agent, k)] if player >= 0 else []
                got = rows.get((e, episode, agent), {})
                assert sorted(got) == expected
                for slot, _, column in got.values():
                    assert slot.block.spec.seat == player and column == agent % 2 and slot.lane == e
    assert all(len(set(history)) == len(Rotating.KINDS) for history in seating.drawn.values())


def test_one_decision_per_match():
    """The seating is drawn once per episode, at its beginning."""
    env = ScriptedVectorEnv(spec((1, 1)), ENVS)
    plane = make_plane(env.spec, ENVS, 4, frozen_seats=True)
    blocks, scratch, seating = plane.blocks(), plane.scratch(0, 0), Rotating()
    split = LockstepSplit(env, blocks, SeatRoute(blocks, scratch, seating), generation=0)
    play(split, blocks, 200, scratch)
    assert [len(seating.drawn[e]) for e in range(ENVS)] == (env.episode + 1).tolist()


def test_a_player_that_does_not_fit_its_seat_is_refused():
    env = ScriptedVectorEnv(spec((1, 2)), ENVS)
    plane = make_plane(env.spec, ENVS, 4, frozen_seats=True)
    blocks = plane.blocks()
    seating = Rotating()
    seating.KINDS = ((1, 0),)
    split = LockstepSplit(env, blocks, SeatRoute(blocks, plane.scratch(0, 0), seating), generation=0)
    with pytest.raises(ValueError, match="does not fit seat"):
        split.advance()


def test_unwritten_rows_are_poisoned_and_no_poison_is_published():
    """Every row of a published slot was written: the poison of a fresh segment shows in none."""
    split, blocks, _, plane = home_split((3,), 6, state=True)
    fresh = plane.blocks()[0]
    assert np.isnan(fresh.obs).all() and (fresh.policy_version == -1).all()
    for slot in play(split, blocks, 100)[0]:
        for name in ("obs", "reward", "log_prob", "state"):
            assert np.isfinite(getattr(slot, name)).all()
        assert slot.obs.shape[-1] == OBS and (slot.policy_version >= 1).all()
