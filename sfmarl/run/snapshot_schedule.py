"""When a player of a league is snapshotted: after so many env-steps, or earlier when it beats everybody in the pool."""

from __future__ import annotations

from typing import Any

import numpy as np

EARLIEST = 4
"""A player that beats everybody is snapshotted after 1 / EARLIEST of the env-steps at the earliest."""
MIN_GAMES = 10
"""Games against each opponent before a win rate counts."""


class SnapshotSchedule:
    """One player's. AlphaStar's rule (Vinyals et al. 2019, supplementary pseudocode) with a floor of games."""

    def __init__(self, env_steps: int, win_rate: float) -> None:
        """`env_steps` between snapshots at most; `win_rate` against everybody that brings the next one forward."""
        self._env_steps, self._win_rate = env_steps, win_rate
        self._last = 0

    def due(self, env_steps: int, win_rates: np.ndarray, games: np.ndarray) -> bool:
        """Whether to snapshot now, with `win_rates` [P] of `games` [P] against the pool."""
        since = env_steps - self._last
        if since >= self._env_steps:
            return True
        beats_all = len(games) > 0 and games.min() >= MIN_GAMES and win_rates.min() > self._win_rate
        return bool(beats_all and since >= self._env_steps // EARLIEST)

    def taken(self, env_steps: int) -> None:
        """A snapshot was taken."""
        self._last = env_steps

    def state_dict(self) -> dict[str, Any]:
        """Return its state as JSON types."""
        return {"last": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state_dict` described."""
        self._last = state["last"]
