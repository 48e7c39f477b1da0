"""From counters read again and again to the rates of three windows."""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOWS = 3


@dataclass(frozen=True)
class Reading:
    """What was counted at one time."""

    seconds: float
    """Since the process was started."""
    sampled: int
    """Valid agent-steps so far."""
    learned: int
    """Samples that reached an update so far, once per epoch."""
    cpu_seconds: float = 0.0
    """CPU time of the process tree so far."""


@dataclass
class Windows:
    """Warm-up and windows of one measurement.

    A window begins and ends when an update has just been counted, so that a trainer that samples and learns in turns
    is measured over whole turns.
    """

    warm_up: float
    """Seconds after the first update that count for nothing."""
    seconds: float
    """Least length of a window."""
    edges: list[Reading] = field(default_factory=list)
    """Where windows begin and end."""
    first_update: float | None = None
    """Seconds from the start to the first update; None before it."""
    _learned: int = 0

    @property
    def complete(self) -> bool:
        """Whether all windows are over."""
        return len(self.edges) == WINDOWS + 1

    def is_edge(self, seconds: float, learned: int) -> bool:
        """Take note of `learned` samples; return whether a window begins or ends now (`close` it)."""
        if learned <= self._learned:
            return False
        self._learned = learned
        if self.first_update is None:
            self.first_update = seconds
        due = self.edges[-1].seconds + self.seconds if self.edges else self.first_update + self.warm_up
        return not self.complete and seconds >= due

    def close(self, reading: Reading) -> None:
        """End a window and begin the next."""
        self.edges.append(reading)

    def sampled_per_second(self) -> list[float]:
        """Return valid agent-steps/s of each window."""
        pairs = zip(self.edges, self.edges[1:], strict=False)
        return [(b.sampled - a.sampled) / (b.seconds - a.seconds) for a, b in pairs]

    def learned_per_second(self) -> list[float]:
        """Return samples/s x epochs of each window."""
        pairs = zip(self.edges, self.edges[1:], strict=False)
        return [(b.learned - a.learned) / (b.seconds - a.seconds) for a, b in pairs]

    def cpu_percent(self) -> float:
        """Return CPU use over all windows; 100 is one core."""
        first, last = self.edges[0], self.edges[-1]
        return 100 * (last.cpu_seconds - first.cpu_seconds) / (last.seconds - first.seconds)
