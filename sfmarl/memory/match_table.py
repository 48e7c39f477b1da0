"""The match table: whom a learning player meets next, as the league wants it, in shared memory.

The main process writes it, rollout workers draw from it when an episode begins: a match costs no message. Columns are
the players that can sit opposite, by their number among those that act without learning (`seating.frozen`):

    0 .. K-1       the live snapshots: what an inference worker has room for at a time
    K .. K+P-1     the learning players as they are now; a player's own column means self-play: both seats learn
    K+P ..         scripts

Which snapshot lies in a column changes while the run goes on. A column is overwritten only when no match can be running
with it: the main process takes its probability away, waits until every worker has `seen` that table, and then until no
seat holds it any more (`Scratch.player`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfmarl.memory.segment import Layout, Segment

EMPTY = -1
"""Entry of a column in which nothing lies."""


@dataclass(frozen=True)
class TableSpec:
    """Size of the table."""

    learning: int
    """P, learning players."""
    snapshots: int
    """K, live snapshots."""
    scripts: int = 0
    """Scripts."""
    evaluations: int = 16
    """M, evaluation matches that workers may choose from at a time."""

    @property
    def columns(self) -> int:
        """N."""
        return self.snapshots + self.learning + self.scripts

    def column_of_learning(self, player: int) -> int:
        """Return the column of a learning player as it is now."""
        return self.snapshots + player

    def column_of_script(self, script: int) -> int:
        """Return the column of a script."""
        return self.snapshots + self.learning + script

    def plan(self, layout: Layout, seats: int, workers: int) -> None:
        """Add the table of a game with so many seats to `layout`."""
        layout.add("matches.probability", (2, self.learning, self.columns), np.float64)
        layout.add("matches.entry", (2, self.columns), np.int64)
        layout.add("matches.evaluation", (2, self.evaluations, seats), np.int64)
        layout.add("matches.evaluation_share", (2, 2), np.float64)
        layout.add("matches.version", (1,), np.int64)
        layout.add("matches.seen", (workers,), np.int64)


@dataclass(frozen=True)
class Matches:
    """One version of the table."""

    probability: np.ndarray
    """[P, N] float64: row p is whom learning player p meets; rows sum to 1."""
    entry: np.ndarray
    """[N] int64: number of the pool's entry that lies in a column; EMPTY for one without a snapshot."""
    evaluation: np.ndarray
    """[m, seats] int64: columns of evaluation matches, in which nobody learns."""
    evaluation_share: float = 0.0
    """Fraction of matches that are evaluation matches; 0 while there are none."""


class MatchTable:
    """The table, opened in this process. One writer; two buffers and a version, as in `memory/weights.py`."""

    def __init__(self, spec: TableSpec, segment: Segment) -> None:
        self.spec = spec
        self._probability = segment.array("matches.probability")
        self._entry = segment.array("matches.entry")
        self._evaluation = segment.array("matches.evaluation")
        self._share = segment.array("matches.evaluation_share")
        self._version = segment.array("matches.version")
        self.seen = segment.array("matches.seen")
        """[W] int64, each by its rollout worker: the version it draws from; nothing older is drawn any more."""

    @property
    def version(self) -> int:
        """The newest complete version; 0 means that nobody knows yet whom to meet."""
        return int(self._version[0])

    def publish(self, matches: Matches) -> int:
        """Make `matches` what workers draw from; return its version.

        Raises ValueError for rows that are no distributions, for weight on an empty column, and for more evaluation
        matches than there is room for.
        """
        self._check(matches)
        version = self.version + 1
        side, count = version % 2, len(matches.evaluation)
        self._probability[side] = matches.probability
        self._entry[side] = matches.entry
        self._evaluation[side, :count] = matches.evaluation
        self._share[side] = count, matches.evaluation_share
        self._version[0] = version
        return version

    def _check(self, matches: Matches) -> None:
        spec, probability = self.spec, matches.probability
        if probability.shape != (spec.learning, spec.columns) or len(matches.entry) != spec.columns:
            raise ValueError(f"a table of {spec.learning} players has {spec.columns} columns")
        if (probability < 0).any() or not np.allclose(probability.sum(axis=1), 1.0):
            raise ValueError("whom a player meets must be a distribution")
        drawn = (probability > 0).any(axis=0)
        drawn[matches.evaluation.reshape(-1)] = True
        if (drawn[: spec.snapshots] & (matches.entry[: spec.snapshots] == EMPTY)).any():
            raise ValueError("a column without a snapshot cannot be met")
        if len(matches.evaluation) > spec.evaluations or not 0.0 <= matches.evaluation_share < 1.0:
            raise ValueError(f"at most {spec.evaluations} evaluation matches, for less than all matches")

    def read(self) -> tuple[int, Matches]:
        """Return a copy of the newest version and its number. Raises ValueError before the first."""
        while version := self.version:
            side = version % 2
            count = int(self._share[side, 0])
            found = Matches(
                self._probability[side].copy(),
                self._entry[side].copy(),
                self._evaluation[side, :count].copy(),
                float(self._share[side, 1]),
            )
            # version + 1 goes to the other side; version + 2, the first that could have torn the copy, comes after it
            if self.version == version:
                return version, found
        raise ValueError("nothing was published yet")
