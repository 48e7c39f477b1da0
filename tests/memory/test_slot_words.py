"""Slot states: every transition that is legal, and that no other is."""

from __future__ import annotations

import numpy as np
import pytest

from sfmarl.memory.slots import ALL, FILLING, FREE, READY, TAKEN, SlotWords

RING, LANES = 3, 4

MOVES = {
    "claim": (FREE, FILLING, (7, 11)),
    "publish": (FILLING, READY, ()),
    "take": (READY, TAKEN, ()),
    "release": (TAKEN, FREE, ()),
}


@pytest.fixture
def slots():
    shape = (RING, LANES)
    return SlotWords(np.zeros(shape, np.int32), np.zeros(shape, np.int64), np.zeros(shape, np.int64))


@pytest.mark.parametrize("lanes", [ALL, 2, np.array([1, 3])], ids=["all lanes", "one lane", "some lanes"])
@pytest.mark.parametrize("move", MOVES)
def test_a_legal_move_changes_the_named_slots_alone(slots, move, lanes):
    old, new, more = MOVES[move]
    slots.state[1] = old
    expected = slots.state.copy()
    expected[1, lanes] = new
    getattr(slots, move)(1, lanes, *more)
    np.testing.assert_array_equal(slots.state, expected)


@pytest.mark.parametrize("lanes", [ALL, 2, np.array([1, 3])], ids=["all lanes", "one lane", "some lanes"])
@pytest.mark.parametrize(
    ("move", "state"), [(move, state) for move in MOVES for state in range(4) if state != MOVES[move][0]]
)
def test_every_other_move_raises_and_changes_nothing(slots, move, state, lanes):
    old, _, more = MOVES[move]
    slots.state[1] = old
    slots.state[1, 3 if not isinstance(lanes, int) else lanes] = state  # one wrong lane is enough
    before = [slots.state.copy(), slots.generation.copy(), slots.number.copy()]
    with pytest.raises(RuntimeError, match=f"must be {old}"):
        getattr(slots, move)(1, lanes, *more)
    for array, copy in zip((slots.state, slots.generation, slots.number), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_slot_goes_round(slots):
    for lap in range(1, 4):
        for ring in range(RING):
            slots.claim(ring, ALL, generation=1, number=lap)
            slots.publish(ring, ALL)
            slots.take(ring, ALL)
            slots.release(ring, ALL)
    assert (slots.state == FREE).all() and (slots.number == 3).all()


def test_claim_stamps_generation_and_number(slots):
    slots.claim(2, np.array([0, 3]), generation=5, number=9)
    assert slots.generation[2].tolist() == [5, 0, 0, 5]
    assert slots.number[2].tolist() == [9, 0, 0, 9]
    assert not slots.generation[:2].any() and not slots.number[:2].any()


@pytest.mark.parametrize("state", [FILLING, READY, TAKEN])
def test_async_claims_look_at_the_named_slot_alone(slots, state):
    slots.state[0] = state
    assert slots.can_claim(1, ALL, sync=False)
    assert not slots.can_claim(0, ALL, sync=False)


@pytest.mark.parametrize("state", [FILLING, READY, TAKEN])
def test_sync_claims_wait_for_every_slot_of_the_lanes(slots, state):
    slots.state[0, 1] = state
    assert not slots.can_claim(2, ALL, sync=True)
    assert not slots.can_claim(2, 1, sync=True)
    assert slots.can_claim(2, 0, sync=True), "another lane's slots are no concern of this one"
    slots.state[0, 1] = FREE
    assert slots.can_claim(2, ALL, sync=True)


def test_one_occupied_lane_keeps_the_whole_position_from_being_claimed(slots):
    slots.state[1, 3] = READY
    assert not slots.can_claim(1, ALL, sync=False)
    assert slots.can_claim(1, np.array([0, 1, 2]), sync=False)


@pytest.mark.parametrize(
    ("discard", "state"), [("discard_filling", FILLING), ("discard_ready", READY), ("discard_taken", TAKEN)]
)
def test_discarding_frees_one_state_and_counts(slots, discard, state):
    slots.state[...] = np.arange(RING * LANES).reshape(RING, LANES) % 4
    expected = np.where(slots.state == state, FREE, slots.state)
    assert getattr(slots, discard)() == 3
    np.testing.assert_array_equal(slots.state, expected)
    assert getattr(slots, discard)() == 0


def test_ready_slots_are_listed_oldest_number_first(slots):
    slots.number[...] = [[8, 1, 8, 2], [9, 3, 7, 9], [6, 9, 1, 4]]
    slots.state[...] = READY
    slots.state[0, 1] = FILLING
    slots.state[2, 2] = FREE
    slots.state[1, 0] = TAKEN
    ring, lanes = slots.ready()
    listed = list(zip(ring.tolist(), lanes.tolist(), strict=True))
    numbers = slots.number[ring, lanes]
    assert (np.diff(numbers) >= 0).all()
    assert sorted(listed) == [(0, 0), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3)]
    assert listed[0] == (0, 3) and listed[3] == (2, 0)


def test_nothing_ready_is_an_empty_list(slots):
    slots.state[...] = FILLING
    ring, lanes = slots.ready()
    assert ring.shape == lanes.shape == (0,)


def test_every_lane_is_ready_at_whatever_position(slots):
    assert not slots.every_lane_is_ready()
    slots.state[[0, 1, 2, 0], [0, 1, 2, 3]] = READY
    assert slots.every_lane_is_ready()
    slots.state[2, 2] = TAKEN
    assert not slots.every_lane_is_ready()
