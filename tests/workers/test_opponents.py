"""Which snapshots a weight bank holds: what is in use stays, what is not wanted makes room, nothing else gets in."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfmarl.errors import RunError
from sfmarl.models.acting import make_acting
from sfmarl.models.bank import WeightBank
from sfmarl.workers.opponents import Opponents
from tests.algorithms.synthetic_batches import policy_spec
from tests.models.test_acting import lively_actor, random_inputs
from tests.models.test_bank import flat_of

SIZE = 3


def digest(flat: np.ndarray) -> str:
    return hashlib.sha256(flat.tobytes()).hexdigest()


POOL = {digest(flat): flat for flat in (np.full(SIZE, i, np.float32) for i in range(8))}
ADDRESSES = list(POOL)


class FakeBank:
    flat_size = SIZE

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows = np.full((capacity, SIZE), np.nan, np.float32)

    def load(self, slot: int, flat: np.ndarray) -> None:
        self.rows[slot] = flat


def is_its(address: str, flat: np.ndarray) -> bool:
    return digest(flat) == address


def opponents(capacity: int, read=POOL.__getitem__, actors: int = 1) -> tuple[Opponents, FakeBank]:
    bank = FakeBank(capacity)
    return Opponents(bank, read, is_its, actors), bank


def names(*which: int) -> list[str]:
    return [ADDRESSES[i] for i in which]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.lists(st.integers(0, 7)), st.sets(st.integers(0, 7)), st.none() | st.integers(0, 2))),
)
def test_whatever_is_asked_for(capacity, calls):
    held, bank = opponents(capacity)
    ever: set[str] = set()
    for which, pinned, limit in calls:
        wanted, in_use = names(*which), set(names(*pinned))
        before, misses = held.loaded, held.traffic.misses
        if len(in_use) > capacity:
            with pytest.raises(RunError, match="in use"):
                held.want(wanted, in_use)
            assert held.loaded == before
            continue
        can_act = held.want(wanted, in_use, limit)
        loaded = held.loaded
        # who is in use stays, and comes in first
        assert in_use & set(before) <= set(loaded)
        read = held.traffic.misses - misses
        if limit is None:
            assert in_use <= set(loaded)
            first = list(dict.fromkeys(a for a in wanted if a not in in_use))[: capacity - len(in_use)]
            assert set(first) <= set(can_act)
        else:
            assert read <= limit
        assert can_act == [a for a in dict.fromkeys(wanted) if a in loaded]
        # the bank holds what it is said to hold
        assert len(loaded) <= capacity
        slots = [held.slot_of(a) for a in loaded]
        assert len(set(slots)) == len(slots)
        np.testing.assert_array_equal(bank.rows[slots], np.reshape([POOL[a] for a in loaded], (-1, SIZE)))
        # nobody leaves for nothing
        assert len(set(before) - set(loaded)) <= read
        ever |= set(loaded)
        traffic = held.traffic
        assert traffic.bytes_moved == 4 * SIZE * traffic.misses
        assert traffic.evictions == traffic.misses - len(loaded)
        assert traffic.pull_all_bytes == 4 * SIZE * len(ever)


def test_the_least_recently_used_makes_room():
    held, _ = opponents(3)
    held.want(names(0, 1, 2))
    held.slot_of(ADDRESSES[0])
    held.slot_of(ADDRESSES[2])
    held.want(names(3))
    assert held.loaded == names(0, 2, 3)
    held.want(names(0))
    held.want(names(4))
    assert held.loaded == names(3, 0, 4)


def test_most_wanted_first_is_most_recently_used():
    held, _ = opponents(3)
    held.want(names(0, 1, 2))
    assert held.loaded == names(2, 1, 0)
    held.want(names(5, 6))
    assert held.loaded == names(0, 6, 5)


def test_a_match_keeps_its_opponent_however_long_ago_it_was_asked_for():
    held, bank = opponents(2)
    held.want(names(0))
    slot = held.slot_of(ADDRESSES[0])
    for other in (1, 2, 3, 1):
        held.want(names(other), in_use=names(0))
        assert held.slot_of(ADDRESSES[0]) == slot
        np.testing.assert_array_equal(bank.rows[slot], POOL[ADDRESSES[0]])
    with pytest.raises(KeyError):
        held.slot_of(ADDRESSES[2])


def test_who_plays_already_is_brought_in_although_nobody_wants_it():
    held, _ = opponents(2)
    assert held.want(names(1, 2), in_use=names(7)) == names(1)
    assert set(held.loaded) == set(names(1, 7))


def test_a_few_at_a_time():
    held, _ = opponents(4)
    assert held.want(names(0, 1, 2), limit=1) == names(0)
    assert held.want(names(0, 1, 2), limit=1) == names(0, 1)
    assert held.want(names(0, 1, 2), limit=0) == names(0, 1)
    assert held.traffic.misses == 2


def test_what_every_actor_pulling_everything_would_have_moved():
    held, _ = opponents(1, actors=16)
    for which in (0, 1, 0, 1, 0):
        held.want(names(which))
    held.want(names(0))
    traffic = held.traffic
    assert (traffic.misses, traffic.hits, traffic.evictions) == (5, 1, 4)
    assert traffic.bytes_moved == 5 * 4 * SIZE
    assert traffic.pull_all_bytes == 16 * 2 * 4 * SIZE


@pytest.mark.parametrize(
    ("flat", "said"),
    [
        (np.full(SIZE, 9.0, np.float32), "damaged"),
        (np.zeros(SIZE + 1, np.float32), "another architecture"),
        (np.zeros(SIZE, np.float64), "another architecture"),
    ],
)
def test_what_is_not_what_its_address_says_does_not_get_in(flat, said):
    held, bank = opponents(1, read=lambda address: flat if address == ADDRESSES[1] else POOL[address])
    held.want(names(0))
    before = bank.rows.copy()
    with pytest.raises(RunError, match=said) as error:
        held.want(names(1))
    assert ADDRESSES[1][:12] in str(error.value)
    assert held.loaded == names(0)
    np.testing.assert_array_equal(bank.rows, before)
    assert held.want(names(2)) == names(2)


def test_snapshots_act_from_where_they_were_put():
    spec = policy_spec(masked=True)
    actors = [lively_actor(spec, seed=k, hidden=(4,)) for k in range(4)]
    pool = {digest(flat_of(actor)): actor for actor in actors}
    bank = WeightBank(actors[0], spec, 2, "cpu", 0)
    held = Opponents(bank, lambda address: flat_of(pool[address]), is_its, actors=1)
    obs, mask, _ = random_inputs(spec, rows=10)
    addresses = list(pool)
    for pair in ((0, 1), (1, 2), (3, 0)):
        held.want([addresses[i] for i in pair])
        slot = np.array([held.slot_of(addresses[pair[row % 2]]) for row in range(10)])
        action = bank.act(obs, slot, mask, greedy=True)[0]
        for half in (0, 1):
            alone = make_acting(actors[pair[half]], spec, "cpu", 0)
            np.testing.assert_array_equal(action[half::2], alone.act(obs[half::2], mask[half::2], greedy=True)[0])
