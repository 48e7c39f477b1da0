"""Scaling results as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
from curves import CURVES


def write(recorded: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write scaling.md and scaling.png."""
    machines = {machine.sentence(series["machine"]) for series in recorded}
    commands = dict.fromkeys(series["command"] for series in recorded)
    busy = max(series["busy_before"] for series in recorded)
    lines = [
        "# Scaling",
        "",
        "Valid agent-steps per second of asynchronous training (appo, 1 epoch), learner and inference worker running "
        "on the same cores. Medians of three windows (all in brackets). `env` is the share of the rollout workers' "
        "time that their environments take; the CPU time is that of all processes, 100 % = one core.",
        "",
        tables(recorded),
        "",
        "Curves: [scaling.png](scaling.png).",
        "",
        f"Machine: {'; '.join(sorted(machines))}. Before a series other programs took up to {busy:.0f} % of it. "
        f"Printed by {', '.join(f'`{command}`' for command in commands)}; data in `scaling.json`.",
        "",
    ]
    (folder / "scaling.md").write_text("\n".join(lines))
    _figure(recorded, folder / "scaling.png")


def tables(recorded: Sequence[dict[str, Any]]) -> str:
    """Return one table per curve."""
    parts = []
    for curve, about in CURVES.items():
        own = [series for series in recorded if series["curve"] == curve]
        if own:
            parts += [f"## {about.title}", "", *_table(curve, own), ""]
    return "\n".join(parts).rstrip()


def _table(curve: str, recorded: Sequence[dict[str, Any]]) -> list[str]:
    about = CURVES[curve]
    ratio = "efficiency" if about.linear else "ratio to the first"
    columns = ["", about.x, "agent-steps/s", ratio, "env", "CPU", "updates/s", "policy lag", "workers x envs, rollout"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for series in recorded:
        for point in series["points"]:
            windows = ", ".join(f"{rate:,.0f}" for rate in point["windows"])
            ratio = f"{efficiency(curve, series['points'], point):.0%}"
            lines.append(
                f"| {series['name']} | {point['x']} | {point['agent_steps_per_second']:,.0f} ({windows}) | {ratio} "
                f"| {point['rollout_env']:.0%} | {point['cpu_percent']:.0f} % | {point['updates_per_second']:.1f} "
                f"| {point['policy_lag_mean']:.1f} "
                f"| {point['workers']} x {point['envs_per_worker']}, {point['rollout']} |"
            )
    return lines


def efficiency(curve: str, points: Sequence[dict[str, Any]], point: dict[str, Any]) -> float:
    """Return the rate over the first point's; of a linear curve, over as many times the first point's."""
    first = points[0]
    ratio = point["agent_steps_per_second"] / first["agent_steps_per_second"]
    return ratio * first["x"] / point["x"] if CURVES[curve].linear else ratio


def _figure(recorded: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [curve for curve in CURVES if any(series["curve"] == curve for series in recorded)]
    rows = -(-len(shown) // 2)
    figure, grid = pyplot.subplots(rows, 2, figsize=(12, 4 * rows), squeeze=False, layout="constrained")
    try:
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, curve in zip(grid.flat, shown, strict=False):
            for series in recorded:
                if series["curve"] == curve:
                    _line(axes, curve, series)
            axes.set_title(CURVES[curve].title, fontsize=8)
            axes.set_xlabel(CURVES[curve].x)
            axes.set_ylabel("efficiency" if CURVES[curve].linear else "agent-steps/s")
            axes.set_ylim(bottom=0)
            axes.legend(fontsize=9)
        figure.savefig(path, dpi=110)
    finally:
        pyplot.close(figure)


def _line(axes: Any, curve: str, series: dict[str, Any]) -> None:
    points = series["points"]
    places = range(len(points))
    if CURVES[curve].linear:
        values = [efficiency(curve, points, point) for point in points]
    else:
        values = [point["agent_steps_per_second"] for point in points]
    axes.plot(places, values, marker="o", label=series["name"])
    axes.set_xticks(places, [str(point["x"]) for point in points])
