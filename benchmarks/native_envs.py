"""How fast one core steps native environments, beside those they are copies of, in one run.

    python benchmarks/native_envs.py
    python benchmarks/native_envs.py --scenarios simple_tag_v3 --games connect_four --envs 128
    python benchmarks/native_envs.py --scenarios      # no particle world, all board games

Particle scenarios beside mpe2's behind the adapter: random discrete actions, automatic resets, observations written to
rows as in a rollout worker. Board games beside PettingZoo's own loop, `last()` and `step()`, which writes nothing:
random legal moves drawn beforehand, automatic resets, every mover's observation and mask. CPU time, the sides taking
turns; medians of three. Results go to results/native_envs.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import machine
import numpy as np
from bare_env import env_work
from timing import cpu_seconds, medians

from sfmarl.config import Config
from sfmarl.envs.mpe import SCENARIOS
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.threads import use_threads

HERE = Path(__file__).resolve().parent
EPISODE = 25
ROUNDS = 3
MPE2_ENVS = PETTINGZOO_ENVS = 8
"""Their speed does not depend on how many there are."""
GAMES = {"connect_four": "pettingzoo.classic.connect_four_v3", "tic_tac_toe": "pettingzoo.classic.tictactoe_v3"}
"""Native game -> what it is a copy of."""
GAME_TURNS = 512
"""Turns of every native copy in one measurement: about 24 games of Connect Four."""
PETTINGZOO_TURNS = 256
"""Turns of each of PettingZoo's games in one measurement."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="*", choices=SCENARIOS, default=list(SCENARIOS), help="mpe2's modules")
    parser.add_argument("--games", nargs="*", choices=GAMES, default=list(GAMES), help="native board games")
    parser.add_argument("--envs", nargs="+", type=int, default=[32, 256], help="native copies stepped at once")
    parser.add_argument("--episodes", type=int, default=40, help="episodes of every native world in one measurement")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    use_threads(1)
    busy = machine.busy_percent()
    rows, games = [], []
    for module in args.scenarios:
        rows.append(measure(module, args.envs, args.episodes))
        print(lines([rows[-1]])[-1], flush=True)
    for game in args.games:
        games.append(measure_game(game, args.envs))
        print(lines([games[-1]])[-1], flush=True)
    record = {
        "command": " ".join(["python", "benchmarks/native_envs.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "mpe2": metadata.version("mpe2"),
        "pettingzoo": metadata.version("pettingzoo"),
        "busy_before": busy,
        "rows": rows,
        "games": games,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "native_envs.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "native_envs.md").write_text(page(record))


def measure(module: str, envs: list[int], episodes: int) -> dict[str, Any]:
    """Return env-steps/s of one scenario: mpe2's, and the native one's with each number of worlds."""
    native = f"native/{module.rpartition('_')[0]}"
    works = [episodes_of(f"mpe2.{module}", MPE2_ENVS, 2), *(episodes_of(native, count, episodes) for count in envs)]
    seconds = medians([partial(cpu_seconds, work) for work, _ in works], ROUNDS)
    original, *rates = [steps / second for (_, steps), second in zip(works, seconds, strict=True)]
    return {"name": module, "original": original, "native": dict(zip(map(str, envs), rates, strict=True))}


def measure_game(game: str, envs: list[int]) -> dict[str, Any]:
    """Return turns/s of one board game: PettingZoo's, and the native one's with each number of copies."""
    works = [turns_of(GAMES[game], PETTINGZOO_ENVS, PETTINGZOO_TURNS)]
    works += [turns_of(f"native/{game}", count, GAME_TURNS) for count in envs]
    rates = [1 / seconds for seconds in medians([partial(seconds_per_turn, work) for work in works], ROUNDS)]
    return {"name": game, "original": rates[0], "native": dict(zip(map(str, envs), rates[1:], strict=True))}


def turns_of(name: str, num_envs: int, turns: int) -> Callable[[], int]:
    """Return a run of about `turns` turns in each of `num_envs` copies, which returns how many it took in all."""
    work = env_work(Config(name), num_envs, seed=0)
    return lambda: sum(work() for _ in range(turns))


def seconds_per_turn(run: Callable[[], int]) -> float:
    """Return the CPU time of one turn."""
    taken: list[int] = []
    return cpu_seconds(lambda: taken.append(run())) / taken[0]


def episodes_of(name: str, num_envs: int, episodes: int) -> tuple[Callable[[], None], int]:
    """Return a run of `episodes` episodes in each of `num_envs` copies, and its env-steps."""
    env = make_vector_env(Config(name), num_envs, range(num_envs))
    rng = np.random.default_rng(0)
    rows, outcome = new_obs_rows(env.spec, num_envs), new_outcome_rows(env.spec, num_envs)
    actions = [
        [random_actions(team.action, (num_envs, len(team.agents)), rng) for team in env.spec.teams]
        for _ in range(EPISODE)
    ]
    running = np.ones(num_envs, bool)

    def run() -> None:
        for _ in range(episodes):
            env.reset(range(num_envs), rows)
            for moves in actions:
                env.step(moves, running, rows, outcome)

    return run, episodes * EPISODE * num_envs


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    text = ["# Native environments", ""]
    if record["rows"]:
        text += [
            "Particle scenarios, env-steps per second of one core with random actions: mpe2 behind the PettingZoo "
            f"adapter, and the native scenario with as many worlds at once as the column says. CPU time, medians of "
            f"{ROUNDS}; in brackets the ratio to mpe2.",
            "",
            *lines(record["rows"]),
            "",
        ]
    if record["games"]:
        text += [
            "Board games, turns per second of one core with random legal moves: PettingZoo's own loop of `last()` and "
            "`step()`, and the native game with as many copies at once as the column says, observations and masks of "
            f"all movers written. CPU time, medians of {ROUNDS}; in brackets the ratio to PettingZoo.",
            "",
            *lines(record["games"]),
            "",
        ]
    text += [
        f"Machine: {machine.sentence(record['machine'])}, mpe2 {record['mpe2']}, PettingZoo {record['pettingzoo']}. "
        f"Before the measurement other programs took {record['busy_before']:.0f} % of it. Printed by "
        f"`{record['command']}`; data in `native_envs.json`.",
        "",
    ]
    return "\n".join(text)


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table."""
    counts = list(rows[0]["native"])
    table = [
        f"| | original | {' | '.join(f'native, {count} at once' for count in counts)} |",
        "|---" * (2 + len(counts)) + "|",
    ]
    for row in rows:
        rates = (f"{rate:,.0f} ({rate / row['original']:.0f} x)" for rate in row["native"].values())
        table.append(f"| {row['name']} | {row['original']:,.0f} | {' | '.join(rates)} |")
    return table


if __name__ == "__main__":
    main()
