"""What `chaos.py` found, as a table and a page."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

import machine


def table(record: dict[str, Any]) -> str:
    """Return the outcome as Markdown."""
    faults = sum(record["faults"].values())
    lines = [
        "| faults | recovered | planes rebuilt | env-steps | lost by resuming | learned by killed learners, lost | "
        "checkpoints lost | orphans | bytes left in /dev/shm | files left in TMPDIR |",
        "|---|---|---|---|---|---|---|---|---|---|",
        f"| {faults} | {record['recovered']} | {record['rebuilt']} | {record['env_steps']:,} | "
        f"{record['env_steps_lost']:,} env-steps | {record['agent_steps_unlearned']:,} agent-steps | "
        f"{record['checkpoints_lost']} | {record['orphans']} | {record['shm_bytes_left']} | {left_in_tmp(record)} |",
        "",
        "| what happened | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(record["faults"].items())),
        "",
        "| seconds from found dead to working again | n | median | 90 % | longest |",
        "|---|---|---|---|---|",
    ]
    seconds: dict[str, list[float]] = defaultdict(list)
    for recovery in record["recovery_seconds"]:
        seconds[recovery["component"]].append(recovery["seconds"])
    seconds["`sfmarl resume` to the next env-step"] = record["resume_seconds"]
    for name, times in seconds.items():
        if times:
            ordered = sorted(times)
            most = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
            lines.append(f"| {name} | {len(times)} | {statistics.median(times):.2f} | {most:.2f} | {ordered[-1]:.2f} |")
    score, calm = record["score"], record["score_undisturbed"]
    lines += [
        "",
        f"Score, {score['metric']}: disturbed {score['mean']:.1f} ± {score['half_width']:.1f}, undisturbed "
        f"{calm['mean']:.1f} ± {calm['half_width']:.1f} after as many env-steps.",
    ]
    if record["failure"]:
        lines += ["", f"NOT survived: {record['failure']}"]
    return "\n".join(lines)


def left_in_tmp(record: dict[str, Any]) -> str:
    """Return how many files were left in TMPDIR; empty in records of the time when nobody looked."""
    return str(len(record["tmp_left"])) if "tmp_left" in record else ""


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    return "\n".join(
        [
            "# Training under fire",
            "",
            "Asynchronous MAPPO on native simple_spread, two rollout workers, one inference worker, one learner; what "
            "happens to its processes is drawn at random.",
            "",
            table(record),
            "",
            f"Settings: {settings}. {record['seconds'] / 60:.0f} minutes.",
            "",
            f"Machine: {machine.sentence(record['machine'])}. Printed by `{record['command']}`; data in `chaos.json`.",
            "",
        ]
    )
