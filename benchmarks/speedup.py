"""Agent-steps/s of asynchronous training with 1 to N rollout workers on the same work.

    python benchmarks/speedup.py
    python benchmarks/speedup.py --env dict --workers 1 2 4 8 --envs 256 --seconds 10

The same environments in all, the same batch, learner running: only the number of processes that step them changes. Each
number of workers is one training (settings of `throughput.py`); its figure is the median of three windows after a
warm-up, and the ratio is taken to one worker. Results go to results/speedup.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import machine
import psutil
from throughput import WINDOWS, WORKS, configure, train_windows

from sfmarl.errors import UsageError
from sfmarl.run.runner import check_run

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure, print, write."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=WORKS, default="spread")
    parser.add_argument("--algo", default="appo", help="preset; its epochs are set to 1")
    parser.add_argument("--workers", nargs="+", type=int, default=default_workers(cores), help="[1, 2, 4, ... cores]")
    parser.add_argument("--envs", type=int, default=128, help="environments of all workers together")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    if args.workers[0] != 1:
        parser.error("--workers must begin with 1: ratios are taken to one worker")
    for workers in args.workers:
        if args.envs % (2 * workers):
            parser.error(f"--envs {args.envs} cannot be divided over {workers} workers of two splits each")
        try:
            check_run(configure(args.env, args.algo, workers, args.envs // workers))
        except UsageError as error:
            parser.error(f"--envs {args.envs}: {error}")

    busy = psutil.cpu_percent(interval=1.0)
    if busy > 10:
        print(f"warning: other programs take {busy:.0f} % of this machine; ratios will suffer", file=sys.stderr)
    rows = []
    for workers in args.workers:
        rows.append(measure(args.env, args.algo, workers, args.envs, args.seconds))
        print(f"{workers} workers: {rows[-1]['agent_steps_per_second']:,.0f} agent-steps/s", flush=True)
    record = {
        "command": " ".join(["python", "benchmarks/speedup.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "busy_before": busy,
        "env": WORKS[args.env][0],
        "algo": args.algo,
        "envs": args.envs,
        "batch_agent_steps": WORKS[args.env][1],
        "rows": rows,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "speedup.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "speedup.md").write_text(page(record))
    print(table(rows))


def default_workers(cores: int) -> list[int]:
    """Return the powers of two up to the number of cores; at least 1 and 2."""
    return [2**i for i in range(max(2, cores).bit_length())]


def measure(work: str, algo: str, workers: int, envs: int, seconds: float) -> dict[str, Any]:
    """Train with `workers` workers and return the rates of the windows with what else the table shows."""
    windows = train_windows(configure(work, algo, workers, envs // workers), seconds)
    rates = [record["throughput/agent_steps_per_second"] for record in windows]
    return {
        "workers": workers,
        "agent_steps_per_second": statistics.median(rates),
        "windows": rates,
        "cpu_percent": statistics.mean(record["system/cpu_percent"] for record in windows),
        "policy_lag_mean": statistics.mean(record["policy_lag/mean"] for record in windows),
    }


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    return "\n".join(
        [
            "# Speed-up by rollout workers",
            "",
            f"Valid agent-steps per second of asynchronous {record['algo']} on {record['env']}: {record['envs']} "
            f"environments in all, updates of {record['batch_agent_steps']} agent-steps, learner and inference worker "
            f"running on the same cores. Median of {WINDOWS} windows (all in brackets).",
            "",
            table(record["rows"]),
            "",
            f"Machine: {machine.sentence(record['machine'])}. Before the measurement other programs took "
            f"{record['busy_before']:.0f} % of it. Printed by `{record['command']}`; data in `speedup.json`.",
            "",
        ]
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Return rates and their ratio to the first row's."""
    lines = [
        "| rollout workers | agent-steps/s | ratio to one worker | CPU | policy lag |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        windows = ", ".join(f"{rate:,.0f}" for rate in row["windows"])
        ratio = row["agent_steps_per_second"] / rows[0]["agent_steps_per_second"]
        lines.append(
            f"| {row['workers']} | {row['agent_steps_per_second']:,.0f} ({windows}) | {ratio:.2f} "
            f"| {row['cpu_percent']:.0f} % | {row['policy_lag_mean']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
