"""How agent-steps/s of asynchronous training change with workers, environments, agents, observations and networks.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --curves workers --seconds 5
    python benchmarks/scaling.py --curves envs hidden --force

    workers  1 to 8 rollout workers, env-steps that take 10 us (busy), 100 us, 1 ms and 10 ms (asleep): more workers
             than cores can be fed, so efficiency = rate(n) / (n rate(1)) says what the trainer itself costs
    speedup  mpe2 spread, the same environments divided over 1, 2, 4, ... workers up to the number of cores
    envs, agents, obs, hidden    the trivial dict environment, one setting at a time

Each point is one training, learner running, 1 epoch; its figure is the median of three windows after a warm-up. A
series is added to results/scaling.json as soon as it is over and skipped when it is there (`--force` measures it
again), so that ratios are taken inside one sitting; table and figure go to scaling.md and scaling.png. About 11
minutes.
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
import scaling_report
from curves import CURVES, Series, all_series
from throughput import train_windows

from sfmarl import Config
from sfmarl.errors import UsageError
from sfmarl.run.plan import resolve_workers
from sfmarl.run.runner import check_run
from sfmarl.user_code import import_user_code

HERE = Path(__file__).resolve().parent
WARM_UP_SECONDS = 6.0


def main() -> None:
    """Measure what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--force", action="store_true", help="measure again what is recorded")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON, table and figure go")
    args = parser.parse_args()
    wanted = all_series(args.curves, len(os.sched_getaffinity(0)))
    for series in wanted:
        for x in series.xs:
            try:
                config = series.config(x)
                import_user_code(config.imports)
                check_run(config)
            except UsageError as error:
                parser.error(f"{series.curve}, {x}: {error}")
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / "scaling.json"
    recorded = json.loads(path.read_text())["series"] if path.exists() else []
    for series in wanted:
        key = (series.curve, series.name)
        others = [one for one in recorded if (one["curve"], one["name"]) != key]
        if len(others) < len(recorded) and not args.force:
            print(f"{series.curve}, {series.name}: recorded already")
            continue
        recorded = sorted([*others, measure(series, args.seconds)], key=_place)
        path.write_text(json.dumps({"series": recorded}, indent=1) + "\n")
        scaling_report.write(recorded, args.results)
    scaling_report.write(recorded, args.results)
    print(scaling_report.tables([one for one in recorded if one["curve"] in args.curves]))


def _place(series: dict[str, Any]) -> int:
    return list(CURVES).index(series["curve"])


def measure(series: Series, seconds: float) -> dict[str, Any]:
    """Return the points of one series, with the machine and the command."""
    busy, points = machine.busy_percent(), []
    for x in series.xs:
        points.append({"x": x, **measure_point(series.config(x), seconds)})
        print(
            f"{series.curve}, {series.name}, {x}: {points[-1]['agent_steps_per_second']:,.0f} agent-steps/s", flush=True
        )
    return {
        "curve": series.curve,
        "name": series.name,
        "points": points,
        "command": " ".join(["python", "benchmarks/scaling.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "busy_before": busy,
    }


def measure_point(config: Config, seconds: float) -> dict[str, Any]:
    """Return one training's rates and what explains them."""
    windows = train_windows(config, seconds, WARM_UP_SECONDS)
    rates = [record["throughput/agent_steps_per_second"] for record in windows]

    def mean(name: str) -> float:
        return statistics.mean(record.get(name, 0.0) for record in windows)

    return {
        "agent_steps_per_second": statistics.median(rates),
        "windows": rates,
        "updates_per_second": mean("throughput/updates_per_second"),
        "cpu_percent": mean("system/cpu_percent"),
        "policy_lag_mean": mean("policy_lag/mean"),
        "rollout_env": mean("time/rollout/env"),
        "workers": resolve_workers(config),
        "envs_per_worker": config.num_envs_per_worker,
        "rollout": config.rollout,
    }


if __name__ == "__main__":
    main()
