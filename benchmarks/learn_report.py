"""The table of `learn.py`: scores over seeds beside what they have to reach."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
from tasks import TASKS, Task

from sfmarl.statistics import Interval, mean_interval

Run = dict[str, Any]
"""One finished run, as `learn.measure` returns it."""


def write(runs: Mapping[tuple[str, int], Run], results: Path) -> str:
    """Write `results`/learn.md and return its table."""
    grouped = {name: [run for (task, _), run in sorted(runs.items()) if task == name] for name in TASKS}
    grouped = {name: of_task for name, of_task in grouped.items() if of_task}
    table = _table(grouped)
    machines = sorted({machine.sentence(run["machine"]) for run in runs.values()})
    lines = [
        "# What it learns",
        "",
        "Score: of the newest checkpoint at the end of training. `a ± b` over seeds is the mean of the seeds' scores "
        "with its 95 % t-interval (a seed is one sample); per seed it is the interval over episodes. Wall seconds are "
        "those of the training, median over seeds.",
        "",
        table,
        "",
        *(f"* {name}: {TASKS[name].about}. {_measured(of_task)}" for name, of_task in grouped.items()),
        "",
        f"Machine: {'; '.join(machines)}. Printed by `python benchmarks/learn.py`; data in `learn.json`.",
    ]
    (results / "learn.md").write_text("\n".join(lines) + "\n")
    return table


def _table(grouped: Mapping[str, Sequence[Run]]) -> str:
    lines = [
        "| task | env-steps | score over seeds | per seed | beside | goal | wall seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in grouped.items():
        steps = statistics.median(run["env_steps"] for run in runs)
        seeds = "<br>".join(f"{run['seed']}: {_interval(run['score'])}" for run in runs)
        wall = statistics.median(run["wall_seconds"] for run in runs)
        lines.append(
            f"| {name} | {steps:,.0f} | {mean_interval(_values(runs))} | {seeds} | {_beside(runs)} "
            f"| {verdict(TASKS[name], runs)} | {wall:,.0f} |"
        )
    return "\n".join(lines)


def verdict(task: Task, runs: Sequence[Run]) -> str:
    """Say what the score has to reach and whether it does."""
    values = _values(runs)
    if task.gate is not None:
        # sums of rewards are exact only up to rounding
        reached = statistics.mean(values) >= task.gate - 1e-9 * abs(task.gate)
        return f">= {task.gate:g}: {'reached' if reached else 'MISSED'}"
    return "<br>".join(_above(other, runs) for other in task.over) or "reported"


def _above(other: str, runs: Sequence[Run]) -> str:
    gain = mean_interval([run["score"]["value"] - run["score"]["beside"][other] for run in runs])
    if gain.count < 2:
        return f"above {other}: {gain} (one seed has no interval)"
    return f"above {other}: {'reached' if gain.mean - gain.half_width > 0 else 'MISSED'} ({gain})"


def _values(runs: Sequence[Run]) -> list[float]:
    return [run["score"]["value"] for run in runs]


def _interval(score: Mapping[str, Any]) -> str:
    if score["half_width"] is None:
        return f"{score['value']:.4g}"
    return str(Interval(score["value"], score["half_width"], score["episodes"]))


def _beside(runs: Sequence[Run]) -> str:
    """Name what stands beside the scores, each as its mean over seeds."""
    names = [name for name in runs[0]["score"]["beside"] if not name.endswith("±")]
    return ", ".join(f"{name} {statistics.mean(run['score']['beside'][name] for run in runs):.4g}" for name in names)


def _measured(runs: Sequence[Run]) -> str:
    envs = sorted({f"{run['env']} {run['env_kwargs'] or ''}".strip() for run in runs})
    versions = sorted({run["score"]["env_version"] for run in runs})
    episodes = sorted({run["score"]["episodes"] for run in runs})
    counted = f", {'/'.join(map(str, episodes))} episodes" if episodes != [0] else ""
    return f"{'; '.join(envs)} ({'; '.join(versions)}): {runs[0]['score']['metric']}{counted}"
