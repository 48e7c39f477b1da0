"""Which snapshots of the pool can sit opposite now: K columns of the match table, and when they may change hands.

The columns are a cache of the pool (workers/opponents.py): the least recently used makes room. A snapshot in it goes
through three states. *Live*: its weights are published and matches may be drawn with it. *Draining*: nobody is to meet
it any more; matches that run are played to their end. *Drained*: every worker draws from a table without it and no seat
holds it, so that another may take its place. No match ever changes its opponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sfmarl.memory.plane import DataPlane
from sfmarl.workers.opponents import Opponents, Traffic


class Columns:
    """The stores of all columns as the cache fills them: what is published is what inference workers take over."""

    def __init__(self, plane: DataPlane, address_of: Callable[[np.ndarray], str]) -> None:
        spec = plane.spec
        self.capacity = spec.table.snapshots
        self.flat_size = spec.frozen_sizes[0]
        self._stores = [plane.weights(spec.policies + column) for column in range(self.capacity)]
        self._address_of = address_of

    def load(self, slot: int, flat: np.ndarray) -> None:
        """Publish a snapshot in a column, under its address."""
        store = self._stores[slot]
        store.publish(flat, store.version + 1, self._address_of(flat))


class LiveSnapshots:
    """The main process's book of the columns. Weights move here, once per change, and nowhere else."""

    def __init__(
        self, plane: DataPlane, read: Callable[[str], np.ndarray], address_of: Callable[[np.ndarray], str]
    ) -> None:
        """`read(address)` returns a snapshot's weights float32 [flat_size], which it has compared with the address.

        `address_of(weights)` computes the address that is published beside them.
        """
        spec = plane.spec
        self.room = spec.table.snapshots
        """K."""
        self._cache = Opponents(Columns(plane, address_of), read, lambda address, flat: True, actors=spec.workers)
        self._table = plane.match_table()
        self._seats = [
            seat.player
            for worker in range(spec.workers)
            for split in range(spec.splits)
            for seat in plane.scratch(worker, split)
        ]
        self._draining: dict[str, int | None] = {}
        """Address -> first version of the table without it; None until that is published."""
        self._wanted: list[str] = []

    @property
    def traffic(self) -> Traffic:
        """What was moved from the pool to the columns since the run was started or resumed, and what was there."""
        return self._cache.traffic

    @property
    def addresses(self) -> list[str]:
        """What lies in a column, whether it may be met or not."""
        return self._cache.loaded

    @property
    def columns(self) -> dict[str, int]:
        """Address -> column of the snapshots that matches may be drawn with."""
        return {address: column for address, column in self._cache.slots.items() if address not in self._draining}

    @property
    def pending(self) -> bool:
        """Whether a wanted snapshot still waits for a column."""
        return not set(self._wanted) <= set(self.addresses)

    def want(self, addresses: Sequence[str]) -> None:
        """Have these snapshots live, the most important first; what has no room is left out.

        One that is draining and wanted again is live at once.
        """
        self._wanted = list(dict.fromkeys(addresses))[: self.room]
        for address in self.addresses:
            if address in self._wanted:
                self._draining.pop(address, None)
            else:
                self._draining.setdefault(address, None)

    def load(self) -> None:
        """Publish wanted snapshots in columns that are empty or drained."""
        drained = self._drained()
        self._cache.want(self._wanted, in_use=[address for address in self.addresses if address not in drained])
        here = set(self.addresses)
        self._draining = {address: since for address, since in self._draining.items() if address in here}

    def published(self, version: int) -> None:
        """Say that a table was published that gives draining columns no weight."""
        self._draining = {address: since or version for address, since in self._draining.items()}

    def _drained(self) -> list[str]:
        """Return the snapshots that others may take the place of."""
        seen = int(self._table.seen.min())
        gone = [address for address, since in self._draining.items() if since is not None and seen >= since]
        if gone:
            # read after `seen`: a match that was drawn before shows in its seat by now
            playing = set(np.unique(np.concatenate(self._seats)).tolist())
            slots = self._cache.slots
            gone = [address for address in gone if slots[address] not in playing]
        return gone
