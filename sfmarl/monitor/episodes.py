"""Finished episodes between two log records, and over the last hundred."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sfmarl.monitor.metrics import compute_metrics
from sfmarl.specs import EnvSpec
from sfmarl.workers.episodes import Finished, join

WINDOW = 100
"""Episodes of the running mean that the console shows."""


@dataclass(frozen=True)
class Episodes:
    """n finished episodes, as the function of a metric and callbacks are given them."""

    spec: EnvSpec
    """The environment, whose teams and agents order the columns."""
    returns: np.ndarray
    """[n, agents in seat order] float64: undiscounted returns of the environment's own rewards."""
    lengths: np.ndarray
    """[n] int64, env-steps."""
    shaped: np.ndarray | None = None
    """[n, agents] float64: the same of shaped rewards; None without shaping."""
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Key of `Config.info_metrics` -> [n, teams] float64; NaN where no agent of the team reported it."""
    players: np.ndarray | None = None
    """[n, teams] int64: who played each team's seat in a league (workers/match_seating.py); else None."""

    def returns_of(self, team: str) -> np.ndarray:
        """Return the team's agents' returns [n, agents of the team]. Raises KeyError for an unknown team."""
        return self.returns[:, _columns(self.spec)[team]]

    def info_of(self, key: str, team: str) -> np.ndarray:
        """Return what the team reported under `key` [n]. Raises KeyError for an unknown key or team."""
        return self.infos[key][:, list(_columns(self.spec)).index(team)]

    def info_columns(self) -> dict[str, np.ndarray]:
        """Return `<key>/<team>` -> [m], the values of the episodes in which the team reported any; none without."""
        found = {}
        for key, values in self.infos.items():
            for team, column in zip(self.spec.teams, values.T, strict=True):
                if (reported := column[~np.isnan(column)]).size:
                    found[f"{key}/{team.name}"] = reported
        return found


class EpisodeStats:
    """Means of finished episodes, per team and per agent."""

    def __init__(self, spec: EnvSpec, episodes: int = 0) -> None:
        """Watch the agents of `spec`; `episodes` is the count a resumed run starts from."""
        self.episodes = episodes
        """Episodes since the run began."""
        self._spec = spec
        self._columns = _columns(spec)
        self._agents = [agent for team in spec.teams for agent in team.agents]
        self._finished: list[Finished] = []
        self._window: deque[np.ndarray] = deque(maxlen=WINDOW)

    def add(
        self,
        returns: np.ndarray,
        lengths: np.ndarray,
        shaped: np.ndarray | None = None,
        infos: Mapping[str, np.ndarray] | None = None,
        players: np.ndarray | None = None,
    ) -> Episodes:
        """Add n finished episodes (shapes as in `Episodes`) and return them.

        Raises ValueError when a row has another number of agents.
        """
        returns = np.asarray(returns, dtype=np.float64)
        if returns.ndim != 2 or returns.shape != (len(lengths), len(self._agents)):
            raise ValueError(f"returns must be [{len(lengths)}, {len(self._agents)}], not {list(returns.shape)}")
        self.episodes += len(returns)
        self._finished.append(Finished(returns, np.asarray(lengths), shaped, dict(infos or {}), players))
        self._window.extend(returns[-WINDOW:])
        return Episodes(self._spec, *self._finished[-1])

    def collect(self) -> dict[str, float]:
        """Return the scalars (names in `METRICS` and `USER_METRICS`) of the episodes since the last call; start anew.

        Means are left out when no episode ended. Raises UserCodeError when a user's metric fails.
        """
        scalars: dict[str, float] = {"episodes": float(self.episodes)}
        finished, self._finished = self._finished, []
        episodes = Episodes(self._spec, *join(finished)) if finished else None
        if episodes is None or not len(episodes.lengths):
            return scalars
        mean = episodes.returns.mean(axis=0)
        scalars |= {f"episode/return_team/{team}": float(mean[c].sum()) for team, c in self._columns.items()}
        scalars |= {f"episode/return_agent/{agent}": float(x) for agent, x in zip(self._agents, mean, strict=True)}
        scalars["episode/length"] = float(episodes.lengths.mean())
        if episodes.shaped is not None:
            mean = episodes.shaped.mean(axis=0)
            scalars |= {f"episode/shaped_return_team/{team}": float(mean[c].sum()) for team, c in self._columns.items()}
        scalars |= {f"info/{name}": float(values.mean()) for name, values in episodes.info_columns().items()}
        return scalars | compute_metrics(episodes)

    def recent(self) -> dict[str, float]:
        """Return each team's mean return (sum over its agents) over the last WINDOW episodes; empty without any."""
        if not self._window:
            return {}
        mean = np.mean(self._window, axis=0)
        return {team: float(mean[columns].sum()) for team, columns in self._columns.items()}


def _columns(spec: EnvSpec) -> dict[str, slice]:
    columns: dict[str, slice] = {}
    first = 0
    for team in spec.teams:
        columns[team.name] = slice(first, first + len(team.agents))
        first += len(team.agents)
    return columns
