"""How fast one core steps the native particle scenarios, beside mpe2's behind the adapter, in one run.

    python benchmarks/native_envs.py
    python benchmarks/native_envs.py --scenarios simple_tag_v3 --envs 128

Random discrete actions, automatic resets, observations written to rows as in a rollout worker; CPU time, the two sides
taking turns; medians of three. Results go to results/native_envs.json and .md.
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
from timing import cpu_seconds, medians

from sfmarl.config import Config
from sfmarl.envs.mpe import SCENARIOS
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.threads import use_threads

HERE = Path(__file__).resolve().parent
EPISODE = 25
ROUNDS = 3
MPE2_ENVS = 8
"""Its speed does not depend on how many there are."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="mpe2's modules")
    parser.add_argument("--envs", nargs="+", type=int, default=[32, 256], help="native worlds stepped at once")
    parser.add_argument("--episodes", type=int, default=40, help="episodes of every native world in one measurement")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    use_threads(1)
    busy = machine.busy_percent()
    rows = []
    for module in args.scenarios:
        rows.append(measure(module, args.envs, args.episodes))
        print(lines([rows[-1]])[-1], flush=True)
    record = {
        "command": " ".join(["python", "benchmarks/native_envs.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "mpe2": metadata.version("mpe2"),
        "busy_before": busy,
        "rows": rows,
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
    return {"scenario": module, "mpe2": original, "native": dict(zip(map(str, envs), rates, strict=True))}


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
    return "\n".join(
        [
            "# Native particle scenarios",
            "",
            "Env-steps per second of one core with random actions: mpe2 behind the PettingZoo adapter, and the native "
            f"scenario with as many worlds at once as the column says. CPU time, medians of {ROUNDS}; in brackets the "
            "ratio to mpe2.",
            "",
            *lines(record["rows"]),
            "",
            f"Machine: {machine.sentence(record['machine'])}, mpe2 {record['mpe2']}. Before the measurement other "
            f"programs took {record['busy_before']:.0f} % of it. Printed by `{record['command']}`; data in "
            "`native_envs.json`.",
            "",
        ]
    )


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table."""
    counts = list(rows[0]["native"])
    table = [
        f"| scenario | mpe2 | {' | '.join(f'native, {count} worlds' for count in counts)} |",
        "|---" * (2 + len(counts)) + "|",
    ]
    for row in rows:
        rates = (f"{rate:,.0f} ({rate / row['mpe2']:.0f} x)" for rate in row["native"].values())
        table.append(f"| {row['scenario']} | {row['mpe2']:,.0f} | {' | '.join(rates)} |")
    return table


if __name__ == "__main__":
    main()
