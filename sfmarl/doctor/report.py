"""What was looked at and found, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What it is."""
    status: Status
    """`broken`: a run cannot work like this; `warning`: it can, but worse than it could."""
    found: str
    """What was found, in words."""
    advice: str = ""
    """What to do about it; empty when nothing has to be done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same as JSON types."""

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.status:<8} {self.subject:<18} {self.found}{f': {self.advice}' if self.advice else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "subject": self.subject,
            "status": self.status,
            "found": self.found,
            "advice": self.advice,
            "facts": self.facts,
        }


def verdict(findings: Sequence[Finding]) -> str:
    """Return all of it in one line."""
    counts = {status: sum(f.status == status for f in findings) for status in ("broken", "warning")}
    if counts["broken"]:
        return f"{_count(counts['broken'], 'thing')} broken: runs will fail until that is done."
    if counts["warning"]:
        return f"Training works; {_count(counts['warning'], 'warning')}."
    return "All is well."


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
