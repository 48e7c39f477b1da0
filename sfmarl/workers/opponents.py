"""A cache of frozen opponents of one architecture: which snapshots a bank of K places holds, and where.

    want(addresses, in_use)    bring them in, most wanted first; others make room, those in use never do
    slot_of(address)           where in the bank it lies

A run has one, over the columns of its match table (run/live_snapshots.py).

The bank is a cache: snapshots that are not wanted stay until their place is needed, least recently used first. Weights
move only here, and what is loaded is compared with its address first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sfmarl.errors import RunError


class Bank(Protocol):
    """Policies of one architecture as they are used here (models/bank.py)."""

    capacity: int
    flat_size: int

    def load(self, slot: int, flat: np.ndarray) -> None: ...


@dataclass
class Traffic:
    """What was moved, and what was not."""

    bytes_moved: int = 0
    """Weights read from the store."""
    hits: int = 0
    """Snapshots that were asked for (`want`) and were there."""
    misses: int = 0
    """Snapshots that were asked for and had to be read."""
    evictions: int = 0
    """Snapshots that made room."""
    pull_all_bytes: int = 0
    """Had every actor pulled every snapshot once: actors x bytes, summed over the distinct snapshots ever loaded."""


class Opponents:
    """The snapshots that can act at the moment."""

    def __init__(
        self,
        bank: Bank,
        read: Callable[[str], np.ndarray],
        verify: Callable[[str, np.ndarray], bool],
        actors: int,
    ) -> None:
        """`bank` is empty and loaded by nobody else.

        `read` returns an address's weights float32 [flat_size]; `verify` says whether weights are those of an address,
        by the hash of their content. `actors` are the processes that would hold opponents if each acted for itself.
        """
        self.traffic = Traffic()
        self._bank, self._read, self._verify, self._actors = bank, read, verify, actors
        self._slots: dict[str, int] = {}
        """Address -> bank slot, least recently used first."""
        self._free = list(range(bank.capacity))[::-1]
        self._known: set[str] = set()

    @property
    def loaded(self) -> list[str]:
        """Addresses that can act, least recently used first."""
        return list(self._slots)

    @property
    def slots(self) -> dict[str, int]:
        """Address -> bank slot of those, in that order; to look is not to use."""
        return dict(self._slots)

    def slot_of(self, address: str) -> int:
        """Return the bank slot of a loaded snapshot, which counts as a use. Raises KeyError when it is not loaded."""
        slot = self._slots[address] = self._slots.pop(address)
        return slot

    def want(self, addresses: Iterable[str], in_use: Collection[str] = (), limit: int | None = None) -> list[str]:
        """Bring in what is missing and return which of `addresses` can act now, in their order.

        Those `in_use` may be drawn or play already: they stay, and are brought in before all others (a worker that
        replaces a killed one begins with nothing). Then come `addresses`, most wanted first, as far as there is room.
        At most `limit` snapshots are read in this call, so that whoever waits for an action does not wait for all.

        Raises RunError when more are in use than there is room for, and when a snapshot cannot be read or is not what
        its address says; those loaded before are not touched by that.
        """
        capacity, in_use = self._bank.capacity, set(in_use)
        if len(in_use) > capacity:
            raise RunError(
                f"{len(in_use)} frozen opponents are in use, the weight bank holds {capacity}: "
                "give it more room, or let fewer opponents play at a time."
            )
        wanted = list(dict.fromkeys(addresses))
        stay = list(dict.fromkeys((*sorted(in_use), *wanted)))[:capacity]
        missing = [address for address in stay if address not in self._slots]
        self.traffic.hits += sum(address in self._slots for address in {*in_use, *wanted})
        for address in missing[:limit]:
            self._load(address, stay)
        for address in reversed(wanted):
            if address in self._slots:
                self.slot_of(address)
        return [address for address in wanted if address in self._slots]

    def _load(self, address: str, stay: Collection[str]) -> None:
        """Read, verify and load one snapshot; whatever is neither in `stay` nor recently used makes room."""
        self.traffic.misses += 1
        flat = self._read(address)
        self.traffic.bytes_moved += flat.nbytes
        if flat.dtype != np.float32 or flat.shape != (self._bank.flat_size,):
            raise RunError(
                f"Snapshot {address[:12]} is of another architecture: {flat.dtype} {list(flat.shape)} instead of "
                f"float32 [{self._bank.flat_size}]."
            )
        if not self._verify(address, flat):
            raise RunError(
                f"Snapshot {address[:12]} is damaged: its content is not what its address says. "
                "Delete its file, or restore it from another copy of the pool."
            )
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._slots.pop(next(other for other in self._slots if other not in stay))
            self.traffic.evictions += 1
        self._bank.load(slot, flat)
        self._slots[address] = slot
        if address not in self._known:
            self._known.add(address)
            self.traffic.pull_all_bytes += self._actors * flat.nbytes
