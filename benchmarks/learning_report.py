"""A learning suite's results as a table and a figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from suites import Suite

from sfmarl.results.figure import Panel, save_figure
from sfmarl.statistics import Interval, mean_interval

Run = dict[str, Any]
"""One finished run, as `learning.about_run` returns it."""


def write(name: str, suite: Suite, runs: Sequence[Run], results: Path) -> None:
    """Write `results`/NAME.md and NAME.png. Recipes without a run are left out; without any nothing is written."""
    grouped = {r: sorted((run for run in runs if run["recipe"] == r), key=lambda x: x["seed"]) for r in suite.recipes}
    grouped = {recipe: of_recipe for recipe, of_recipe in grouped.items() if of_recipe}
    if grouped:
        (results / f"{name}.md").write_text(_table(name, suite, grouped))
        _figure(suite, grouped, results / f"{name}.png")


def _table(name: str, suite: Suite, grouped: dict[str, list[Run]]) -> str:
    runs = [run for of_recipe in grouped.values() for run in of_recipe]
    first = runs[0]
    lines = [
        f"# {suite.title}",
        "",
        suite.question,
        "",
        f"Score: {first['metric']}; greedy policy at the end of training, {first['final']['episodes']} episodes. "
        "`a ± b` over seeds is the mean of the seeds' scores with its 95 % t-interval (a seed is one sample); per seed "
        "it is the interval over episodes.",
        "",
        "| recipe | env-steps | score over seeds | per seed | wall seconds | agent-steps/s | CPU | lag mean (max) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe, of_recipe in grouped.items():
        seeds = "<br>".join(f"{run['seed']}: {_interval(run['final'])}" for run in of_recipe)
        lines.append(
            f"| {recipe} | {_median(of_recipe, 'env_steps'):,.0f} | {_over_seeds(of_recipe)} | {seeds} "
            f"| {_median(of_recipe, 'wall_seconds'):,.0f} "
            f"| {_median(of_recipe, 'agent_steps_per_second'):,.0f} | {_median(of_recipe, 'cpu_percent'):.0f} % "
            f"| {_lag(of_recipe)} |"
        )
    lines += ["", *(f"* {recipe}: {suite.recipes[recipe][1]}" for recipe in grouped), ""]
    if suite.gate is not None:
        verdicts = [
            f"{recipe} {'passes' if statistics.mean(_scores(of_recipe)) >= suite.gate else 'MISSES'}"
            for recipe, of_recipe in grouped.items()
        ]
        lines += [f"Gate, mean over seeds >= {suite.gate:g}: {', '.join(verdicts)}.", ""]
    if suite.optimum is not None:
        kept = "; ".join(f"{recipe}: {_kept(of_recipe, suite.optimum)}" for recipe, of_recipe in grouped.items())
        lines += [
            f"Evaluations after the first that reached 95 % of the optimum, {suite.optimum:g}: the lowest, and the "
            f"share below 90 % of it, by seed. {kept}.",
            "",
        ]
    envs = {f"{run['env']} {run['env_kwargs']} ({run['env_version']})" for run in runs}
    machines = {machine.sentence(run["machine"]) for run in runs}
    lines += [
        f"Environment: {'; '.join(sorted(envs))}. Wall seconds, agent-steps/s and the CPU time that the run got "
        "(100 % = one core; other programs may have taken the rest) are medians over seeds. "
        f"Machine: {'; '.join(sorted(machines))}.",
        "",
        f"Curves: [{name}.png]({name}.png). Printed by `python benchmarks/learning.py {name}`; data in `{name}.json`.",
    ]
    return "\n".join(lines) + "\n"


def _figure(suite: Suite, grouped: dict[str, list[Run]], path: Path) -> None:
    panels = [
        Panel(
            title,
            "env-steps",
            "undiscounted team return",
            {
                recipe: [np.array([point[:2] for point in run[curve]], np.float64).reshape(-1, 2) for run in runs]
                for recipe, runs in grouped.items()
            },
        )
        for column, (curve, title) in enumerate(
            (
                ("evaluations", "periodic evaluation, greedy"),
                ("training_returns", "training episodes, sampled actions"),
            )
        )
    ]
    level = None if suite.gate is None else (suite.gate, f"gate {suite.gate:g}")
    save_figure([panels], path, suite.title, level)


def _scores(runs: Sequence[Run]) -> list[float]:
    return [run["final"]["mean"] for run in runs]


def _over_seeds(runs: Sequence[Run]) -> str:
    return str(mean_interval(_scores(runs)))


def _interval(final: dict[str, Any]) -> str:
    half = final["half_width"]
    return str(Interval(final["mean"], math.nan if half is None else half, final["episodes"]))


def _kept(runs: Sequence[Run], optimum: float) -> str:
    """Return, for every seed, what became of the optimum once it was reached."""
    found = []
    for run in runs:
        scores = [score for _, score, _ in run["evaluations"]]
        first = next((i for i, score in enumerate(scores) if score >= 0.95 * optimum), None)
        if first is None:
            found.append(f"{run['seed']}: never reached")
            continue
        after = scores[first:]
        lost = sum(score < 0.9 * optimum for score in after) / len(after)
        found.append(f"{run['seed']}: {min(after):.2f}, {lost:.0%}")
    return ", ".join(found)


def _median(runs: Sequence[Run], field: str) -> float:
    return statistics.median(run[field] for run in runs)


def _lag(runs: Sequence[Run]) -> str:
    lags = [(run["policy_lag_mean"], run["policy_lag_max"]) for run in runs if run["policy_lag_mean"] is not None]
    if not lags:
        return "-"
    return f"{statistics.mean(mean for mean, _ in lags):.2f} ({max(high for _, high in lags):.0f})"
