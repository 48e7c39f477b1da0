"""Machines of a replayed league: who keeps how many snapshots, over which links they come, how long matches last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIGMA = 0.5
"""Standard deviation of the logarithm of a lognormal match's duration."""
WINDOW = 60.0
"""Seconds in which traffic is added up."""
_BATCH = 4096
"""Random numbers drawn at a time."""


@dataclass(frozen=True)
class Design:
    """Which places keep weights."""

    name: str
    """What it is called."""
    actor: int = 0
    """Snapshots that each actor keeps; 0 = it keeps none and is served by its rack."""
    rack: int = 0
    """Snapshots that each rack's cache keeps; 0 = there is none."""
    pull_all: bool = False
    """An actor fetches every snapshot when it is taken, and the whole pool when it starts."""
    live: bool = False
    """Matches are drawn among what the racks hold: the same set everywhere, which changes a little at each refresh."""


@dataclass(frozen=True)
class Fleet:
    """Actors, links and matches."""

    actors: int
    """Each plays one match at a time."""
    per_rack: int
    """Actors of a rack."""
    snapshot_bytes: int
    """Size of a snapshot: float32, so a multiple of 4."""
    mean_match: float = 300.0
    """Seconds that a match lasts on average."""
    spread: str = "lognormal"
    """How its duration is distributed: constant | exponential | lognormal."""
    lifetime: float = 0.0
    """Mean seconds until an actor is restarted and knows no weights any more, exponential; 0 = never."""
    store_gbit: float = math.inf
    """Gbit/s of the store's uplink."""
    rack_gbit: float = math.inf
    """Gbit/s of the link from a rack's cache to its actors."""

    @property
    def racks(self) -> int:
        """Racks; the last may be smaller."""
        return math.ceil(self.actors / self.per_rack)

    def durations(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield durations of matches, seconds. Raises ValueError for a spread that is none."""
        mean = self.mean_match
        draw = {
            "constant": lambda: np.full(_BATCH, mean),
            "exponential": lambda: rng.exponential(mean, _BATCH),
            "lognormal": lambda: rng.lognormal(math.log(mean) - SIGMA**2 / 2, SIGMA, _BATCH),
        }
        if self.spread not in draw:
            raise ValueError(f"durations are {', '.join(draw)}, not {self.spread!r}")
        while True:
            yield from draw[self.spread]().tolist()

    def lives(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield how long actors live, seconds."""
        while True:
            yield float(rng.exponential(self.lifetime)) if self.lifetime else math.inf


class Link:
    """A link that sends one transfer after the other at full bandwidth, in the order in which they are asked for."""

    def __init__(self, gbit: float) -> None:
        self.sent: dict[int, float] = {}
        """Window -> bytes whose transfer ended in it."""
        self._seconds_per_byte = 8e-9 / gbit
        self._free = 0.0

    def send(self, now: float, size: int) -> float:
        """Return when `size` bytes that are asked for now have arrived."""
        self._free = max(self._free, now) + size * self._seconds_per_byte
        window = int(self._free / WINDOW)
        self.sent[window] = self.sent.get(window, 0.0) + size
        return self._free

    def series(self, start: float, end: float) -> np.ndarray:
        """Return the bytes of each whole window between two moments, in seconds; of the first if none is whole."""
        first = math.ceil(start / WINDOW)
        windows = range(first, max(int(end / WINDOW), first + 1))
        return np.array([self.sent.get(window, 0.0) for window in windows])


def uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Yield numbers from [0, 1)."""
    while True:
        yield from rng.random(_BATCH).tolist()
