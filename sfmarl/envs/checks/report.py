"""What `sfmarl check-env` found, as sentences and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class CheckReport:
    """What was found: facts, warnings (training works, mind this) and problems (it does not)."""

    env: str
    """The environment's name."""
    facts: list[str] = field(default_factory=list)
    """Sentences."""
    warnings: list[str] = field(default_factory=list)
    """Sentences."""
    problems: list[str] = field(default_factory=list)
    """Sentences."""
    data: dict[str, Any] = field(default_factory=dict)
    """Teams and figures behind the facts, in plain JSON types."""

    @property
    def ok(self) -> bool:
        """Whether the environment can be trained on."""
        return not self.problems

    def add(self, facts: list[str], warnings: list[str], problems: list[str]) -> None:
        """Append sentences."""
        self.facts += facts
        self.warnings += warnings
        self.problems += problems

    def lines(self) -> list[str]:
        """Return the report as lines of text, problems last."""
        verdict = "can be trained on" if self.ok else "cannot be trained on"
        marked = [("", self.facts), ("warning: ", self.warnings), ("problem: ", self.problems)]
        return [f"{self.env} {verdict}", *(f"  {mark}{line}" for mark, lines in marked for line in lines)]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        sentences = {"facts": self.facts, "warnings": self.warnings, "problems": self.problems}
        return {"env": self.env, "ok": self.ok, **sentences, **self.data}
