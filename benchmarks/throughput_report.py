"""Throughput results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import machine

from sfmarl.monitor.breakdown import CATEGORIES

if TYPE_CHECKING:
    from budgets import Budget
    from throughput import Result


def page(record: dict[str, Any], results: Sequence[Result], found: Sequence[Budget]) -> str:
    """Return the whole report."""
    busy = max(result.busy_before for result in results)
    return "\n".join(
        [
            "# Throughput",
            "",
            "Valid agent-steps per second of asynchronous training, learner running, beside the roofline of the same "
            "work on the same machine in the same run: cores / (1/env + 1/forward + 1/learn). `eager` counts acting "
            "and learning in plain eager torch, `own` with sfmarl's own networks; several policies by their shares of "
            "the agent-steps. `learned` is agent-steps that reached an update, times epochs.",
            "",
            table(results),
            "",
            *(f"* {result.work}: {_sentence(result)}" for result in results),
            "",
            f"Machine: {machine.sentence(record['machine'])}. Before each measurement other programs took up to "
            f"{busy:.0f} % of it. Memory is the largest sum over the run's processes, shared pages counted once; the "
            "first update is counted from the call of `train`.",
            "",
            f"Printed by {', '.join(f'`{command}`' for command in dict.fromkeys(r.command for r in results))}.",
            "",
            "## The data plane against its budgets",
            "",
            budget_table(found),
            "",
        ]
    )


def _sentence(result: Result) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    return f"{result.env}: {result.about} ({settings}). Learns in `{result.gate}`."


def table(results: Sequence[Result]) -> str:
    """Return the comparison, the pieces, and where the time went."""
    columns = ("work", "sfmarl", "roofline (eager)", "share", "roofline (own)", "share", "learned")
    columns += ("CPU", "peak memory", "first update", "rows/forward", "policy lag")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in results:
        s = r.scalars
        lines.append(
            f"| {r.work} | {r.agent_steps_per_second:,.0f} | {r.roofline_torch:,.0f} | {r.share:.0%} "
            f"| {r.roofline_product:,.0f} | {r.share_product:.0%} | {r.learned_per_second:,.0f} "
            f"| {s['system/cpu_percent']:.0f} % | {r.peak_memory_gib:.2f} GiB | {r.first_update_seconds:.1f} s "
            f"| {s['inference/batch_rows']:.0f} | {s['policy_lag/mean']:.1f} |"
        )
    lines += [
        "",
        "| bare work, agent-steps/s and core | env | forward (eager) | forward (own) | learn (eager) | learn (own) |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        p = r.pieces
        rates = (p.env, p.forward_torch, p.forward_product, p.learn, p.learn_product)
        lines.append(f"| {r.work} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |")
    lines += ["", "| share of each role's time | rollout | inference | learner |", "|---|---|---|---|"]
    for r in results:
        shares = (
            ", ".join(f"{name} {r.scalars[f'time/{role}/{name}']:.0%}" for name in names)
            for role, names in CATEGORIES.items()
        )
        lines.append(f"| {r.work} | {' | '.join(shares)} |")
    return "\n".join(lines)


def budget_table(found: Sequence[Budget]) -> str:
    """Return the budgets."""
    lines = ["| cost above the bare work | measured | budget | |", "|---|---|---|---|"]
    lines += [f"| {b.name} | {b.value:.3g} | {b.limit:g} | {b.unit} |" for b in found]
    return "\n".join(lines)
