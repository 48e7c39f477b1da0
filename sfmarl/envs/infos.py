"""Numbers that environments put into their infos, per episode and team."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from sfmarl.errors import RunError, UsageError
from sfmarl.specs import AgentId, EnvSpec

Mode = Literal["last", "sum", "mean"]


class InfoMetric(NamedTuple):
    """An entry of `infos[agent]` and what becomes of it over an episode."""

    key: str
    """The entry."""
    mode: Mode
    """last: mean over the team's agents of each one's latest value. sum: over steps and agents. mean: over both."""


def parse_info_metrics(words: Sequence[str]) -> tuple[InfoMetric, ...]:
    """Read `key` (last) or `key:mode`. Raises UsageError for an unknown mode and for a key that is named twice."""
    metrics: list[InfoMetric] = []
    for word in words:
        key, colon, mode = word.rpartition(":")
        if not colon:
            key, mode = word, "last"
        if not key or mode not in get_args(Mode):
            raise UsageError(f"info_metrics: {word!r} is neither key, key:sum, key:mean nor key:last.")
        if key in (metric.key for metric in metrics):
            raise UsageError(f"info_metrics names {key!r} twice; an episode reports each key once.")
        metrics.append(InfoMetric(key, mode))
    return tuple(metrics)


class EpisodeInfos:
    """Aggregates infos over the running episodes of E envs. What a step's infos do not hold is skipped."""

    def __init__(self, metrics: Sequence[InfoMetric], spec: EnvSpec, num_envs: int) -> None:
        self._metrics = tuple(enumerate(metrics))
        self._agents: list[tuple[int, AgentId]] = list(enumerate(a for team in spec.teams for a in team.agents))
        ends = np.cumsum([len(team.agents) for team in spec.teams]).tolist()
        self._teams = [slice(end - len(team.agents), end) for team, end in zip(spec.teams, ends, strict=True)]
        shape = (num_envs, len(metrics), len(self._agents))
        self._last, self._sum, self._count = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)

    def note(self, env: int, infos: Mapping[AgentId, Any], where: Callable[[], str]) -> None:
        """Add the infos of one step of one env. Raises RunError, opening with `where()`, for what is no number."""
        for column, agent in self._agents:
            info = infos.get(agent)
            if not info:
                continue
            for row, metric in self._metrics:
                if metric.key in info:
                    cell = env, row, column
                    self._last[cell] = value = _number(info[metric.key], metric.key, agent, where)
                    self._sum[cell] += value
                    self._count[cell] += 1

    @property
    def keys(self) -> list[str]:
        """The entries that are asked for."""
        return [metric.key for _, metric in self._metrics]

    def note_rows(self, envs: np.ndarray, key: str, values: np.ndarray) -> None:
        """Add one step of many envs, int [n]: what each agent, in seat order, has under `key` [n, agents]."""
        row = self.keys.index(key)
        self._last[envs, row] = values
        self._sum[envs, row] += values
        self._count[envs, row] += 1

    def take(self, envs: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> float64 [n, teams] of the episodes that ended in `envs` (NaN: not reported); forget them."""
        taken = {}
        for row, (key, mode) in self._metrics:
            values = np.full((len(envs), len(self._teams)), np.nan)
            for team, columns in enumerate(self._teams):
                count = self._count[envs, row, columns]
                total = (self._last if mode == "last" else self._sum)[envs, row, columns]
                parts = {"last": (count > 0).sum(1), "sum": 1, "mean": count.sum(1)}[mode]
                reported = count.any(axis=1)
                values[reported, team] = (total.sum(1) / np.maximum(parts, 1))[reported]
            taken[key] = values
        for array in (self._last, self._sum, self._count):
            array[envs] = 0
        return taken


def _number(value: Any, key: str, agent: AgentId, where: Callable[[], str]) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value if np.ndim(value) == 0 else np.asarray(value).item())
    except (TypeError, ValueError):
        raise RunError(
            f"{where()}: agent {agent!r}: its info {key!r} is no number but {value!r:.100}. "
            "Leave it out of --info-metrics."
        ) from None
