"""Which snapshots of the pool can sit opposite now: K columns of the match table, and when they may change hands.

A column goes through three states. *Loaded*: its weights are published and matches may be drawn with it. *Draining*:
nobody is to meet it any more; matches that run are played to their end. *Free*: every worker draws from a table without
it and no seat holds it, so that other weights may take its place. No match ever changes its opponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sfmarl.memory.match_table import EMPTY
from sfmarl.memory.plane import DataPlane


class LiveSnapshots:
    """The main process's book of the columns. Weights move here, once per change, and nowhere else."""

    def __init__(self, plane: DataPlane, read: Callable[[int], np.ndarray]) -> None:
        """`read(entry)` returns the weights float32 [flat_size] of an entry of the pool."""
        spec = plane.spec
        self.entries = np.full(spec.table.snapshots, EMPTY, np.int64)
        """[K] int64: the entry in each column, EMPTY if none is."""
        self.bytes_moved = 0
        """Bytes of weights that were published."""
        self.loads = 0
        """Snapshots that were published."""
        self._read = read
        self._table = plane.match_table()
        self._stores = [plane.weights(spec.policies + column) for column in range(spec.table.snapshots)]
        self._seats = [
            seat.player
            for worker in range(spec.workers)
            for split in range(spec.splits)
            for seat in plane.scratch(worker, split)
        ]
        self._draining: dict[int, int | None] = {}
        """Column -> first version of the table without it; None until that is published."""
        self._wanted: list[int] = []

    @property
    def drawable(self) -> np.ndarray:
        """[K] bool: columns that matches may be drawn with."""
        loaded = self.entries != EMPTY
        loaded[list(self._draining)] = False
        return loaded

    def want(self, entries: Sequence[int]) -> None:
        """Have these entries live, the most important first; what has no room is left out.

        A draining column whose entry is wanted again becomes drawable at once.
        """
        self._wanted = list(dict.fromkeys(entries))[: len(self.entries)]
        for column, entry in enumerate(self.entries.tolist()):
            if entry in self._wanted:
                self._draining.pop(column, None)
            elif entry != EMPTY:
                self._draining.setdefault(column, None)

    def load(self) -> bool:
        """Publish wanted entries in columns that are free; return whether any was."""
        missing = [entry for entry in self._wanted if entry not in self.entries]
        loaded = False
        for column in self._free():
            if not missing:
                break
            entry = missing.pop(0)
            flat, store = self._read(entry), self._stores[column]
            store.publish(flat, store.version + 1)
            self.entries[column] = entry
            self._draining.pop(column, None)
            self.bytes_moved += flat.nbytes
            self.loads += 1
            loaded = True
        return loaded

    def published(self, version: int) -> None:
        """Say that a table was published that gives draining columns no weight."""
        self._draining = {column: since or version for column, since in self._draining.items()}

    def _free(self) -> list[int]:
        empty = np.flatnonzero(self.entries == EMPTY).tolist()
        seen = int(self._table.seen.min())
        drained = [column for column, since in self._draining.items() if since is not None and seen >= since]
        if drained:
            # read after `seen`: a match that was drawn before shows in its seat by now
            playing = np.unique(np.concatenate(self._seats))
            drained = [column for column in drained if column not in playing]
        return empty + drained
