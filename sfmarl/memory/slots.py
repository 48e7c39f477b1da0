"""Slot states: the one module in which they change.

    FREE ----claim----> FILLING ----publish----> READY ----take----> TAKEN ----release----> FREE
    (worker)             (worker)                (learner)           (learner)
                            `---discard---> FREE  (the worker's next life)
                                                        TAKEN ---discard---> FREE (a new learner, at its start)

The states are words in shared memory, one per (ring position, lane), and they are the truth: whoever hears nothing
looks at them. Each word has exactly one process that may change it in each state, so no lock is needed.
"""

from __future__ import annotations

import numpy as np

FREE, FILLING, READY, TAKEN = 0, 1, 2, 3
ALL = slice(None)

_NONE = np.empty(0, np.int64)

Lanes = slice | np.ndarray | int
"""Which lanes of a ring position: all at once in lock-step, one or some when turns alternate."""
Ring = int | np.ndarray
"""Ring position: one, or one for each of some lanes (int64 [n])."""


class SlotWords:
    """The state words of one block, with the transitions as methods. Illegal transitions raise RuntimeError."""

    def __init__(self, state: np.ndarray, generation: np.ndarray, number: np.ndarray) -> None:
        self.state = state
        """[ring, L] int32."""
        self.generation = generation
        """[ring, L] int64: life of the worker that filled the slot."""
        self.number = number
        """[ring, L] int64: how many slots the lane had claimed before this one."""

    def _move(self, ring: Ring, lanes: Lanes, old: int, new: int) -> None:
        words = self.state[ring, lanes]
        if (words != old).any():
            raise RuntimeError(f"slot state must be {old} to become {new}, found {np.unique(words)}")
        self.state[ring, lanes] = new

    def can_claim(self, ring: int, lanes: Lanes, sync: bool) -> bool:
        """Whether the named slots are FREE; with `sync` every other slot of these lanes must be, too.

        In sync mode the learner releases a slot only after it published what it learned from it, so a lane that claims
        with `sync` acts with weights that know its whole past: policy lag 0.
        """
        return not (self.state[ALL if sync else ring, lanes] != FREE).any()

    def claimable(self, ring: np.ndarray, lanes: np.ndarray, sync: bool) -> np.ndarray:
        """`can_claim` of each of n lanes: whether its slot at its `ring` position is, bool [n]."""
        free = self.state[:, lanes] == FREE if sync else self.state[ring, lanes] == FREE
        return free.all(axis=0) if sync else free

    def claim(self, ring: Ring, lanes: Lanes, generation: int, number: int | np.ndarray) -> None:
        """FREE -> FILLING, by the worker: from here on it may write the slot."""
        self._move(ring, lanes, FREE, FILLING)
        self.generation[ring, lanes] = generation
        self.number[ring, lanes] = number

    def publish(self, ring: Ring, lanes: Lanes) -> None:
        """FILLING -> READY, by the worker: every step is closed; it will not write the slot again."""
        self._move(ring, lanes, FILLING, READY)

    def ready(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (ring positions, lanes) of the READY slots, both int64 [n], oldest slot number first."""
        is_ready = self.state == READY
        if not is_ready.any():
            # as a learner that polls mostly finds it
            return _NONE, _NONE
        ring, lanes = np.nonzero(is_ready)
        order = np.argsort(self.number[ring, lanes], kind="stable")
        return ring[order], lanes[order]

    def take(self, ring: int, lanes: Lanes) -> None:
        """READY -> TAKEN, by the learner: it copies the slot out."""
        self._move(ring, lanes, READY, TAKEN)

    def release(self, ring: int, lanes: Lanes) -> None:
        """TAKEN -> FREE, by the learner: the copy is made."""
        self._move(ring, lanes, TAKEN, FREE)

    def discard_filling(self) -> int:
        """FILLING -> FREE, by a worker of a new life, once nothing is written for the old one. Returns how many.

        READY slots of a past life stay: every step in them is closed, they are whole.
        """
        filling = self.state == FILLING
        self.state[filling] = FREE
        return int(filling.sum())

    def discard_ready(self) -> int:
        """READY -> FREE, by a worker of a new life in sync mode, for slots that can no longer be part of an update."""
        ready = self.state == READY
        self.state[ready] = FREE
        return int(ready.sum())

    def newest_published(self) -> np.ndarray:
        """Return each lane's ring position that was published last and not released yet, int64 [L], -1 for none."""
        published = (self.state == READY) | (self.state == TAKEN)
        newest = np.where(published, self.number, -1).argmax(axis=0)
        return np.where(published.any(axis=0), newest, -1)

    def every_lane_is_ready(self) -> bool:
        """Whether each lane has a READY slot."""
        return bool((self.state == READY).any(axis=0).all())

    def discard_taken(self) -> int:
        """TAKEN -> FREE, by a learner that starts after the one before it died. Returns how many slots that were."""
        taken = self.state == TAKEN
        self.state[taken] = FREE
        return int(taken.sum())
