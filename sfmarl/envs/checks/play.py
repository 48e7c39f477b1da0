"""What random play of an environment showed: counts and returns that `check-env` puts into words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sfmarl.specs import EnvSpec


@dataclass
class Play:
    """What random play showed."""

    returns: list[list[np.ndarray]]
    """Per team: one array of the agents' returns per finished episode."""
    lengths: list[int] = field(default_factory=list)
    """Env-steps of each finished episode."""
    steps: int = 0
    """Env-steps taken."""
    agent_steps: int = 0
    """Actions of agents that were alive."""
    longest_open: int = 0
    """Env-steps of the longest episode that had not ended when the play stopped."""
    seconds: float = 0.0
    """Time they took."""
    terminated: int = 0
    """Endings of agents."""
    truncated: int = 0
    """Endings of agents that were cut off."""
    deaths: int = 0
    """Endings within an episode."""
    births: int = 0
    """Lives that began within an episode."""
    nonfinite: set[str] = field(default_factory=set)
    """What was not finite."""
    opposed: set[str] = field(default_factory=set)
    """Teams whose agents' rewards cancel out."""
    unequal: set[str] = field(default_factory=set)
    """Teams whose agents earn different rewards."""
    silent: dict[str, int] = field(default_factory=dict)
    """Agent -> finished episodes in which it never acted (turn-based)."""

    @classmethod
    def of(cls, spec: EnvSpec) -> Play:
        """Return the record of an environment nobody has played yet."""
        return cls(returns=[[] for _ in spec.teams])
