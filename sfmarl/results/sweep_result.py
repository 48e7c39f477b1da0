"""The trials of a sweep and the best of them, for people and for files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfmarl.results.table import format_table
from sfmarl.statistics import Interval


@dataclass(frozen=True)
class Trial:
    """One finished trial."""

    number: int
    """Counted from 0."""
    values: dict[str, Any]
    """Searched setting -> value."""
    state: str
    """complete | pruned | fail."""
    score: Interval | None
    """Score of the final evaluation (Evaluation.score), over episodes; None unless complete."""
    run_dir: Path
    """Its run directory."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "trial": self.number,
            "state": self.state,
            "score": self.score.to_json() if self.score else None,
            "values": self.values,
            "run_dir": self.run_dir.name,
        }


@dataclass(frozen=True)
class SweepResult:
    """Every trial so far."""

    run_dir: Path
    """The sweep's directory."""
    trials: list[Trial]
    """In order of their numbers."""

    @property
    def best(self) -> Trial | None:
        """The complete trial with the highest score; None without any."""
        complete = [trial for trial in self.trials if trial.score is not None]
        return max(complete, key=lambda trial: trial.score.mean, default=None)

    def __str__(self) -> str:
        """Return a table for people, best first, and what to do with it."""
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.values))
        ranked = sorted(self.trials, key=lambda t: t.score.mean if t.score else float("-inf"), reverse=True)
        rows = [
            [str(t.number), str(t.score or "-"), *(plain(t.values.get(name)) for name in names), t.state]
            for t in ranked
        ]
        lines = [format_table(["trial", "score", *names, "end"], rows)]
        if self.best is not None:
            values = " ".join(f"{name}={plain(value)}" for name, value in self.best.values.items())
            lines += [
                f"best: trial {self.best.number}, {self.best.score}: {values}",
                "The best of many noisy scores flatters. Train it anew: sfmarl train --config "
                f"{self.run_dir / 'best-config.json'} --seeds 1 2 3",
            ]
        return "\n".join(lines)


def plain(value: Any) -> str:
    """Return a searched value in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
