"""Does it learn? Trains every task of `tasks.py` with every seed, scores the runs and prints a table (`make learn`).

    python benchmarks/learn.py
    python benchmarks/learn.py --only connect_four leduc --seeds 1 2
    python benchmarks/learn.py --env-steps 2000 --episodes 8 --results /tmp/try    # does everything run?

A finished run is merged into results/learn.json at once and the table (learn.md) written anew; runs that are there are
skipped, so an interrupted benchmark goes on where it was. Tasks whose packages are missing are named and left out; the
exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import learn_report
import machine
from learning import read_runs, write_runs
from tasks import TASKS, Task

from sfmarl import train
from sfmarl.errors import UsageError

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Train what is missing, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, metavar="TASK", default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--env-steps", type=int, help="of every run [each task's own]")
    parser.add_argument("--episodes", type=int, help="of every score [each task's own]")
    parser.add_argument("--force", action="store_true", help="train anew what is in the JSON already")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run directories go")
    args = parser.parse_args()
    if args.episodes is not None and args.episodes < 4:
        parser.error("--episodes must be at least 4: scores have intervals, and some are of two seats")

    path = args.results / "learn.json"
    missing: dict[str, str] = {}
    for seed in args.seeds:
        for name in args.only:
            if (name, seed) in read_runs(path) and not args.force:
                print(f"{name}, seed {seed} is in {path} already")
            elif name not in missing:
                print(f"{name}, seed {seed}", flush=True)
                run_dir = args.runs / f"learn-{name}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
                try:
                    about = measure(name, TASKS[name], seed, run_dir, args.env_steps, args.episodes)
                except UsageError as error:
                    missing[name] = str(error)
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    continue
                # read again: another process may have added runs in the meantime
                write_runs(path, read_runs(path) | {(name, seed): about})
                learn_report.write(read_runs(path), args.results)
    if runs := read_runs(path):
        print(learn_report.write(runs, args.results))
    for name, why in missing.items():
        print(f"{name} was left out: {why}", file=sys.stderr)
    return 1 if missing else 0


def measure(
    name: str, task: Task, seed: int, run_dir: Path, env_steps: int | None, episodes: int | None
) -> dict[str, Any]:
    """Train one task with one seed and return what the report needs, in plain JSON types.

    Raises UsageError when a package is missing, RunError when the run fails.
    """
    config = replace(task.config(), seed=seed, run_dir=run_dir, final_eval_episodes=0)
    if env_steps is not None:
        config = replace(config, env_steps=env_steps)
    result = train(config)
    summary = result.summary
    return {
        "recipe": name,
        "seed": seed,
        "env": summary["env"],
        "env_kwargs": summary["env_kwargs"],
        "algo": summary["algo"],
        "mode": summary["mode"],
        "score": asdict(task.score(result, episodes or task.episodes)),
        "env_steps": summary["env_steps"],
        "agent_steps": summary["agent_steps"],
        "wall_seconds": round(summary["wall_seconds"], 1),
        "machine": machine.describe(),
        "versions": summary["versions"],
    }


if __name__ == "__main__":
    sys.exit(main())
