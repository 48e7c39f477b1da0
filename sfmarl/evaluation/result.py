"""The result of an evaluation: returns with their uncertainty, and what exactly was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sfmarl.specs import AgentId
from sfmarl.statistics import Interval


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns of whole episodes, with 95 % t-intervals."""

    env: str
    """The environment's name."""
    env_version: str
    """Package and version the environment comes from."""
    episodes: int
    """Episodes played."""
    greedy: bool
    """Whether the most probable actions were taken."""
    seed: int
    """Seed of environments and sampled actions."""
    teams: dict[str, Interval]
    """Team -> return, summed over the team's agents."""
    agents: dict[AgentId, Interval]
    """Agent -> its return."""
    length: Interval
    """Episode length in env-steps."""
    checkpoint: str | None = None
    """Name of the checkpoint that was evaluated."""
    baseline: Evaluation | None = None
    """The same with random legal actions."""
    scored: tuple[str, ...] = ()
    """Teams whose returns make the score: all that the first learning player plays; empty = the first team."""
    infos: dict[str, Interval] = field(default_factory=dict)
    """`<key>/<team>` -> what the environment's infos said of the episodes (Config.info_metrics)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Values of the metrics that the user registered."""

    @property
    def score(self) -> float:
        """Mean return of the first player that learns: what best checkpoints, stop scores and sweeps compare.

        One that plays several teams is scored by their mean. Against itself in a zero-sum game that is always 0: such
        a score tells nothing, and the newest checkpoint counts as the best.
        """
        teams = self._scored()
        return sum(self.teams[team].mean for team in teams) / len(teams)

    @property
    def metric(self) -> str:
        """What `score` measures."""
        teams = self._scored()
        if len(teams) == 1:
            return metric_name(teams[0])
        return f"undiscounted episode return, mean over teams {', '.join(f'`{team}`' for team in teams)} of one policy"

    def _scored(self) -> tuple[str, ...]:
        return self.scored or tuple(self.teams)[:1]

    def scalars(self) -> dict[str, float]:
        """Return the `eval/...` scalars."""
        values = {f"eval/return_team/{team}": x.mean for team, x in self.teams.items()}
        values |= {f"eval/interval_team/{team}": x.half_width for team, x in self.teams.items()}
        values |= {f"eval/return_agent/{agent}": x.mean for agent, x in self.agents.items()}
        values |= {f"eval/info/{name}": x.mean for name, x in self.infos.items()}
        values |= {f"eval/{name}": value for name, value in self.metrics.items()}
        return {**values, "eval/length": self.length.mean, "eval/episodes": float(self.episodes)}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "env": self.env,
            "env_version": self.env_version,
            "checkpoint": self.checkpoint,
            "episodes": self.episodes,
            "greedy": self.greedy,
            "seed": self.seed,
            "metric": self.metric,
            "score": self.score,
            "scored": list(self._scored()),
            "teams": {team: {"metric": metric_name(team), **x.to_json()} for team, x in self.teams.items()},
            "agents": {str(agent): x.to_json() for agent, x in self.agents.items()},
            "length": self.length.to_json(),
            "infos": {name: x.to_json() for name, x in self.infos.items()},
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "baseline": None if self.baseline is None else self.baseline.to_json(),
        }

    def __str__(self) -> str:
        """Return a small table for people."""
        how = "greedy" if self.greedy else "sampled"
        which = f", {self.checkpoint}" if self.checkpoint else ""
        lines = [f"{self.env} ({self.env_version}){which}: {self.episodes} episodes, {how}, seed {self.seed}"]
        beside = self.baseline
        rows = [(metric_name(t), x, beside.teams[t] if beside else None) for t, x in self.teams.items()]
        rows += [(f"  {a}", x, beside.agents[a] if beside else None) for a, x in self.agents.items()]
        rows.append(("episode length", self.length, beside.length if beside else None))
        rows += [(f"info {name}", x, beside.infos.get(name) if beside else None) for name, x in self.infos.items()]
        rows += [(n, f"{x:.4g}", f"{beside.metrics[n]:.4g}" if beside else None) for n, x in self.metrics.items()]
        width = max(len(title) for title, _, _ in rows)
        for title, value, other in rows:
            lines.append(f"{title:<{width}}  {value!s:<18}" + (f"  random {other}" if other else ""))
        lines[1:] = [line.rstrip() for line in lines[1:]]
        return "\n".join([*lines, "(mean ± half width of the 95 % interval)"])


def metric_name(team: str) -> str:
    """Return what a team's return measures, in words."""
    return f"undiscounted episode return, sum over team `{team}`"
