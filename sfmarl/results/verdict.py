"""Whether anybody beats the champion, with intervals that hold all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from sfmarl.league.payoff import wilson

LEVEL = 0.95
"""Confidence with which all intervals of a verdict hold."""
MOST_NAMED = 5
"""Players that a sentence names."""


@dataclass(frozen=True)
class Verdict:
    """One player's win rates against m others.

    Each interval has level 1 - .05 / m (Bonferroni 1936; Dunn 1961): whoever tests m players at 95 % each would find
    one that beats their equal in 1 - .975^m of all cases.
    """

    champion: str
    """Its name."""
    title: str
    """What each of the others is, in words that take an s."""
    names: Sequence[str]
    """The others, m."""
    win_rate: np.ndarray
    """[m]: the champion's against each."""
    games: np.ndarray
    """[m]."""
    low: np.ndarray
    """[m]: lower bounds."""
    high: np.ndarray
    """[m]: upper bounds."""

    @classmethod
    def of(cls, champion: str, title: str, names: Sequence[str], win_rate: np.ndarray, games: np.ndarray) -> Verdict:
        """Return the verdict on win rates [m] in games [m]."""
        z = NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * len(names)))
        return cls(champion, title, names, win_rate, games, *wilson(win_rate, games, z))

    @property
    def beaten_by(self) -> list[str]:
        """Those whose interval lies wholly below .5 for the champion."""
        return [name for name, high in zip(self.names, self.high, strict=True) if high < 0.5]

    @property
    def beats(self) -> list[str]:
        """Those whose interval lies wholly above .5 for the champion."""
        return [name for name, low in zip(self.names, self.low, strict=True) if low > 0.5]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        rows = zip(self.names, self.win_rate, self.low, self.high, self.games, strict=True)
        return {
            "champion": self.champion,
            "against": self.title,
            "level": LEVEL,
            "correction": f"Bonferroni, {len(self.names)} comparisons",
            "beaten_by": self.beaten_by,
            "beats": self.beats,
            "win_rates": [
                {"player": name, "win_rate": float(x), "low": float(low), "high": float(high), "games": int(n)}
                for name, x, low, high, n in rows
            ],
        }

    def __str__(self) -> str:
        """Return it as a sentence."""
        m, worst = len(self.names), int(np.argmin(self.win_rate))
        named = ", ".join(self.beaten_by[:MOST_NAMED]) + (", ..." if len(self.beaten_by) > MOST_NAMED else "")
        loses = f"it is BEATEN by {len(self.beaten_by)} ({named})" if self.beaten_by else "none beats it"
        return (
            f"{self.champion} against {m} {self.title}{'s' if m > 1 else ''}: {loses}, it beats {len(self.beats)}. "
            f"Hardest is {self.names[worst]}: {self.champion} wins {self.win_rate[worst]:.3f} "
            f"[{self.low[worst]:.3f}, {self.high[worst]:.3f}] of {int(self.games[worst])} games "
            f"(Wilson intervals that hold together at {100 * LEVEL:.0f} %: Bonferroni, {m} "
            f"comparison{'s' if m > 1 else ''})."
        )
