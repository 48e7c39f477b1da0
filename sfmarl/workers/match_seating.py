"""Seats of a league: when an episode begins, its match is drawn from the table that the main process keeps.

Every env is home to one learning player, which takes a seat in each match but the evaluation matches. Whoever sits
opposite acts without learning, unless it is the player itself: then all its seats learn.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from sfmarl.memory.match_table import EMPTY, Matches, MatchTable
from sfmarl.workers.seating import Players, frozen

LIVE = -1
"""Identity of learning player 0 as it is now; `LIVE - p` that of player p, then scripts. Snapshots have theirs >= 0."""


class MatchSeating:
    """`Seating` of one split, whose learning player has a block for every seat, in the order of the seats.

    Seats are balanced: of as many matches against others as there are seats, a home player has one in each, in an order
    drawn anew every time.
    """

    def __init__(self, table: MatchTable, worker: int, home: int, envs: int, seats: int, seed: int) -> None:
        """`worker` draws; `home` is the learning player of the split's envs."""
        self.generators = (np.random.default_rng(seed),)
        self.identity = np.full((envs, seats), LIVE - home, np.int64)
        """[E, seats] int64: who sits where in the running matches (`LIVE`)."""
        self._table, self._worker, self._home, self._seats = table, worker, home, seats
        self._own = table.spec.column_of_learning(home)
        self._version = 0
        self._matches: Matches | None = None
        self._cumulative: list[float] = []
        self._identities: list[int] = []
        self._round: list[int] = []

    def draw(self, env: int) -> Players:
        """See Seating."""
        if self._table.version != self._version:
            self._refresh()
        matches, rng = self._matches, self.generators[0]
        if len(matches.evaluation) and rng.random() < matches.evaluation_share:
            columns = matches.evaluation[rng.integers(len(matches.evaluation))].tolist()
            learns = [False] * self._seats
        else:
            # a match begins every few steps: plain Python is several times faster here than NumPy on single numbers
            columns = [bisect_right(self._cumulative, rng.random()) for _ in range(self._seats - 1)]
            alone = all(column == self._own for column in columns)
            columns.insert(0 if alone else self._next_seat(), self._own)
            learns = [column == self._own for column in columns]
        self.identity[env] = [self._identities[column] for column in columns]
        return tuple(seat if learns[seat] else frozen(column) for seat, column in enumerate(columns))

    def _refresh(self) -> None:
        self._version, self._matches = self._table.read()
        cumulative = np.cumsum(self._matches.probability[self._home])
        # exactly 1 from the last column that can be drawn on: nothing lies beyond it
        cumulative[cumulative >= cumulative[-1]] = 1.0
        self._cumulative = cumulative.tolist()
        self._identities = [self._identity(column) for column in range(self._table.spec.columns)]
        # only now: from here on nothing older is drawn
        self._table.seen[self._worker] = self._version

    def _next_seat(self) -> int:
        if not self._round:
            self._round = self.generators[0].permutation(self._seats).tolist()
        return self._round.pop()

    def _identity(self, column: int) -> int:
        entry = int(self._matches.entry[column])
        return entry if entry != EMPTY else LIVE - (column - self._table.spec.snapshots)
