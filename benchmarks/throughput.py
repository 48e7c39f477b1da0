"""sfmarl's throughput beside what the same machine could do, in the same run.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --env dict --workers 2 --envs-per-worker 128 --seconds 20

Prints valid agent-steps per second of a real asynchronous training, learner running (V-trace, own critic, MLP 64-64
tanh, rollout 32, 1 epoch, 1 minibatch), and the roofline of `roofline.py`, measured before and after it. Three windows
after a warm-up, medians. Also: CPU and memory use, rows per forward, policy lag, where each role's time went, and the
data plane's own cost against its budgets (`budgets.py`). Results go to results/throughput.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import budgets
import machine
import psutil
import roofline
import throughput_report
from roofline import Pieces

from sfmarl import Config, train
from sfmarl.algorithms import get_algorithm
from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan

HERE = Path(__file__).resolve().parent
WINDOWS = 3
WARM_UP_SECONDS = 10.0
"""Processes have started and the first updates are made by then."""
ROUNDS = 3
"""Measurements of each roofline piece, before the training and again after it."""
PIECE_SECONDS = 1.5
WORKS = {
    "spread": ("mpe2.simple_spread_v3", 6144),
    "dict": ("games/dict", 8192),
    "native": ("native/simple_spread", 6144),
}
"""Work -> (environment, agent-steps of an update)."""


@dataclass(frozen=True)
class Result:
    """One work's training and roofline."""

    work: str
    """Name on the command line."""
    env: str
    """Environment."""
    settings: dict[str, Any]
    """What decides the speed of the run."""
    pieces: Pieces
    """Bare work, agent-steps/s and core."""
    roofline_torch: float
    """Roofline in agent-steps/s with eager torch's forward."""
    roofline_product: float
    """Roofline with sfmarl's own forward."""
    agent_steps_per_second: float
    """Valid agent-steps/s of sfmarl, median of the windows."""
    windows: list[float]
    """Each window."""
    learned_per_second: float
    """Agent-steps/s that reached an update, median."""
    scalars: dict[str, float]
    """Other metrics of the run, means over the windows."""
    busy_before: float
    """CPU time that other programs were taking before the measurement, percent of the machine."""

    @property
    def share(self) -> float:
        """Fraction of the roofline with eager torch's forward."""
        return self.agent_steps_per_second / self.roofline_torch

    @property
    def share_product(self) -> float:
        """Fraction of the roofline with sfmarl's own forward."""
        return self.agent_steps_per_second / self.roofline_product


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=[*WORKS, "both"], default=["both"], help="both = spread and dict")
    parser.add_argument("--algo", default="appo", help="preset; its epochs are set to 1")
    parser.add_argument("--workers", type=int, default=0, help="rollout workers [one per core, at least 2]")
    parser.add_argument("--envs-per-worker", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()

    works = ["spread", "dict"] if "both" in args.env else list(dict.fromkeys(args.env))
    results = []
    for work in works:
        results.append(measure(work, args.algo, args.workers, args.envs_per_worker, args.seconds))
        print(throughput_report.table(results[-1:]), flush=True)
    dict_api, native = (configure(work, args.algo, args.workers, args.envs_per_worker) for work in ("dict", "native"))
    found = budgets.measure([dict_api, native], dict_api, batch_lanes(dict_api), rounds=7)
    print(throughput_report.budget_table(found))

    command = " ".join(["python", "benchmarks/throughput.py", *sys.argv[1:]])
    record = {
        "command": command,
        "machine": machine.describe(),
        "results": [asdict(r) | {"share": r.share, "share_product": r.share_product} for r in results],
        "budgets": [asdict(budget) for budget in found],
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "throughput.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "throughput.md").write_text(throughput_report.page(record, results, found))


def configure(work: str, algo: str, workers: int, envs_per_worker: int) -> Config:
    """Return the protocol's settings for one work."""
    env, batch_size = WORKS[work]
    hp = get_algorithm(algo).hyperparameters()
    hp.epochs, hp.minibatches, hp.target_kl = 1, 1, 0.0
    return Config(
        env=env,
        algo=algo,
        hp=hp,
        env_steps=10**12,
        num_workers=workers,
        num_envs_per_worker=envs_per_worker,
        rollout=32,
        batch_size=batch_size,
        eval_env_steps=0,
        final_eval_episodes=0,
        checkpoint_seconds=1e9,
        quiet=True,
    )


def batch_lanes(config: Config) -> int:
    """Return the slots of one update."""
    return make_plan(config, load_spec(config)).batch_lanes[0]


def measure(work: str, algo: str, workers: int, envs_per_worker: int, seconds: float) -> Result:
    """Measure one work: roofline, training, roofline."""
    config = configure(work, algo, workers, envs_per_worker)
    busy = psutil.cpu_percent(interval=1.0)
    if busy > 10:
        print(f"warning: other programs take {busy:.0f} % of this machine; ratios will suffer", file=sys.stderr)
    lanes = batch_lanes(config)
    pieces = roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS)
    windows = train_windows(config, seconds)
    pieces = roofline.median(pieces + roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS))
    cores = len(os.sched_getaffinity(0))
    plan = make_plan(config, load_spec(config))
    rates = [record["throughput/agent_steps_per_second"] for record in windows]
    learned = [record["throughput/samples_times_epochs_per_second"] for record in windows]
    return Result(
        work=work,
        env=config.env,
        settings={
            "algo": algo,
            "workers": plan.plane.workers,
            "envs_per_worker": envs_per_worker,
            "splits": config.num_splits,
            "rollout": config.rollout,
            "batch_agent_steps": lanes * config.rollout * plan.policies[0].num_agents,
            "epochs": config.hp.epochs,
            "minibatches": config.hp.minibatches,
        },
        pieces=pieces,
        roofline_torch=pieces.roofline(pieces.forward_torch, cores),
        roofline_product=pieces.roofline(pieces.forward_product, cores),
        agent_steps_per_second=statistics.median(rates),
        windows=rates,
        learned_per_second=statistics.median(learned),
        scalars={
            name: statistics.mean(record[name] for record in windows)
            for name in windows[0]
            if name.startswith(("time/", "queue/", "policy_lag/", "inference/", "system/", "learner/dropped"))
        },
        busy_before=busy,
    )


def train_windows(config: Config, seconds: float) -> list[dict[str, float]]:
    """Train and return the metric records of the last `WINDOWS` whole windows, each `seconds` long."""
    with tempfile.TemporaryDirectory() as folder:
        config.run_dir = Path(folder) / "run"
        config.log_seconds = seconds
        config.wall_seconds = WARM_UP_SECONDS + (WINDOWS + 1) * seconds
        records = train(config).metrics()
    # the records at the very end of a run cover less than a window
    whole = [now for before, now in pairwise(records) if now["wall_seconds"] - before["wall_seconds"] >= 0.9 * seconds]
    return whole[-WINDOWS:]


if __name__ == "__main__":
    main()
