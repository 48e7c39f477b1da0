"""Is what `sfmarl tune` chooses as fast as the best of a grid of hand-set configurations?

    python benchmarks/tuning.py
    python benchmarks/tuning.py --works native --seconds 6 --measure

For each work every configuration of the grid (rollout workers x envs per worker x splits and placement of inference)
trains for some seconds, learner running, all with the same batch size; so does the one that tuning chose from its own
measurements of about 8 s. The best of the grid and the tuned one are then measured again in turns: the best of many
noisy numbers is partly luck. Prints tuned / best per work (goal: at least 90 %); results go to results/tuning.json and
.md. The default run takes about 11 minutes on two cores; each work is kept as soon as it is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import machine

from sfmarl import Config, UsageError
from sfmarl.algorithms import get_algorithm
from sfmarl.run.runner import check_run
from sfmarl.tuning.choose import TUNED
from sfmarl.tuning.trials import measure_training
from sfmarl.tuning.tune import tune

HERE = Path(__file__).resolve().parent
GOAL = 0.9
ENVS_PER_WORKER = (32, 64, 128)
MOST_ENVS_PER_CORE = 128
"""Environments of all workers per core; more would only make samples older."""
ARRANGEMENTS = (("worker", 1), ("worker", 2), ("local", 1))
"""(placement of inference, splits)."""
TRIALS = 3
"""With --measure."""

WORKS: dict[str, dict[str, Any]] = {
    "spread": {"env": "mpe2.simple_spread_v3", "batch_size": 6144},
    "native": {"env": "native/simple_spread", "batch_size": 6144},
    "dict": {"env": "games/dict", "batch_size": 8192},
    "connect_four": {
        "env": "pettingzoo.classic.connect_four_v3",
        "policies": {"player_0": "main", "player_1": "main"},
        "batch_size": 2048,
    },
}
"""Work -> settings that are given."""


@dataclass(frozen=True)
class Run:
    """One configuration and what it reached."""

    settings: dict[str, Any]
    """The tuned settings of the configuration."""
    agent_steps_per_second: float
    """Valid agent-steps/s, learner running."""


@dataclass(frozen=True)
class Result:
    """One work."""

    work: str
    """Name on the command line."""
    grid: list[Run]
    """Hand-set configurations, the fastest first."""
    tuned: dict[str, Any]
    """The settings that tuning chose."""
    expected: float
    """Agent-steps/s that were predicted for it."""
    best_again: list[float]
    """Agent-steps/s of the grid's fastest, measured again in turns with the tuned one."""
    tuned_again: list[float]
    """The same of the tuned one."""

    @property
    def share(self) -> float:
        """Tuned / best of the grid, medians of the measurements in turns."""
        return statistics.median(self.tuned_again) / statistics.median(self.best_again)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=None, help="default: all whose packages are here")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement, after the start")
    parser.add_argument("--rounds", type=int, default=2, help="measurements in turns of the tuned one and the best")
    parser.add_argument("--measure", action="store_true", help="tune with short trainings, as `sfmarl tune --measure`")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()

    results = []
    args.results.mkdir(parents=True, exist_ok=True)
    for work in args.works or [work for work in WORKS if _is_installed(work)]:
        results.append(measure(work, args.seconds, args.rounds, args.measure))
        print(table(results[-1:]), flush=True)
        record = {
            "command": " ".join(["python", "benchmarks/tuning.py", *sys.argv[1:]]),
            "machine": machine.describe(),
            "results": [asdict(result) | {"share": result.share} for result in results],
        }
        (args.results / "tuning.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.results / "tuning.md").write_text(page(record, results))


def _is_installed(work: str) -> bool:
    return work != "connect_four" or importlib.util.find_spec("pygame") is not None


def configure(work: str) -> Config:
    """Return the settings of one work, as a user would give them."""
    hp = replace(get_algorithm("appo").hyperparameters(), epochs=1, minibatches=1, target_kl=0.0)
    return Config(algo="appo", hp=hp, device="cpu", **WORKS[work])


def grid(config: Config) -> Iterator[Config]:
    """Yield the hand-set configurations that can run."""
    cores = len(os.sched_getaffinity(0))
    workers = sorted({max(1, cores // 2), cores, 2 * cores})
    for count, envs, (placement, splits) in product(workers, ENVS_PER_WORKER, ARRANGEMENTS):
        chosen = {"num_workers": count, "num_envs_per_worker": envs, "num_splits": splits, "inference": placement}
        if count * envs > MOST_ENVS_PER_CORE * cores:
            continue
        try:
            check_run(configured := replace(config, **chosen))
        except UsageError:
            continue  # too few envs for the batch
        yield configured


def measure(work: str, seconds: float, rounds: int, trials: bool) -> Result:
    """Measure one work: tuning, the grid, then both in turns."""
    config = configure(work)
    tuning = tune(config, {"batch_size"}, trials=TRIALS if trials else 0, tell=_tell)
    _tell("\n".join(tuning.lines()))
    runs: list[tuple[float, Config]] = []
    for hand_set in grid(config):
        runs.append((measure_training(hand_set, seconds), hand_set))
        _tell(f"{work}: {runs[-1][0]:>10,.0f} agent-steps/s  {_words(settings(hand_set))}")
    runs.sort(key=lambda run: -run[0])
    best, tuned = [], []
    for _ in range(rounds):
        tuned.append(measure_training(tuning.config, seconds))
        best.append(measure_training(runs[0][1], seconds))
    return Result(
        work=work,
        grid=[Run(settings(hand_set), rate) for rate, hand_set in runs],
        tuned=settings(tuning.config),
        expected=tuning.best.agent_steps_per_second,
        best_again=best,
        tuned_again=tuned,
    )


def settings(config: Config) -> dict[str, Any]:
    """Return what tuning chooses."""
    return {name: getattr(config, name) for name in TUNED}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(chosen: dict[str, Any]) -> str:
    text = f"{chosen['num_workers']} x {chosen['num_envs_per_worker']} envs, {chosen['num_splits']} splits, "
    servers = f" x {chosen['num_inference_workers']}" if chosen["inference"] == "worker" else ""
    return f"{text}{chosen['inference']}{servers}"


def table(results: list[Result]) -> str:
    """Return the comparison as Markdown."""
    lines = [
        "| work | tuned | agent-steps/s | expected | best of the grid | agent-steps/s | worst | tuned / best | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        tuned, best = statistics.median(r.tuned_again), statistics.median(r.best_again)
        lines.append(
            f"| {r.work} | {_words(r.tuned)} | {tuned:,.0f} | {r.expected:,.0f} | {_words(r.grid[0].settings)} "
            f"| {best:,.0f} | {r.grid[-1].agent_steps_per_second:,.0f} | {r.share:.0%} "
            f"| {'ok' if r.share >= GOAL else 'below the goal'} |"
        )
    return "\n".join(lines)


def page(record: dict[str, Any], results: list[Result]) -> str:
    """Return the whole report."""
    parts = [
        "# Tuning",
        "",
        "What `sfmarl tune` chose beside the best of a grid of hand-set configurations: valid agent-steps/s of "
        "asynchronous appo, 1 epoch, learner running, the same batch size for all of a work. Both were measured again "
        f"in turns after the grid. Goal: at least {GOAL:.0%}.",
        "",
        table(results),
        "",
    ]
    for r in results:
        parts += [f"## {r.work}, batch of {r.tuned['batch_size']:,} agent-steps", ""]
        parts += ["| configuration | agent-steps/s |", "|---|---|"]
        parts += [f"| {_words(run.settings)} | {run.agent_steps_per_second:,.0f} |" for run in r.grid]
        parts.append("")
    parts += [f"Machine: {machine.sentence(record['machine'])}. Printed by `{record['command']}`.", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
