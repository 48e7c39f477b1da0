"""Connect Four by league and by latest-only self-play of equal budget, in one tournament.

    python benchmarks/connect_four_league.py
    python benchmarks/connect_four_league.py --seeds 1 --env-steps 200000 --games 10 --mcts 10 --results /tmp/try

Trains launch/connect_four_league.py with every seed as it is and with `--matchmaker latest --self-play 1.0`. Then, for
each seed, three tournaments with sampled actions and both seats: every snapshot of both runs against random play, which
dates the moment at which a score was reached; the final policies against the snapshots of the league; the final
policies, random play and OpenSpiel's MCTS. Results go to results/connect_four_league.json, .md and .png; a seed that is
there is skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
from connect_four_report import draw, page, table
from suites import launch_config

from sfmarl import train
from sfmarl.results.tournament import tournament

HERE = Path(__file__).resolve().parent
VARIANTS = ("league", "latest")


def main() -> int:
    """Train, play, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--env-steps", type=int, help="of every training [the recipe's]")
    parser.add_argument("--games", type=int, default=200, help="per ordered pair of policies")
    parser.add_argument("--mcts", type=int, default=50, help="games per ordered pair where MCTS plays")
    parser.add_argument("--workers", type=int, default=2, help="processes of a tournament")
    parser.add_argument("--force", action="store_true", help="do anew what is in the JSON already")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run directories go")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON, table and picture go")
    args = parser.parse_args()
    path = args.results / "connect_four_league.json"
    record = json.loads(path.read_text()) if path.exists() else {"seeds": {}}
    for seed in args.seeds:
        if str(seed) in record["seeds"] and not args.force:
            print(f"seed {seed} is in {path} already")
            continue
        record["seeds"][str(seed)] = measure(seed, args)
        record |= {
            "command": " ".join(["python", "benchmarks/connect_four_league.py", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine.describe(),
            "games": args.games,
            "mcts_games": args.mcts,
        }
        args.results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".md").write_text(page(record))
        draw(record, path.with_suffix(".png"))
    print(table(record))
    return 0


def measure(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train both ways with one seed and return what the tournaments found, in plain JSON types."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    runs = {name: args.runs / f"connect-four-{name}-s{seed}-{stamp}" for name in VARIANTS}
    trained = {name: train_one(name, run_dir, seed, args.env_steps) for name, run_dir in runs.items()}
    league, latest = (f"{name}={run_dir}@latest" for name, run_dir in runs.items())
    print(f"seed {seed}: tournaments", flush=True)
    snapshots = [f"{run_dir}@snapshots" for run_dir in runs.values()]
    found = {
        "own": play([league, latest, snapshots[0], "random"], args.games, seed, args.workers),
        "mcts": play([league, latest, "random", "mcts:50", "mcts:200"], args.mcts, seed, args.workers),
    }
    for name, run_dir in runs.items():
        trained[name]["curve"] = curve(run_dir, args.games, seed, args.workers)
    return {"runs": trained} | found


def train_one(variant: str, run_dir: Path, seed: int, env_steps: int | None) -> dict[str, Any]:
    """Train once; return the budget and what it took."""
    config = launch_config("connect_four_league")
    league = config.league
    if variant == "latest":
        league = replace(league, matchmaker="latest", self_play=1.0)
    config = replace(config, league=league, seed=seed, run_dir=run_dir, quiet=True)
    if env_steps:
        config = replace(config, env_steps=env_steps, league=replace(league, snapshot_env_steps=env_steps // 20))
    print(f"seed {seed}: {variant}", flush=True)
    summary = train(config).summary
    keys = ("env_steps", "agent_steps", "wall_seconds", "agent_steps_per_second", "env_steps_per_second")
    return {key: summary[key] for key in keys}


def play(players: list[str], games: int, seed: int, workers: int) -> dict[str, Any]:
    """Return a tournament's result; the first player is the champion."""
    result = tournament(players, games=games, seed=seed, workers=workers)
    print(result, flush=True)
    return result.to_json()


def curve(run_dir: Path, games: int, seed: int, workers: int) -> list[dict[str, float]]:
    """Return the win rate of every snapshot against random play over env-steps and wall-clock."""
    players = [f"{run_dir}@latest", "random", f"{run_dir}@snapshots"]
    found = tournament(players, games=games, seed=seed, workers=workers)
    names, told = found.names, found.to_json()
    clock = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    against = names.index("random")
    points = []
    for number, player in enumerate(told["players"]):
        if player.get("env_steps") is None:
            continue
        steps = player["env_steps"]
        seconds = next((r["wall_seconds"] for r in clock if r["env_steps"] >= steps), clock[-1]["wall_seconds"])
        points.append(
            {
                "env_steps": steps,
                "wall_seconds": seconds,
                "win_rate": told["win_rate"][number][against],
                "low": told["win_rate_low"][number][against],
                "high": told["win_rate_high"][number][against],
            }
        )
    return sorted(points, key=lambda point: point["env_steps"])


if __name__ == "__main__":
    sys.exit(main())
