"""The comparison with peers as a table, a page and a picture."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import machine

Row = dict[str, Any]
"""One system on one work, as `compare_peers.measure_work` makes it."""
Work = dict[str, Any]
"""One work with its rows."""

COLUMNS = (
    "system", "agent-steps/s", "sfmarl / it", "of roofline", "samples/s x epochs", "CPU", "peak memory",
    "start to first update",
)  # fmt: skip


def own_rate(work: Work) -> float | None:
    """Return sfmarl's agent-steps/s, the median over the windows of all its measurements in this run."""
    windows = [rate for row in work["rows"] if row["system"] == "sfmarl" for rate in row.get("windows", ())]
    return statistics.median(windows) if windows else None


def drift(work: Work) -> float | None:
    """Return by what fraction sfmarl's second measurement differs from its first."""
    rates = [row["agent_steps_per_second"] for row in work["rows"] if row["system"] == "sfmarl" and "windows" in row]
    return rates[-1] / rates[0] - 1 if len(rates) > 1 else None


def table(work: Work) -> str:
    """Return one work's table."""
    lines = [f"| {work['letter']}: {work['env']}, {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    own, top = own_rate(work), work["roofline"]
    lines.append(f"| roofline | {top:,.0f} | {_ratio(own, top)} | 100 % | - | - | - | - |")
    for row in work["rows"]:
        if "error" in row:
            lines.append(f"| {row['title']} | failed: {row['error'].replace('|', '/')} |{' |' * (len(COLUMNS) - 2)}")
            continue
        rate = row["agent_steps_per_second"]
        lines.append(
            f"| {row['title']} | {rate:,.0f} | {_ratio(own, rate)} | {rate / top:.1%} "
            f"| {row['learned_per_second']:,.0f} | {row['cpu_percent']:.0f} % | {row['peak_memory_gib']:.2f} GiB "
            f"| {row['first_update_seconds']:.1f} s |"
        )
    return "\n".join(lines)


def page(record: dict[str, Any]) -> str:
    """Return the whole report."""
    lines = [
        "# sfmarl beside its peers",
        "",
        "Valid agent-steps per second of training, learner running; medians of three windows of at least "
        f"{record['seconds']:g} s, which begin {record['warm_up']:g} s after the first update. Same environments, "
        "networks (actor and critic of 64-64 tanh), rollout (32), batch (A 6144, B 8192 agent-steps), one epoch, one "
        "minibatch, CPU only. Agent-steps are actions of live agents, counted where environments are stepped. "
        "Roofline: cores / (1/env + 1/forward + 1/learn), each alone on all cores in this run, the forward pass in "
        "eager torch. `sfmarl / it`: sfmarl's rate (median of all its windows) over the row's. CPU: 100 % is one core. "
        "Memory: largest sum over the process tree, shared pages counted once.",
    ]
    for work in record["works"]:
        moved = drift(work)
        lines += [
            "",
            table(work),
            "",
            f"Roofline with sfmarl's own forward pass: {work['roofline_own_forward']:,.0f}. Between the first and the "
            f"last measurement the roofline moved by {work['roofline_drift']:+.1%}"
            + (f", sfmarl by {moved:+.1%}" if moved is not None else "")
            + f"; before the first, other programs took {work['busy_before']:.0f} % of the machine.",
            "",
            *(f"* {row['title']}: {_settings(row)}" for row in work["rows"] if "again" not in row["title"]),
        ]
    lines += [
        "",
        "Not the same everywhere: Sample Factory computes returns by GAE (its default), sfmarl, IMPALA and APPO by "
        "V-trace, PPO by GAE. sfmarl and Sample Factory normalise observations and returns or values (their defaults), "
        "RLlib does not. The samples/s of IMPALA and APPO include the rows that RLlib adds for bootstrapping.",
        "",
        f"Machine: {machine.sentence(record['machine'])}. {_versions(record['versions'])}",
        "",
        f"![bars](peers.png) Printed by `{record['command']}` on {record['date']}; data in `peers.json`.",
        "",
    ]
    return "\n".join(lines)


def figure(record: dict[str, Any], path: Path) -> None:
    """Draw agent-steps/s as bars, a panel per work, the roofline as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    works = record["works"]
    drawn, grid = pyplot.subplots(1, len(works), figsize=(7.0 * len(works), 3.8), squeeze=False, layout="constrained")
    try:
        for axes, work in zip(grid[0], works, strict=True):
            rows = [row for row in work["rows"] if "error" not in row][::-1]
            rates = [row["agent_steps_per_second"] for row in rows]
            colours = ["C0" if row["system"] == "sfmarl" else "C7" for row in rows]
            bars = axes.barh(range(len(rows)), rates, color=colours)
            white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=9, bbox=white)
            axes.set_yticks(range(len(rows)), [row["title"] for row in rows], fontsize=9)
            axes.axvline(work["roofline"], color="C3", linestyle="--")
            axes.set_xlim(0, 1.18 * max([work["roofline"], *rates]))
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.set_title(f"{work['letter']}: {work['env']} (dashed: roofline {work['roofline']:,.0f})", fontsize=10)
            axes.set_xlabel("valid agent-steps/s, learner running")
        drawn.suptitle(machine.sentence(record["machine"]), fontsize=9)
        drawn.savefig(path, dpi=110, format="png")
    finally:
        pyplot.close(drawn)


def _ratio(own: float | None, rate: float) -> str:
    return "-" if own is None else f"{own / rate:.2f} x"


def _settings(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["settings"].items())


def _versions(versions: dict[str, Any]) -> str:
    parts = []
    for peer, found in versions.items():
        text = found.get("error") or ", ".join(f"{package} {version}" for package, version in found.items())
        parts.append(f"{peer}: {text}.")
    return " ".join(parts)
