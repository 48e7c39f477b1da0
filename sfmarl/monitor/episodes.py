"""Finished episodes between two log records, and over the last hundred."""

from __future__ import annotations

from collections import deque

import numpy as np

from sfmarl.specs import EnvSpec

WINDOW = 100
"""Episodes of the running mean that the console shows."""


class EpisodeStats:
    """Means of finished episodes' returns and lengths, per team and per agent."""

    def __init__(self, spec: EnvSpec, episodes: int = 0) -> None:
        """Watch the agents of `spec`; `episodes` is the count a resumed run starts from."""
        self.episodes = episodes
        """Episodes since the run began."""
        self._agents = [agent for team in spec.teams for agent in team.agents]
        self._columns: dict[str, slice] = {}
        first = 0
        for team in spec.teams:
            self._columns[team.name] = slice(first, first + len(team.agents))
            first += len(team.agents)
        self._returns: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._window: deque[np.ndarray] = deque(maxlen=WINDOW)

    def add(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Add n finished episodes: undiscounted returns [n, agents in seat order], lengths [n] in env-steps.

        Raises ValueError when a row has another number of agents.
        """
        returns = np.asarray(returns, dtype=np.float64)
        if returns.ndim != 2 or returns.shape != (len(lengths), len(self._agents)):
            raise ValueError(f"returns must be [{len(lengths)}, {len(self._agents)}], not {list(returns.shape)}")
        self.episodes += len(returns)
        self._returns.append(returns)
        self._lengths.append(np.asarray(lengths))
        self._window.extend(returns[-WINDOW:])

    def collect(self) -> dict[str, float]:
        """Return the scalars (names in `METRICS`) of the episodes since the last call, and start anew.

        Means are left out when no episode ended.
        """
        scalars: dict[str, float] = {"episodes": float(self.episodes)}
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty(0)
        if len(lengths):
            mean = np.concatenate(self._returns).mean(axis=0)
            scalars |= {f"episode/return_team/{team}": float(mean[c].sum()) for team, c in self._columns.items()}
            scalars |= {f"episode/return_agent/{agent}": float(x) for agent, x in zip(self._agents, mean, strict=True)}
            scalars["episode/length"] = float(lengths.mean())
        self._returns, self._lengths = [], []
        return scalars

    def recent(self) -> dict[str, float]:
        """Return each team's mean return (sum over its agents) over the last WINDOW episodes; empty without any."""
        if not self._window:
            return {}
        mean = np.mean(self._window, axis=0)
        return {team: float(mean[columns].sum()) for team, columns in self._columns.items()}
