"""What `kill_resume.py` found, as a table and a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import machine
from chaos_report import left_in_tmp

from sfmarl.statistics import Interval

COUNTERS = {
    "env_steps": "env-steps",
    "agent_steps": "agent-steps",
    "episodes": "episodes",
    "policy_version": "policy version",
    "adam_steps": "Adam's steps",
    "normaliser_samples": "samples normalised",
}


def line(pair: Mapping[str, Any]) -> str:
    """Return what became of one seed, in a line."""
    if pair["failure"]:
        return f"seed {pair['seed']}: {pair['failure']}"
    return (
        f"seed {pair['seed']}: {pair['killed']['score']:.2f} after {len(pair['kills'])} kills, "
        f"{pair['whole']['score']:.2f} without; {len(pair['jumps'])} jumps, {pair['orphans']} orphans"
    )


def table(record: Mapping[str, Any]) -> str:
    """Return the outcome as Markdown."""
    lines = [
        "| seed | score, killed and resumed | score, left alone | kills (of these at start-up) | env-steps lost "
        "| jumps of counters | checkpoints lost | orphans | bytes left in /dev/shm | files left in TMPDIR |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for pair in record["seeds"]:
        early = sum(kill["moment"] == "start-up" for kill in pair["kills"])
        lost = sum(kill["env_steps_lost"] for kill in pair["kills"])
        lines.append(
            f"| {pair['seed']} | {_score(pair['killed'])} | {_score(pair['whole'])} | {len(pair['kills'])} ({early}) "
            f"| {lost:,} | {len(pair['jumps'])} | {pair['lost']} | {pair['orphans']} | {pair['shm_bytes_left']} "
            f"| {left_in_tmp(pair)} |"
        )
    difference = Interval.from_json(record["difference"])
    lines += ["", f"Killed minus left alone, over {difference.count} seeds: {difference}."]
    for pair in record["seeds"]:
        for wrong in [*filter(None, [pair["failure"]]), *pair["jumps"]]:
            lines += ["", f"NOT right, seed {pair['seed']}: {wrong}"]
    return "\n".join(lines)


def counters(pair: Mapping[str, Any]) -> str:
    """Return what the checkpoints counted from which a run was resumed, and the learning rate before each kill."""
    rows = [
        f"| {number} | {kill['moment']} | {_cells(kill['checkpoint'])} | {_rate(kill['lr'])} |"
        for number, kill in enumerate(pair["kills"], 1)
    ]
    rows += [f"| end | | {_cells(pair['killed'])} | |"] if pair["killed"] else []
    names = " | ".join(COUNTERS.values())
    return "\n".join([f"| kill | when | {names} | lr |", "|---" * (len(COUNTERS) + 3) + "|", *rows])


def page(record: Mapping[str, Any]) -> str:
    """Return the report."""
    first = record["seeds"][0]
    return "\n".join(
        [
            "# Killed and resumed",
            "",
            f"Asynchronous MAPPO on native simple_spread, {record['env_steps']:,} env-steps. The main process is "
            "killed by SIGKILL at moments drawn evenly over them, now and then while it starts again; `sfmarl resume` "
            "goes on from a checkpoint that is at most a second or two old. Scores: undiscounted episode return, sum "
            "over the team, greedy, with 95 % intervals over episodes; the difference's is over seeds.",
            "",
            table(record),
            "",
            f"What the checkpoints counted from which seed {first['seed']} was resumed, and the learning rate last "
            "recorded before each kill (nothing was recorded yet: none):",
            "",
            counters(first),
            "",
            f"{record['seconds'] / 60:.0f} minutes. Machine: {machine.sentence(record['machine'])}. Printed by "
            f"`{record['command']}`; data in `kill_resume.json`.",
            "",
        ]
    )


def _score(result: Mapping[str, Any] | None) -> str:
    return "" if result is None else f"{result['score']:.2f} ± {result['half_width']:.2f}"


def _cells(state: Mapping[str, Any]) -> str:
    return " | ".join(f"{state[name]:,}" for name in COUNTERS)


def _rate(lr: float | None) -> str:
    return "" if lr is None else f"{lr:.3g}"
