"""From READY slots to a batch: every slot once, the oldest first, and never so few that everybody waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_parts import env_spec, make_plane, publish_slot

from sfmarl.memory.slots import ALL, FILLING, FREE, READY, TAKEN
from sfmarl.workers.gather import Chosen, Staging, find_ready, limit
from tests.late_transfers import LateTransfers

CPU = torch.device("cpu")


def lanes_of(part: Chosen) -> list[int]:
    return np.arange(part.block.spec.lanes)[part.lanes].tolist()


def named(parts) -> list[tuple[str, int, list[int]]]:
    return [(part.block.spec.name, part.ring, lanes_of(part)) for part in parts]


def test_nothing_ready():
    blocks = make_plane().blocks()
    blocks[0].slots.claim(0, ALL, 0, 1)
    assert find_ready(blocks) == [] and limit([], 4) == []


def test_the_oldest_number_comes_first_over_blocks_and_positions():
    first, second = make_plane(splits=2).blocks()
    for block, ring, number in ((first, 0, 7), (first, 1, 8), (second, 2, 6), (second, 0, 7)):
        publish_slot(block, ring, number=number)
    found = find_ready([first, second])
    assert [(part.block, part.ring, part.number) for part in found] == [
        (second, 2, 6),
        (first, 0, 7),
        (second, 0, 7),
        (first, 1, 8),
    ]
    assert all(part.lanes == slice(None) and part.count == 4 for part in found)


def test_positions_that_are_ready_in_part_name_their_lanes():
    (block,) = make_plane(env_spec((2,), turn_based=True)).blocks()
    publish_slot(block, 1, np.array([5, 2, 7]), number=3)
    publish_slot(block, 1, 0, number=2)
    publish_slot(block, 0, 3, number=9)
    found = find_ready([block])
    assert named(found) == [(block.spec.name, 1, [0, 2, 5, 7]), (block.spec.name, 0, [3])]
    assert [(part.count, part.number) for part in found] == [(4, 2), (1, 9)]


def test_limit_cuts_the_last_part_and_leaves_the_rest_ready():
    first, second = make_plane(splits=2).blocks()
    publish_slot(first, 0, number=1)
    publish_slot(second, 0, number=2)
    chosen = limit(find_ready([first, second]), 6)
    assert named(chosen) == [(first.spec.name, 0, [0, 1, 2, 3]), (second.spec.name, 0, [0, 1])]
    for part in chosen:
        part.take()
    assert first.slots.state[0].tolist() == [TAKEN] * 4
    assert second.slots.state[0].tolist() == [TAKEN, TAKEN, READY, READY]
    for part in chosen:
        part.release()
    left = find_ready([first, second])
    assert named(left) == [(second.spec.name, 0, [2, 3])]
    assert named(limit(left, 1)) == [(second.spec.name, 0, [2])]
    assert named(limit(left, 2)) == named(left)


def test_limit_of_whole_parts_keeps_them_whole():
    first, second = make_plane(splits=2).blocks()
    publish_slot(first, 0, number=1)
    publish_slot(second, 0, number=2)
    chosen = limit(find_ready([first, second]), 4)
    assert len(chosen) == 1 and chosen[0].lanes == slice(None)


@settings(max_examples=60)
@given(st.data())
def test_batches_lose_no_slot_and_take_none_twice(data):
    blocks = make_plane(env_spec((2,), turn_based=True), splits=2, envs_per_split=3).blocks()
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = data.draw(st.integers(1, 20))
    published, taken = set(), []
    for number in range(1, 6):
        for index, block in enumerate(blocks):
            free = (block.slots.state == FREE) & (rng.random(block.slots.state.shape) < 0.5)
            for ring, lane in zip(*np.nonzero(free), strict=True):
                block.slots.claim(ring, lane, 0, number)
                block.slots.publish(ring, lane)
                published.add((index, int(ring), int(lane), number))
        while sum(part.count for part in find_ready(blocks)) >= size:
            chosen = limit(find_ready(blocks), size)
            assert sum(part.count for part in chosen) == sum(len(lanes_of(part)) for part in chosen) == size
            for part in chosen:
                numbers = part.block.slots.number[part.ring]
                taken += [(blocks.index(part.block), part.ring, lane, int(numbers[lane])) for lane in lanes_of(part)]
                part.take()
            for part in chosen:
                part.release()
    left = {
        (index, int(ring), int(lane), int(block.slots.number[ring, lane]))
        for index, block in enumerate(blocks)
        for ring, lane in zip(*np.nonzero(block.slots.state == READY), strict=True)
    }
    assert len(taken) == len(set(taken))
    assert set(taken) | left == published and not set(taken) & left
    assert len(left) < size


BLOCKS, LANES, RING = 4, 16, 3


def runs_dry(batch_lanes: int, seed: int, rounds: int = 400) -> bool:
    """Let split after split fill its ring at random speed beside a learner; whether at last nobody can go on."""
    blocks = make_plane(workers=2, splits=2, envs_per_split=LANES, ring=RING, rollout=1).blocks()
    assert len(blocks) == BLOCKS
    rng = np.random.default_rng(seed)
    cursor, number = [0] * BLOCKS, 0
    speed = rng.random(BLOCKS)

    def advance(index: int) -> bool:
        slots, ring = blocks[index].slots, cursor[index]
        if slots.state[ring, 0] == FILLING:
            slots.publish(ring, ALL)
            cursor[index] = (ring + 1) % RING
            return True
        if not slots.can_claim(ring, ALL, sync=False):
            return False
        slots.claim(ring, ALL, 0, number)
        return True

    def learn() -> bool:
        ready = find_ready(blocks)
        if sum(part.count for part in ready) < batch_lanes:
            return False
        chosen = limit(ready, batch_lanes)
        for part in chosen:
            part.take()
            part.release()
        return True

    for number in range(1, rounds + 1):
        for index in range(BLOCKS):
            if rng.random() < speed[index]:
                advance(index)
        if rng.random() < 0.3:
            learn()
        if number % 20 == 0:
            while any(advance(index) for index in range(BLOCKS)):
                pass
            if not learn():
                return True
    return False


@pytest.mark.parametrize("batch_lanes", [*range(1, (RING - 1) * BLOCKS * LANES, 17), (RING - 1) * BLOCKS * LANES])
def test_a_batch_of_all_but_one_ring_position_always_comes_together(batch_lanes):
    """A cut slot blocks its ring position, one per block at most: the others fill up whatever happened before."""
    assert not runs_dry(batch_lanes, seed=batch_lanes)


def test_a_larger_batch_may_wait_for_ever():
    """185 of 192 lanes leave 7 behind: their block cannot use that position, and the next batch is never full."""
    assert any(runs_dry(185, seed) for seed in range(3))


def paint(block, value: int) -> None:
    """Give every element of every field a value of its own, as far as its dtype reaches."""
    rng = np.random.default_rng(value)
    for name in Staging.FIELDS:
        if (array := getattr(block, name)) is not None:
            drawn = rng.integers(0, 2 if array.dtype == np.bool_ else 1 << 20, array.shape)
            array[...] = drawn.astype(array.dtype)


@pytest.mark.parametrize("turn_based", [False, True])
def test_staging_copies_the_chosen_lanes_in_their_order(turn_based):
    env = env_spec((3,), turn_based=turn_based, mask=True)
    blocks = make_plane(env, splits=2, stores_state=True, masked_death=not turn_based).blocks()
    lanes = blocks[0].spec.lanes
    for index, block in enumerate(blocks):
        paint(block, index)
    chosen = [
        Chosen(blocks[1], 2, slice(None), lanes, 1),
        Chosen(blocks[0], 0, np.array([1, 3]), 2, 2),
        Chosen(blocks[1], 1, np.array([2]), 1, 3),
    ]
    wanted = [(1, 2, lane) for lane in range(lanes)] + [(0, 0, 1), (0, 0, 3), (1, 1, 2)]
    staging = Staging(blocks, len(wanted), CPU)
    for _ in range(2):  # a reused staging area holds nothing of the batch before
        batch = staging.fill(chosen)
        for name in Staging.FIELDS:
            if (tensor := getattr(batch, name)) is None:
                assert name == "in_return" and turn_based
                continue
            for column, (index, ring, lane) in enumerate(wanted):
                np.testing.assert_array_equal(tensor[:, column], getattr(blocks[index], name)[ring][:, lane], name)
        if turn_based:
            assert batch.agent_index.tolist() == [[lane % 3] for _, _, lane in wanted]
        else:
            assert batch.agent_index is None
        for block in blocks:
            paint(block, 5 + block.spec.split)
    assert batch.action.dtype == torch.int64 and batch.reward.dtype == torch.float32
    assert batch.rows() == (3, len(wanted), 1 if turn_based else 3)


def test_a_filled_batch_is_a_copy():
    (block,) = make_plane().blocks()
    publish_slot(block, 0)
    batch = Staging([block], 4, CPU).fill(find_ready([block]))
    block.reward[...] = 99
    assert not batch.reward.any()


def test_samples_are_live_rows_and_versions_those_who_acted():
    (block,) = make_plane().blocks()
    publish_slot(block, 1, version=4)
    block.active[1, 0, 2] = False
    block.active[1, 3] = True  # the successor row is nobody's sample
    block.policy_version[1, 2, 3] = -1
    (part,) = find_ready([block])
    assert part.samples() == 3 * 4 * 2 - 2
    assert part.versions().shape == (3, 4) and part.versions()[2, 3] == -1
    (cut,) = limit([part], 2)
    assert cut.samples() == 3 * 2 * 2 and cut.versions().shape == (3, 2)


@pytest.mark.parametrize("direct_bytes", [0, 150, 1 << 40])
@pytest.mark.parametrize("turn_based", [False, True])
def test_a_device_of_its_own_gets_what_the_cpu_would(turn_based, direct_bytes):
    """Whether fields travel alone or gathered; copies are made as late as a GPU may make them."""
    env = env_spec((3,), turn_based=turn_based, mask=True)
    blocks = make_plane(env, splits=2, stores_state=True, rnn_sizes=(4,)).blocks()
    lanes = blocks[0].spec.lanes
    chosen = [Chosen(blocks[1], 2, slice(None), lanes, 1), Chosen(blocks[0], 0, np.array([1, 3]), 2, 2),
              Chosen(blocks[0], 1, slice(3), 3, 2)]  # fmt: skip
    count = lanes + 5
    late = LateTransfers()
    here = Staging(blocks, count + 1, CPU, direct_bytes=direct_bytes)
    there = Staging(blocks, count + 1, CPU, late, direct_bytes)
    for round_ in range(2):
        for index, block in enumerate(blocks):
            paint(block, 10 * round_ + index)
            block.actor_state[...] = np.random.default_rng(index).normal(size=block.actor_state.shape)
            block.slots.number[...] = index + round_
        wanted, found = here.fill(chosen), there.fill(chosen)
        for block in blocks:
            paint(block, 99)  # released slots are written again at once
        for name, tensor in vars(wanted).items():
            if isinstance(tensor, torch.Tensor):
                assert torch.equal(tensor, getattr(found, name)), name
                assert getattr(found, name).dtype == tensor.dtype
    per_fill = late.made // 2
    fields = sum(isinstance(tensor, torch.Tensor) for tensor in vars(wanted).values())
    assert per_fill == fields if direct_bytes == 1 << 40 else per_fill > fields
