"""sfmarl's throughput beside what the same machine could do, in the same run.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --env all
    python benchmarks/throughput.py --env dict gru --workers 2 --envs-per-worker 128 --seconds 20

Prints valid agent-steps per second of a real asynchronous training, learner running (V-trace, MLP 64-64 tanh, rollout
32, 1 epoch, 1 minibatch; `works.py` says what each work adds), and the roofline of exactly that work (`roofline.py`),
measured before and after it. Three windows after a warm-up, medians. Also: samples learned from times epochs, CPU use
and peak memory, seconds from the start to the first update, rows per forward, policy lag, where each role's time went,
and the data plane's own cost against its budgets (`budgets.py`). Results go to results/throughput.json and .md, where
they replace the same works' of the same machine.
`connect_four` needs `pip install 'sfmarl[classic]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import budgets
import machine
import roofline
import throughput_report
from peak_memory import peak_memory
from roofline import Pieces
from works import WORKS, batch_lanes, configure

from sfmarl import Config, train
from sfmarl.envs.registry import load_spec
from sfmarl.errors import UsageError
from sfmarl.run.plan import make_plan
from sfmarl.run.runner import check_run

HERE = Path(__file__).resolve().parent
WINDOWS = 3
WARM_UP_SECONDS = 8.0
"""Processes have started and the first updates are made by then."""
TURNS = 3
"""Trainings of a work, with a roofline before, between and after them."""
ROUNDS = 2
"""Measurements of each roofline piece in one such place."""
PIECE_SECONDS = 0.6
SETS = {"both": ("spread", "dict"), "all": tuple(WORKS)}


@dataclass(frozen=True)
class Result:
    """One work's training and roofline."""

    work: str
    """Name on the command line."""
    env: str
    """Environment."""
    about: str
    """What is special about it."""
    gate: str
    """Recipe or test in which this kind of policy has to reach a score."""
    settings: dict[str, Any]
    """What decides the speed of the run."""
    pieces: Pieces
    """Bare work, agent-steps/s and core."""
    roofline_torch: float
    """Roofline in agent-steps/s in eager torch."""
    roofline_product: float
    """Roofline with sfmarl's own networks, acting and learning."""
    agent_steps_per_second: float
    """Valid agent-steps/s of sfmarl, median of the trainings."""
    turns: list[float]
    """That of each training."""
    shares_torch: list[float]
    """Each training's fraction of the roofline in eager torch around it."""
    shares_product: list[float]
    """Each training's fraction of the roofline with sfmarl's own networks around it."""
    learned_per_second: float
    """Agent-steps/s that reached an update, once per epoch, median."""
    peak_memory_gib: float
    """Largest memory of all processes together, shared pages counted once."""
    first_update_seconds: float
    """From the call of `train` to the first update of every policy."""
    scalars: dict[str, float]
    """Other metrics of the run, means over the windows."""
    busy_before: float
    """CPU time that other programs were taking before the measurement, percent of the machine."""
    command: str
    """What measured it."""

    @property
    def share(self) -> float:
        """Fraction of the roofline in eager torch, median of the trainings."""
        return statistics.median(self.shares_torch)

    @property
    def share_product(self) -> float:
        """Fraction of the roofline with sfmarl's own networks, median of the trainings."""
        return statistics.median(self.shares_product)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", choices=[*WORKS, *SETS], default=["both"], help="both = spread and dict")
    parser.add_argument("--algo", default="appo", help="preset of works that need none of their own; its epochs are 1")
    parser.add_argument("--workers", type=int, default=0, help="rollout workers [one per core, at least 2]")
    parser.add_argument("--envs-per-worker", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()

    works = list(dict.fromkeys(work for name in args.env for work in SETS.get(name, (name,))))
    settings = (args.algo, args.workers, args.envs_per_worker)
    for work in works:
        try:
            check_run(configure(work, *settings))
        except UsageError as error:
            parser.error(f"{work}: {error}")
    path, described = args.results / "throughput.json", machine.describe()
    recorded = read(path, described)
    for work in works:
        recorded[work] = measure(work, *settings, args.seconds)
        print(throughput_report.table([recorded[work]]), flush=True)
    results = [recorded[work] for work in WORKS if work in recorded]
    dict_api, native = (configure(work, *settings) for work in ("dict", "native"))
    found = budgets.measure([dict_api, native], dict_api, batch_lanes(dict_api)[0], rounds=7)
    print(throughput_report.budget_table(found))

    record = {
        "machine": described,
        "results": [asdict(r) | {"share": r.share, "share_product": r.share_product} for r in results],
        "budgets": [asdict(budget) for budget in found],
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "throughput.md").write_text(throughput_report.page(record, results, found))


def read(path: Path, described: dict[str, Any]) -> dict[str, Result]:
    """Return the results that are recorded in `path`, by work; none if they are of a machine not `described`."""
    record = json.loads(path.read_text()) if path.exists() else {}
    if record.get("machine") != described:
        return {}
    names = {field.name for field in fields(Result)}
    rows = [{name: value for name, value in row.items() if name in names} for row in record["results"]]
    return {row["work"]: Result(**{**row, "pieces": Pieces(**row["pieces"])}) for row in rows}


def measure(work: str, algo: str, workers: int, envs_per_worker: int, seconds: float) -> Result:
    """Measure one work: roofline, training, roofline, training, ..."""
    config = configure(work, algo, workers, envs_per_worker)
    busy = machine.busy_percent()
    lanes, cores = batch_lanes(config), len(os.sched_getaffinity(0))
    around = [roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS)]
    trained: list[list[dict[str, float]]] = []
    peaks: list[float] = []
    for _ in range(TURNS):
        with peak_memory() as peak:
            trained.append(train_windows(config, seconds))
        peaks.append(peak.gib)
        around.append(roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS))
    rates = [_median(windows, "throughput/agent_steps_per_second") for windows in trained]
    near = [roofline.median(before + after) for before, after in pairwise(around)]
    pieces = roofline.median([found for place in around for found in place])
    windows = [record for records in trained for record in records]
    plan = make_plan(config, load_spec(config))
    agents = [1 if plan.env.turn_based else policy.num_agents for policy in plan.policies]
    return Result(
        work=work,
        env=config.env,
        about=WORKS[work].about,
        gate=WORKS[work].gate,
        settings={
            "algo": config.algo,
            "workers": plan.plane.workers,
            "envs_per_worker": config.num_envs_per_worker,
            "splits": config.num_splits,
            "inference": config.inference,
            "rollout": config.rollout,
            "batch_agent_steps": [n * config.rollout * a for n, a in zip(lanes, agents, strict=True)],
            "epochs": config.hp.epochs,
            "minibatches": config.hp.minibatches,
            "learner_threads": plan.learner_threads,
        },
        pieces=pieces,
        roofline_torch=pieces.eager(cores),
        roofline_product=pieces.product(cores),
        agent_steps_per_second=statistics.median(rates),
        turns=rates,
        shares_torch=[rate / pieces.eager(cores) for rate, pieces in zip(rates, near, strict=True)],
        shares_product=[rate / pieces.product(cores) for rate, pieces in zip(rates, near, strict=True)],
        learned_per_second=_median(windows, "throughput/samples_times_epochs_per_second"),
        peak_memory_gib=max(peaks),
        first_update_seconds=_median(windows, "startup/first_update_seconds"),
        scalars={
            name: statistics.mean(record[name] for record in windows)
            for name in windows[0]
            if name.startswith(("time/", "queue/", "policy_lag/", "inference/", "system/", "learner/dropped"))
        },
        busy_before=busy,
        command=" ".join(["python", "benchmarks/throughput.py", *sys.argv[1:]]),
    )


def _median(windows: list[dict[str, float]], name: str) -> float:
    return statistics.median(record[name] for record in windows)


def train_windows(config: Config, seconds: float, warm_up: float = WARM_UP_SECONDS) -> list[dict[str, float]]:
    """Train and return the metric records of the last `WINDOWS` whole windows, each `seconds` long."""
    with tempfile.TemporaryDirectory() as folder:
        config.run_dir = Path(folder) / "run"
        config.log_seconds = seconds
        config.wall_seconds = warm_up + (WINDOWS + 1) * seconds
        records = train(config).metrics()
    # the records at the very end of a run cover less than a window
    whole = [now for before, now in pairwise(records) if now["wall_seconds"] - before["wall_seconds"] >= 0.9 * seconds]
    return whole[-WINDOWS:]


if __name__ == "__main__":
    main()
