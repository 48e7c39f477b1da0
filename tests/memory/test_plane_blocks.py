"""Which arrays a run consists of, and how large they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sfmarl.memory.block import BlockSpec
from sfmarl.memory.plane import DataPlane, PlaneSpec
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

DISCRETE = ActionSpec("discrete", nvec=(4,), start=(0,))
MULTI = ActionSpec("multi_discrete", nvec=(2, 3), start=(0, 0))
CONTINUOUS = ActionSpec("continuous", env_shape=(2, 2))


def team(name: str, agents: int, action: ActionSpec = DISCRETE, dtype=np.float32, mask: bool = False) -> TeamSpec:
    return TeamSpec(name, tuple(f"{name}{i}" for i in range(agents)), ObsSpec((5,), np.dtype(dtype)), action, mask)


ENV = EnvSpec("toy", (team("a", 3), team("b", 1, mask=True)), state_shape=(6,))
SPEC = PlaneSpec(
    env=ENV,
    workers=2,
    splits=2,
    envs_per_split=4,
    inference_workers=1,
    rollout=7,
    ring=3,
    policy_of_team=(1, 0),
    weight_sizes=(8, 9),
)


def test_blocks_are_ordered_by_worker_split_and_seat():
    blocks = SPEC.blocks()
    assert [(b.worker, b.split, b.seat) for b in blocks] == [
        (w, s, t) for w in range(2) for s in range(2) for t in range(2)
    ]
    assert all(b.policy == SPEC.policy_of_team[b.seat] and b.team is ENV.teams[b.seat] for b in blocks)
    assert len({b.name for b in blocks}) == len(blocks)


def test_a_parallel_block_has_envs_for_lanes_and_the_team_for_agents():
    plane = DataPlane.create(SPEC)
    first, second = plane.blocks(worker=1, split=0)
    assert first.spec.lockstep
    assert first.obs.shape == (3, 8, 4, 3, 5) and first.obs.dtype == np.float32
    for name in ("active", "is_first"):
        assert getattr(first, name).shape == (3, 8, 4, 3) and getattr(first, name).dtype == np.bool_
    for name, dtype in (
        ("action", np.int32), ("log_prob", np.float32), ("reward", np.float32), ("terminated", np.bool_),
        ("truncated", np.bool_),
    ):  # fmt: skip
        assert getattr(first, name).shape == (3, 7, 4, 3) and getattr(first, name).dtype == dtype
    assert first.policy_version.shape == (3, 7, 4) and first.policy_version.dtype == np.int64
    assert first.slots.state.shape == first.slots.number.shape == first.slots.generation.shape == (3, 4)
    assert first.cursor.shape == (2, 4) and first.wants_action.shape == (4,)
    assert first.action_mask is None and first.state is None and first.in_return is None
    assert second.obs.shape == (3, 8, 4, 1, 5)
    assert second.action_mask.shape == (3, 8, 4, 1, 4)


def test_a_turn_based_block_has_a_lane_per_env_and_agent():
    plane = DataPlane.create(replace(SPEC, env=replace(ENV, turn_based=True)))
    first, second = plane.blocks(worker=0, split=1)
    assert not first.spec.lockstep
    assert first.obs.shape == (3, 8, 12, 1, 5) and first.slots.state.shape == (3, 12)
    assert second.obs.shape == (3, 8, 4, 1, 5)
    assert first.cursor.shape == (2, 12) and first.wants_action.shape == (12,)


@pytest.mark.parametrize(
    ("action", "shape", "dtype", "mask"),
    [(DISCRETE, (), np.int32, 4), (MULTI, (2,), np.int32, 5), (CONTINUOUS, (4,), np.float32, 0)],
)
def test_actions_and_masks_have_the_shape_of_their_space(action, shape, dtype, mask):
    block = BlockSpec(0, 0, 0, 0, team("a", 2, action, np.uint8, mask=True), 3, 2, 5, 2, lockstep=True)
    fields = block.fields()
    assert fields["action"] == ((2, 5, 3, 2, *shape), np.dtype(dtype))
    assert fields["action_mask"] == ((2, 6, 3, 2, mask), np.dtype(np.bool_))
    assert fields["obs"] == ((2, 6, 3, 2, 5), np.dtype(np.uint8))


@pytest.mark.parametrize(("turn_based", "lanes"), [(False, 4), (True, 12)])
def test_a_state_is_stored_once_per_lane(turn_based, lanes):
    plane = DataPlane.create(replace(SPEC, env=replace(ENV, turn_based=turn_based), stores_state=True))
    block = plane.blocks()[0]
    assert block.state.shape == (3, 8, lanes, 6) and block.state.dtype == np.float32


def test_masked_death_stores_whose_return_is_running():
    block = DataPlane.create(replace(SPEC, masked_death=True)).blocks()[0]
    assert block.in_return.shape == (3, 8, 4, 3) and block.in_return.dtype == np.bool_


@pytest.mark.parametrize("turn_based", [False, True])
def test_lanes_of_a_policy_are_those_of_its_blocks(turn_based):
    spec = replace(SPEC, env=replace(ENV, turn_based=turn_based))
    plane = DataPlane.create(spec)
    for policy, agents in ((1, 3), (0, 1)):
        expected = 2 * 2 * 4 * (agents if turn_based else 1)
        assert spec.lanes_of_policy(policy) == expected
        assert sum(block.spec.lanes for block in plane.blocks(policy=policy)) == expected
    shared = replace(spec, policy_of_team=(0, 0), weight_sizes=(8,))
    assert shared.policies == 1
    assert shared.lanes_of_policy(0) == 2 * 2 * 4 * (4 if turn_based else 2)


def test_opening_blocks_selects_by_every_argument_given():
    plane = DataPlane.create(SPEC)
    assert len(plane.blocks()) == 8
    assert [b.spec.name for b in plane.blocks(worker=1, policy=0)] == ["block.1.0.1", "block.1.1.1"]
    assert [b.spec.name for b in plane.blocks(split=0, policy=1)] == ["block.0.0.0", "block.1.0.0"]
    assert plane.blocks(worker=2) == []


def test_a_block_opened_twice_is_the_same_memory():
    plane = DataPlane.create(SPEC)
    one, other = plane.blocks()[3], plane.blocks()[3]
    one.reward[1, 2, 3] = 5
    assert (other.reward[1, 2, 3] == 5).all()
    assert np.isnan(plane.blocks()[4].reward).all()


def test_row_views_lie_in_the_slots():
    block = DataPlane.create(replace(SPEC, stores_state=True)).blocks()[1]
    rows, outcome = block.obs_rows[2][7], block.outcome_rows[2][6]
    rows.obs[1, 0] = 3
    rows.state[1] = 4
    rows.action_mask[1, 0, 2] = True
    outcome.reward[2, 0] = 6
    outcome.truncated[2, 0] = True
    assert (block.obs[2, 7, 1, 0] == 3).all() and (block.state[2, 7, 1] == 4).all()
    assert block.action_mask[2, 7, 1, 0].tolist() == [False, False, True, False]
    assert block.reward[2, 6, 2, 0] == 6 and block.truncated.sum() == 1


def test_new_slots_are_free_and_poisoned():
    for block in DataPlane.create(replace(SPEC, stores_state=True)).blocks():
        assert not block.slots.state.any()
        for array in (block.obs, block.reward, block.log_prob, block.state):
            assert np.isnan(array).all()
        assert (block.action == np.iinfo(np.int32).max).all()
        assert (block.policy_version == -1).all()


def test_scratch_rows_exist_only_where_seats_may_be_frozen():
    assert DataPlane.create(SPEC).scratch(0, 0) == []
    scratch = DataPlane.create(replace(SPEC, frozen_seats=True)).scratch(1, 1)
    assert [(seat.spec.worker, seat.spec.split, seat.spec.seat) for seat in scratch] == [(1, 1, 0), (1, 1, 1)]
    assert scratch[0].obs.shape == (4, 3, 5) and scratch[0].action_mask is None
    assert scratch[1].obs.shape == (4, 1, 5) and scratch[1].action_mask.shape == (4, 1, 4)
    assert scratch[0].player.shape == (4,) and scratch[0].action.shape == (4, 3)


def test_the_size_is_known_before_anything_is_reserved():
    spec = replace(SPEC, ring=5)
    plane = DataPlane.create(spec)
    assert spec.layout().size == plane.segment.layout.size > SPEC.layout().size


def test_words_of_a_run():
    plane = DataPlane.create(SPEC)
    words = plane.words()
    assert words.generation.shape == words.acknowledged.shape == (2,)
    assert words.requested.shape == words.answered.shape == words.request_generation.shape == (2, 2)
    assert words.counts["rollout"].shape[0] == 2 and words.counts["learner"].shape[0] == 2
    assert words.times["inference"].shape[0] == words.progress["inference"].shape[0] == 1
    assert not words.stopping
    words.stop()
    assert plane.words().stopping
    assert [plane.weights(policy).buffer.shape for policy in range(2)] == [(2, 8), (2, 9)]
