"""Any interleaving of workers, learners and their deaths: no slot lost, none read twice, none read half written."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sfmarl.memory.slots import FILLING, FREE, READY, TAKEN, SlotWords

RING, LANES = 3, 3
lanes = st.integers(0, LANES - 1)


class Slots(RuleBasedStateMachine):
    """Each lane's worker fills its ring in order, as splits do; one learner takes what is ready. Both may be killed.

    What a slot holds stands beside it, written as the worker writes: bit by bit, whole only when it publishes.
    """

    def __init__(self) -> None:
        super().__init__()
        shape = (RING, LANES)
        self.words = SlotWords(np.zeros(shape, np.int32), np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        self.content = np.full(shape, -1)
        self.life, self.claims, self.position = 0, [0] * LANES, [0] * LANES
        self.filling: dict[int, int] = {}
        """Lane -> serial of what its worker is writing."""
        self.taken: list[tuple[int, int]] = []
        self.serial = 0
        self.published: set[int] = set()
        self.read: Counter[int] = Counter()
        self.gone: set[int] = set()
        """Published and then taken by a learner that died before it gave the slot back, or given back unread."""

    @rule(lane=lanes, sync=st.booleans())
    def claim(self, lane: int, sync: bool) -> None:
        ring = self.position[lane]
        if lane in self.filling or not self.words.can_claim(ring, lane, sync):
            return
        assert self.words.claimable(np.array([ring]), np.array([lane]), sync).all()
        self.words.claim(ring, lane, self.life, self.claims[lane])
        self.claims[lane] += 1
        self.serial += 1
        self.filling[lane] = self.serial
        self.content[ring, lane] = -2  # half written: nobody may read it

    @rule(lane=lanes)
    def publish(self, lane: int) -> None:
        if lane in self.filling:
            ring, serial = self.position[lane], self.filling.pop(lane)
            self.content[ring, lane] = serial
            self.words.publish(ring, lane)
            self.published.add(serial)
            self.position[lane] = (ring + 1) % RING

    @rule(lane=lanes, count=st.integers(1, RING))
    def fill(self, lane: int, count: int) -> None:
        for _ in range(count):
            self.claim(lane, sync=False)
            self.publish(lane)

    @rule(count=st.integers(1, RING * LANES))
    def take(self, count: int) -> None:
        rings, taken = self.words.ready()
        numbers = self.words.number[rings, taken]
        assert (np.diff(numbers) >= 0).all()
        for ring, lane in list(zip(rings.tolist(), taken.tolist(), strict=True))[:count]:
            self.words.take(ring, lane)
            self.taken.append((ring, lane))

    @rule()
    def read_and_release(self) -> None:
        if self.taken:
            ring, lane = self.taken.pop(0)
            serial = int(self.content[ring, lane])
            assert serial in self.published, "a slot was read that is not whole"
            self.read[serial] += 1
            assert self.read[serial] == 1, "a slot was read twice"
            self.words.release(ring, lane)

    @rule()
    def worker_dies(self) -> None:
        """Its next life gives back what was being filled; what was published stays."""
        self.life += 1
        assert self.words.discard_filling() == len(self.filling)
        self.filling.clear()
        # as splits do: a new life begins where nothing of the old one is in its way
        newest = self.words.newest_published()
        self.position = [0 if ring < 0 else (int(ring) + 1) % RING for ring in newest]
        self.claims = [max(n, int(self.words.number[:, lane].max()) + 1) for lane, n in enumerate(self.claims)]

    @rule()
    def learner_dies(self) -> None:
        """What it had taken is lost and free again; nobody reads it a second time."""
        assert self.words.discard_taken() == len(self.taken)
        self.gone |= {int(self.content[place]) for place in self.taken}
        self.taken.clear()

    @precondition(lambda self: not self.taken)
    @rule()
    def worker_dies_in_sync_mode(self) -> None:
        """Its READY slots go, too, when they can no longer be part of an update."""
        self.worker_dies()
        ready = self.words.state == READY
        self.gone |= set(self.content[ready].tolist())
        assert self.words.discard_ready() == int(ready.sum())
        self.position = [0] * LANES

    @invariant()
    def every_slot_is_accounted_for(self) -> None:
        state = self.words.state
        assert np.isin(state, (FREE, FILLING, READY, TAKEN)).all()
        assert int((state == FILLING).sum()) == len(self.filling)
        assert {tuple(place) for place in np.argwhere(state == TAKEN).tolist()} == set(self.taken)
        waiting = set(self.content[(state == READY) | (state == TAKEN)].tolist())
        assert waiting | set(self.read) | self.gone == self.published
        assert not waiting & set(self.read) and not self.gone & set(self.read)

    @invariant()
    def a_lane_is_never_stuck(self) -> None:
        """A lane that is not being filled waits for the learner at most: its next slot is not half written."""
        for lane in range(LANES):
            if lane not in self.filling:
                assert self.words.state[self.position[lane], lane] != FILLING


Slots.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestSlots = Slots.TestCase
