"""Wall-clock to the score of `make train`: sfmarl on native simple_spread against Sample Factory on mpe2's.

    python benchmarks/to_score.py
    python benchmarks/to_score.py --seeds 1 --sf-full -- --num-workers 1 --epochs 4

Trains MAPPO of launch/spread_mappo.py on the native simple_spread, which is mpe2's step by step, and evaluates it
greedily while it trains. The time to the score is the time from the start of the process until an evaluation that
reached it was over; what follows `--` overrides settings of the training. Sample Factory does the same number of
env-steps as each of these runs, on mpe2's simple_spread in the settings of compare_peers.py; its rate is measured
(`--sf-full`: all steps of a whole run are done) and its time is start to first update + agent-steps / rate. Whether it
reaches the score is not asked.
Results go to results/to_score.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import psutil
from peers.measuring import PeerFailed, seconds_until
from peers.systems import SYSTEMS, command, run
from peers.venvs import ensure, versions
from peers.works import WORKS
from suites import launch_config

from sfmarl import Callback, Config, register_callback, train
from sfmarl.command.arguments import parse_config
from sfmarl.errors import SfmarlError, UsageError
from sfmarl.evaluation.result import Evaluation
from sfmarl.run.callbacks import Run

HERE = Path(__file__).resolve().parent
PEER = "sf-arrays"
"""Batched sampling is its fastest setting, and this adapter never the slower one."""
WARM_UP_SECONDS = 10.0


def main() -> int:
    """Measure, print, write; return the exit code."""
    imports = time.time() - psutil.Process().create_time()
    own, settings = split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--score", type=float, default=-30.0, help="greedy team return to reach")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--sf-seconds", type=float, default=15.0, help="least length of a window of Sample Factory's")
    parser.add_argument("--sf-full", action="store_true", help="let Sample Factory do all env-steps")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="where Sample Factory is installed")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args(own)
    args.venvs = args.venvs.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure(args, config_of(settings), imports)
    except SfmarlError as error:
        print(f"to_score: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    return 0


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before and after `--`."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def config_of(settings: list[str]) -> Config:
    """Return the training's settings, as `make train`'s but native and with evaluations as exact as its last one."""
    default = replace(
        launch_config("spread_mappo"),
        env="native/simple_spread",
        num_envs_per_worker=64,
        eval_env_steps=100_000,
        eval_episodes=200,
        final_eval_episodes=200,
        checkpoint_seconds=1e9,
        quiet=True,
    )
    return parse_config(settings, "to_score.py --", default)


def measure(args: argparse.Namespace, config: Config, imports: float) -> None:
    """Train with every seed, measure Sample Factory, report.

    `imports` are the seconds from the start of this process to its first line, which count in every seed's time as they
    do in Sample Factory's.
    """
    busy = psutil.cpu_percent(interval=1.0)
    if busy > 10:
        print(f"warning: other programs take {busy:.0f} % of this machine; ratios will suffer", file=sys.stderr)
    runs = []
    for seed in args.seeds:
        print(f"sfmarl, seed {seed}", file=sys.stderr, flush=True)
        runs.append(to_score(replace(config, seed=seed), args.score, time.time() - imports))
    print(SYSTEMS[PEER].title, file=sys.stderr, flush=True)
    try:
        peer = peer_seconds(config.env_steps, args.venvs, args.sf_seconds, args.sf_full)
    except PeerFailed as error:
        peer = {"error": str(error)}
    record = {
        "command": " ".join(["python", "benchmarks/to_score.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "busy_before": busy,
        "score": args.score,
        "settings": {"env": config.env, "algo": config.algo, "env_steps": config.env_steps,
                     "workers": config.num_workers, "envs_per_worker": config.num_envs_per_worker,
                     "epochs": config.hp.epochs, "minibatches": config.hp.minibatches},
        "runs": runs,
        "peer": peer,
    }  # fmt: skip
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "to_score.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "to_score.md").write_text(page(record))
    print(table(record))


class Clock(Callback):
    """Notes when evaluations came in and how they ended."""

    def __init__(self, began: float) -> None:
        """`began` is when the process was started, in seconds of the epoch."""
        self.began = began
        self.startup = 0.0
        self.evaluations: list[tuple[float, int, float]] = []
        """(seconds since the start, env-steps so far, score), oldest first; the final one too."""

    def on_start(self, run: Run) -> None:
        """Note what training seconds do not count."""
        self.startup = time.time() - self.began - run.wall_seconds

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Note."""
        self.evaluations.append((time.time() - self.began, self.run.env_steps, evaluation.score))


def to_score(config: Config, score: float, began: float) -> dict[str, Any]:
    """Train once and return when the score was reached and how long all of it took, in plain JSON types."""
    clock = Clock(began)
    register_callback(f"clock-{config.seed}", lambda: clock)
    with tempfile.TemporaryDirectory(prefix="sfmarl-to-score-") as folder:
        config = replace(config, callbacks=(*config.callbacks, f"clock-{config.seed}"), run_dir=Path(folder) / "run")
        with redirect_stdout(sys.stderr):  # the run's closing lines
            summary = train(config).summary
    reached = next(((seconds, steps) for seconds, steps, got in clock.evaluations if got >= score), None)
    return {
        "seed": config.seed,
        "seconds_to_score": reached and reached[0],
        "env_steps_to_score": reached and reached[1],
        "seconds_of_all": clock.startup + summary["wall_seconds"],
        "env_steps": summary["env_steps"],
        "final": summary["evaluation"]["teams"] if summary["evaluation"] else None,
        "evaluations": clock.evaluations,
    }


def peer_seconds(env_steps: int, venvs: Path, seconds: float, full: bool) -> dict[str, Any]:
    """Return how long Sample Factory takes for `env_steps` on mpe2's simple_spread. Raises PeerFailed."""
    work, cores = WORKS["spread"], len(os.sched_getaffinity(0))
    about = {"system": SYSTEMS[PEER].title, "settings": SYSTEMS[PEER].arguments(work, cores), "full": full,
             "versions": versions("sample-factory", ensure("sample-factory", venvs))}  # fmt: skip
    agent_steps = env_steps * work.agents
    if full:
        with command(PEER, work, cores, venvs) as words:
            rate = agent_steps / seconds_until(agent_steps, *words)
        return about | {"first_update_seconds": 0.0, "agent_steps_per_second": rate, "batch": 0}
    figures = run(PEER, work, cores, venvs, WARM_UP_SECONDS, seconds)
    return about | figures | {"batch": work.batch_size}


def peer_time(peer: dict[str, Any], env_steps: int) -> float:
    """Return Sample Factory's seconds from its start until it has done `env_steps`."""
    rest = max(0, env_steps * WORKS["spread"].agents - peer["batch"]) / peer["agent_steps_per_second"]
    return peer["first_update_seconds"] + rest


def table(record: dict[str, Any]) -> str:
    """Return the comparison: a row per seed and the median of the ratios."""
    peer, runs, score = record["peer"], record["runs"], record["score"]
    lines = [
        f"| | seconds to >= {score:g} | env-steps by then | Sample Factory: seconds for as many | ratio "
        "| seconds of all | env-steps of all | score at the end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for run_ in runs:
        final = " ".join(f"{t['mean']:.1f} ± {t['half_width']:.1f}" for t in (run_["final"] or {}).values())
        reached, theirs = "not reached | -", "- | -"
        if run_["seconds_to_score"] is not None:
            reached = f"{run_['seconds_to_score']:.1f} | {run_['env_steps_to_score']:,}"
            if "error" not in peer:
                seconds = peer_time(peer, run_["env_steps_to_score"])
                ratios.append(seconds / run_["seconds_to_score"])
                theirs = f"{seconds:.1f} | {ratios[-1]:.1f}"
        lines.append(
            f"| sfmarl, seed {run_['seed']} | {reached} | {theirs} | {run_['seconds_of_all']:.1f} | "
            f"{run_['env_steps']:,} | {final} |"
        )
    if "error" in peer:
        return "\n".join([*lines, "", f"Sample Factory failed: {peer['error'].replace('|', '/')}"])
    summary = f"{len(ratios)} of {len(runs)} seeds reached the score"
    if ratios:
        summary += f"; the median of their ratios is {statistics.median(ratios):.1f}"
    rate = f"{peer['system']}: {peer['agent_steps_per_second']:,.0f} agent-steps/s"
    return "\n".join([*lines, "", f"{summary}. {rate}."])


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    peer = record["peer"]
    how = "all env-steps of a whole run were done" if peer.get("full") else (
        "start to first update + agent-steps / rate, the rate being the median of three windows"
    )  # fmt: skip
    described = [", ".join(f"{k} {v}" for k, v in peer.get(part, {}).items()) for part in ("settings", "versions")]
    return "\n".join(
        [
            "# Wall-clock to the score of `make train`",
            "",
            "sfmarl on native simple_spread, N = 3 (mpe2's, step by step), against Sample Factory doing as many "
            "env-steps on mpe2's. Score: undiscounted team return of the greedy policy, 200 episodes, evaluated while "
            "training goes on; random play scores -80. Seconds count from the start of the run and include starting "
            "processes and, for the score, evaluating it.",
            "",
            table(record),
            "",
            f"* sfmarl: {', '.join(f'{k} {v}' for k, v in record['settings'].items())}",
            f"* Sample Factory: {'; '.join(described)}; {how}. Its score is not part of the comparison.",
            "",
            f"Machine: {machine.sentence(record['machine'])}. Before, other programs took "
            f"{record['busy_before']:.0f} % of it. Printed by `{record['command']}`; data in `to_score.json`.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
