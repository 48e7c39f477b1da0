"""OpenAI Five's quality scores: how much of a challenge each past opponent still is.

Berner et al. 2019, appendix N. A snapshot enters with the largest q there is. When the learning player wins a game
against snapshot i, which was drawn with probability p_i among N past opponents,

    q_i <- q_i - eta / (N p_i),    eta = .01;    a game it does not win changes nothing

Dividing by p_i makes the expected change of a beaten opponent the same however rarely it is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sfmarl.errors import UsageError


class QualityScores:
    """q by key."""

    def __init__(self, rate: float = 0.01) -> None:
        """`rate` is eta. Raises UsageError unless it is positive."""
        if not rate > 0:
            raise UsageError(f"a learning rate of {rate} for quality scores is not positive.")
        self.rate = rate
        self.scores: dict[str, float] = {}
        """Key -> q."""

    def enter(self, key: str) -> None:
        """Give a new snapshot the largest q there is; one that is known keeps its own."""
        self.scores.setdefault(key, max(self.scores.values(), default=0.0))

    def won(self, key: str, past: Collection[str]) -> None:
        """Note that the learning player beat `key`, drawn from the snapshots `past` (duplicates included)."""
        keys = list(past)
        logits = np.array([self.scores.get(other, 0.0) for other in keys])
        weights = np.exp(logits - logits.max())
        p = weights[keys.index(key)] / weights.sum()
        self.scores[key] = float(self.scores.get(key, 0.0) - self.rate / (len(keys) * p))

    def keep(self, keys: Collection[str]) -> None:
        """Forget all but `keys`."""
        self.scores = {key: q for key, q in self.scores.items() if key in keys}

    def state_dict(self) -> dict[str, Any]:
        """Return the scores as JSON types."""
        return {"scores": dict(self.scores)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what `state_dict` described."""
        self.scores = dict(state["scores"])
