"""Numbers that environments put into their infos, per episode and team."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from sfmarl.errors import OutcomeError, RunError, UsageError
from sfmarl.specs import AgentId, EnvSpec

Mode = Literal["last", "sum", "mean"]

OUTCOME = "outcome"
"""The info in which an environment says how an agent's match ended, at its last step: 1 won, 0 drawn, -1 lost, or one
of `OUTCOME_WORDS`. In a league it takes the place of returns."""
OUTCOME_WORDS = {"win": 1.0, "draw": 0.0, "loss": -1.0}
"""What the info `outcome` may say instead of a number."""


class InfoMetric(NamedTuple):
    """An entry of `infos[agent]` and what becomes of it over an episode."""

    key: str
    """The entry."""
    mode: Mode | Literal["end"]
    """last: mean over the team's agents of each one's latest value. sum: over steps and agents. mean: over both.
    end: last, of an entry that matters at the end of an agent's life alone: not every step need be looked at."""


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


def with_outcome(metrics: Sequence[InfoMetric]) -> tuple[InfoMetric, ...]:
    """Return `metrics` and the outcome of a match, which a league asks for. Raises UsageError when they pool it."""
    asked = next((metric for metric in metrics if metric.key == OUTCOME), None)
    if asked is None:
        return *metrics, InfoMetric(OUTCOME, "end")
    if asked.mode != "last":
        raise UsageError(
            f"info_metrics: a league goes by the last {OUTCOME!r} of a match, so it cannot be pooled over steps: "
            f"write {OUTCOME}, or leave it out."
        )
    return tuple(metrics)


class EpisodeInfos:
    """Aggregates infos over the running episodes of E envs. What a step's infos do not hold is skipped."""

    def __init__(self, metrics: Sequence[InfoMetric], spec: EnvSpec, num_envs: int) -> None:
        self.every_step = any(metric.mode != "end" for metric in metrics)
        """Steps in which nobody's life ends are to be noted, too."""
        self._metrics = tuple(enumerate(metrics))
        self._agents: list[tuple[int, AgentId]] = list(enumerate(a for team in spec.teams for a in team.agents))
        ends = np.cumsum([len(team.agents) for team in spec.teams]).tolist()
        self._teams = [slice(end - len(team.agents), end) for team, end in zip(spec.teams, ends, strict=True)]
        shape = (num_envs, len(metrics), len(self._agents))
        self._last, self._sum, self._count = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)

    def note(self, env: int, infos: Mapping[AgentId, Any], where: Callable[[], str]) -> None:
        """Add the infos of one step of one env. Raises RunError, opening with `where()`, for what is no number,
        OutcomeError when that is to be the outcome of a match.
        """
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
                latest = mode in ("last", "end")
                total = (self._last if latest else self._sum)[envs, row, columns]
                parts = (count > 0).sum(1) if latest else {"sum": 1, "mean": count.sum(1)}[mode]
                reported = count.any(axis=1)
                values[reported, team] = (total.sum(1) / np.maximum(parts, 1))[reported]
            taken[key] = values
        for array in (self._last, self._sum, self._count):
            array[envs] = 0
        return taken


def _number(value: Any, key: str, agent: AgentId, where: Callable[[], str]) -> float:
    try:
        if isinstance(value, (str, bytes)):
            if key == OUTCOME and value in OUTCOME_WORDS:
                return OUTCOME_WORDS[value]
            raise TypeError
        return float(value if np.ndim(value) == 0 else np.asarray(value).item())
    except (TypeError, ValueError):
        said = f"{where()}: agent {agent!r}: its info {key!r} is no number but {value!r:.100}."
        if key == OUTCOME:
            raise OutcomeError(
                f"{said} The outcome of a match cannot be read: it may be 1, 0 or -1, or {', '.join(OUTCOME_WORDS)}."
            ) from None
        raise RunError(f"{said} Leave it out of --info-metrics.") from None
