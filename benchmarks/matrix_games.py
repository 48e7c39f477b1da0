"""Two learners, each for itself, in games without an obvious way to play: what they do over time, seed by seed.

    python benchmarks/matrix_games.py
    python benchmarks/matrix_games.py --only dilemma --seeds 1 2
    python benchmarks/matrix_games.py --env-steps 20000 --rounds 2000 --results /tmp/try    # does everything run?

Trains launch/prisoners_dilemma.py and launch/matching_pennies.py, and plays matching pennies with the tabular learners
of tabular.py. Every finished part is merged into results/matrix_games.json at once and the report (.md, .png) written
anew; parts that are there are skipped. All parts take about 5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import machine
import matrix_games_report
import numpy as np
from episode_rates import read_rates
from learning import read_runs, write_runs
from matrix_games_report import FLIPS, PLAYERS
from suites import launch_config
from tabular import Learned, averaging_players, q_learners

from sfmarl import Config, train
from sfmarl.envs.matrix.payoffs import matching_pennies

HERE = Path(__file__).resolve().parent
ENVS = 64
"""Copies of a trained game."""
POINTS = 200
"""Points kept of a curve, evenly spaced."""


@dataclass(frozen=True)
class Settings:
    """What all parts of a benchmark have in common."""

    env_steps: int | None
    """Of every training; None: the recipe's own."""
    rounds: int
    """Of tabular learners."""
    runs: Path
    """Where run directories go."""


def main() -> None:
    """Play what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--env-steps", type=int, help="of every training [each recipe's own]")
    parser.add_argument("--rounds", type=int, default=20_000, help="of tabular learners")
    parser.add_argument("--force", action="store_true", help="play anew what is in the JSON already")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON, table and figure go")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run directories go")
    args = parser.parse_args()
    settings = Settings(args.env_steps, args.rounds, args.runs)
    path = args.results / "matrix_games.json"
    for seed in args.seeds:
        for name in args.only:
            if (name, seed) in read_runs(path) and not args.force:
                print(f"{name}, seed {seed} is in {path} already")
                continue
            print(f"{name}, seed {seed}", flush=True)
            about = {"recipe": name, "seed": seed, "machine": machine.describe(), **PARTS[name](name, seed, settings)}
            # read again: another process may have added parts in the meantime
            write_runs(path, read_runs(path) | {(name, seed): about})
    print(matrix_games_report.write(list(read_runs(path).values()), args.results))


def train_dilemma(name: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train launch/prisoners_dilemma.py; curves are cooperation rates over env-steps."""
    return _train(launch_config("prisoners_dilemma"), "cooperate", name, seed, settings)


def train_pennies(name: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train launch/matching_pennies.py; curves are shares of heads."""
    return _train(launch_config("matching_pennies"), "heads", name, seed, settings)


def train_pennies_without_entropy(name: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train it without its entropy bonus."""
    config = launch_config("matching_pennies")
    return _train(replace(config, hp=replace(config.hp, entropy_coef=0.0)), "heads", name, seed, settings)


def tabular(learn: Callable[..., Learned]) -> Callable[[str, int, Settings], dict[str, Any]]:
    """Return what plays matching pennies with tabular learners; curves are probabilities of heads, and flips."""

    def play(name: str, seed: int, settings: Settings) -> dict[str, Any]:
        begin = time.perf_counter()
        learned = learn(matching_pennies(), settings.rounds, seed)
        number = np.arange(1, settings.rounds + 1)
        columns = dict(zip((*PLAYERS, *FLIPS), (*learned.probabilities.T, *learned.flips.T), strict=True))
        heads = (learned.chosen == 0).mean(axis=0)
        return {
            "curves": {key: _kept(np.stack([number, values], axis=1)) for key, values in columns.items()},
            "average": dict(zip(PLAYERS, heads.round(4).tolist(), strict=True)),
            "flips": learned.flips[-1].tolist(),
            "steps": settings.rounds,
            "wall_seconds": round(time.perf_counter() - begin, 1),
        }

    return play


def _train(config: Config, key: str, name: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train and return curves of info `key`, a point for each episode of all copies, and its average over the run."""
    run_dir = settings.runs / f"matrix-{name}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    result = train(
        replace(
            config,
            env_steps=settings.env_steps or config.env_steps,
            seed=seed,
            run_dir=run_dir,
            # one split of one worker: episodes are reported in the order in which they ended
            num_workers=1,
            num_envs_per_worker=ENVS,
            num_splits=1,
            callbacks=(f"episode_rates:EpisodeRates?key={key}",),
            final_eval_episodes=0,
            quiet=True,
        )
    )
    rates = read_rates(run_dir, ENVS)
    env_steps = result.summary["env_steps"] * np.arange(1, len(rates) + 1) / len(rates)
    return {
        "curves": {
            player: _kept(np.stack([env_steps, rate], axis=1)) for player, rate in zip(PLAYERS, rates.T, strict=True)
        },
        "average": dict(zip(PLAYERS, rates.mean(axis=0).round(4).tolist(), strict=True)),
        "flips": None,
        "steps": result.summary["env_steps"],
        "wall_seconds": round(result.summary["wall_seconds"], 1),
    }


def _kept(curve: np.ndarray) -> list[list[float]]:
    """Return at most POINTS of the points [n, 2]."""
    kept = np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).round().astype(int))
    return [[int(x), round(float(y), 4)] for x, y in curve[kept]]


PARTS: dict[str, Callable[[str, int, Settings], dict[str, Any]]] = {
    "dilemma": train_dilemma,
    "pennies": train_pennies,
    "pennies_no_entropy": train_pennies_without_entropy,
    "pennies_q": tabular(q_learners),
    "pennies_averaged": tabular(averaging_players),
}
"""Part -> what plays it with a seed."""


if __name__ == "__main__":
    main()
