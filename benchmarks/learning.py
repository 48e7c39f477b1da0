"""Learning curves: trains every recipe of a suite with every seed and reports the scores.

    python benchmarks/learning.py spread
    python benchmarks/learning.py async_vs_sync --only sync async-vtrace --seeds 1 2

Every finished run is merged into results/SUITE.json at once and the report (SUITE.md, SUITE.png) is written anew, so a
suite that is interrupted keeps what it has and goes on from there. Runs that are in the JSON already are skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import learning_report
import machine
import numpy as np
from suites import SUITES

from sfmarl import train
from sfmarl.results.curves import curve_of
from sfmarl.run.runner import TrainResult

HERE = Path(__file__).resolve().parent
CURVE_POINTS = 60
"""Training-return records kept of a run, evenly spaced."""


def main() -> None:
    """Train what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="recipes to train [all of the suite]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--env-steps", type=int, help="of every run [each recipe's own]")
    parser.add_argument("--force", action="store_true", help="train anew what is in the JSON already")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and report go")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run directories go")
    args = parser.parse_args()
    suite = SUITES[args.suite]
    if unknown := set(args.only or ()) - set(suite.recipes):
        parser.error(f"no recipe {', '.join(sorted(unknown))} in {args.suite}; there are {', '.join(suite.recipes)}")

    path = args.results / f"{args.suite}.json"
    for seed in args.seeds:
        for recipe in args.only or suite.recipes:
            if (recipe, seed) in read_runs(path) and not args.force:
                print(f"{args.suite}: {recipe}, seed {seed} is in {path.name} already")
                continue
            name = f"{args.suite}-{recipe}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
            print(f"{args.suite}: {recipe}, seed {seed}", flush=True)
            config = replace(suite.recipes[recipe][0](), seed=seed, run_dir=args.runs / name)
            result = train(config if args.env_steps is None else replace(config, env_steps=args.env_steps))
            # read again: another process may have added runs in the meantime
            runs = read_runs(path) | {(recipe, seed): about_run(recipe, result)}
            write_runs(path, runs)
            learning_report.write(args.suite, suite, list(runs.values()), args.results)
    learning_report.write(args.suite, suite, list(read_runs(path).values()), args.results)


def read_runs(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return (recipe, seed) -> run as `about_run` made it."""
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    return {(run["recipe"], run["seed"]): run for run in runs}


def write_runs(path: Path, runs: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Replace the JSON by one that holds `runs`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = [runs[key] for key in sorted(runs)]
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"runs": ordered}, indent=1) + "\n")
    draft.replace(path)


def about_run(recipe: str, result: TrainResult) -> dict[str, Any]:
    """Return what the report needs of a finished run, in plain JSON types."""
    records, summary = result.metrics(), result.summary
    evaluation = summary["evaluation"]
    team, final = next(iter(evaluation["teams"].items()))
    periodic = [r for r in records if f"eval/return_team/{team}" in r and r["eval/episodes"] < evaluation["episodes"]]
    returns = curve_of(records, f"episode/return_team/{team}")
    kept = np.unique(np.linspace(0, len(returns) - 1, min(CURVE_POINTS, len(returns))).round().astype(int))
    lags = [r for r in records if "policy_lag/mean" in r]
    cpu = [r["system/cpu_percent"] for r in records if "system/cpu_percent" in r]
    return {
        "recipe": recipe,
        "seed": summary["seed"],
        "env": summary["env"],
        "env_kwargs": summary["env_kwargs"],
        "env_version": evaluation["env_version"],
        "algo": summary["algo"],
        "mode": summary["mode"],
        "metric": final["metric"],
        "evaluations": [
            [r["env_steps"], r[f"eval/return_team/{team}"], r[f"eval/interval_team/{team}"]] for r in periodic
        ],
        "training_returns": [[int(steps), round(value, 3)] for steps, value in returns[kept].tolist()],
        "final": {"episodes": evaluation["episodes"], "mean": final["mean"], "half_width": final["half_width"]},
        "env_steps": summary["env_steps"],
        "agent_steps": summary["agent_steps"],
        "wall_seconds": round(summary["wall_seconds"], 1),
        "agent_steps_per_second": round(summary["agent_steps_per_second"]),
        "cpu_percent": round(float(np.mean(cpu))),
        "policy_lag_mean": round(float(np.mean([r["policy_lag/mean"] for r in lags])), 3) if lags else None,
        "policy_lag_max": max((r["policy_lag/max"] for r in lags), default=None),
        "machine": machine.describe(),
        "versions": summary["versions"],
    }


if __name__ == "__main__":
    main()
