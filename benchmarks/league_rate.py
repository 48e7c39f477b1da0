"""What a league costs: its throughput beside plain self-play on the same game with the same settings, in turns.

    python benchmarks/league_rate.py
    python benchmarks/league_rate.py --env native/tic_tac_toe native/rock_paper_scissors --inference local

Both train the same player (APPO, 1 epoch, 1 minibatch). In plain self-play both seats learn. The league has the
settings of `sfmarl league`: self-play, frozen opponents by PFSP, evaluation matches; its pool begins with more
snapshots than can be live at a time, made by a short league before. `learning` are agent-steps that reach a learner,
`frozen` moves of everybody else; scripts, which act only in evaluation matches, are among these. CPU time per
agent-step, learning or frozen, says what a step costs whatever else the machine does. Medians over the turns.
Results go to results/league_rate.json and .md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import machine
from process_times import PREFIX

from sfmarl import Config, train
from sfmarl.algorithms import get_algorithm
from sfmarl.config import LeagueConfig
from sfmarl.envs.registry import load_spec

HERE = Path(__file__).resolve().parent
WARM_UP_SECONDS = 8.0
"""Processes have started, the first updates are made and the pool's snapshots live by then."""
SEED_SNAPSHOTS = 24
"""At least so many snapshots the pool begins with."""
SEED_ENV_STEPS = 2_000
"""Env-steps between these."""
ROLES = ("main", "rollout", "inference", "learner")


@dataclass(frozen=True)
class Rate:
    """One training's throughput after the warm-up."""

    learning: float
    """Agent-steps/s of learning players."""
    frozen: float
    """Moves/s of everybody else."""
    cpu: dict[str, float]
    """CPU microseconds per agent-step, learning or frozen, by role of the process."""

    @property
    def total(self) -> float:
        """Agent-steps/s of all."""
        return self.learning + self.frozen

    @property
    def cpu_total(self) -> float:
        """CPU microseconds per agent-step of all processes."""
        return sum(self.cpu.values())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=["native/connect_four"])
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128], help="units of the hidden layers")
    parser.add_argument("--workers", type=int, default=0, help="rollout workers [one per core, at least 2]")
    parser.add_argument("--envs-per-worker", type=int, default=Config.num_envs_per_worker)
    parser.add_argument("--splits", type=int, default=Config.num_splits)
    parser.add_argument("--inference", choices=["worker", "local"], default=Config.inference)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a training, after its warm-up")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()

    found: dict[str, dict[str, list[Rate]]] = {}
    lines: list[str] = []
    for env in args.env:
        with tempfile.TemporaryDirectory() as folder:
            found[env] = measure(settings(env, args), Path(folder), args.seconds, args.turns)
        lines += table(env, found[env])
        print("\n".join(lines[-len(found[env]) - 5 :]), flush=True)
    command = " ".join(["python", "benchmarks/league_rate.py", *sys.argv[1:]])
    args.results.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command,
        "machine": machine.describe(),
        "results": {env: {kind: [asdict(rate) for rate in turns] for kind, turns in kinds.items()}
                    for env, kinds in found.items()},
    }  # fmt: skip
    (args.results / "league_rate.json").write_text(json.dumps(record, indent=1) + "\n")
    about = __doc__.split("\n\n")[2].replace("\n", " ")
    head = ["# A league beside plain self-play", "", f"`{command}`; {machine.sentence(machine.describe())}.", "", about]
    (args.results / "league_rate.md").write_text("\n".join([*head, *lines]) + "\n")


def settings(env: str, args: argparse.Namespace) -> Config:
    """Return the settings both have."""
    hp = get_algorithm("appo").hyperparameters()
    return Config(
        env=env,
        algo="appo",
        hp=replace(hp, epochs=1, minibatches=1, target_kl=0.0, hidden=tuple(args.hidden)),
        env_steps=10**12,
        num_workers=args.workers,
        num_envs_per_worker=args.envs_per_worker,
        num_splits=args.splits,
        inference=args.inference,
        callbacks=("process_times:ProcessTimes",),
        eval_env_steps=0,
        final_eval_episodes=0,
        checkpoint_seconds=1e9,
        quiet=True,
    )


def measure(config: Config, folder: Path, seconds: float, turns: int) -> dict[str, list[Rate]]:
    """Train in turns: plain, league, plain, league, ..."""
    env = load_spec(config)
    plain = replace(config, policies={team.name: "main" for team in env.teams})
    moves = 1 if env.turn_based else sum(len(team.agents) for team in env.teams)
    seed = replace(
        config,
        league=LeagueConfig(snapshot_env_steps=SEED_ENV_STEPS),
        env_steps=SEED_SNAPSHOTS * SEED_ENV_STEPS,
        run_dir=folder / "seed",
    )
    train(seed)
    league = replace(config, league=LeagueConfig(seed_pool=(str(folder / "seed"),)))
    kinds = {"plain self-play": plain, "league": league}
    found: dict[str, list[Rate]] = {kind: [] for kind in kinds}
    for turn in range(turns):
        for kind, of_kind in kinds.items():
            found[kind].append(rate(replace(of_kind, run_dir=folder / f"{turn}-{kind.split()[0]}"), moves, seconds))
    return found


def rate(config: Config, moves: int, seconds: float) -> Rate:
    """Train once. `moves` are those of one env-step."""
    config.log_seconds = seconds
    config.wall_seconds = WARM_UP_SECONDS + 2 * seconds
    records = train(config).metrics()
    # from the first record after the warm-up on; those at the very end cover less than a window
    before, after = next(
        pair
        for pair in pairwise(records)
        if pair[0]["wall_seconds"] >= WARM_UP_SECONDS
        and pair[1]["wall_seconds"] - pair[0]["wall_seconds"] >= 0.9 * seconds
    )
    wall = after["wall_seconds"] - before["wall_seconds"]
    steps = moves * (after["env_steps"] - before["env_steps"])
    learning = after["agent_steps"] - before["agent_steps"]
    cpu = {role: 1e6 * (after[PREFIX + role] - before[PREFIX + role]) / steps for role in ROLES}
    return Rate(learning / wall, (steps - learning) / wall, cpu)


def table(env: str, found: dict[str, list[Rate]]) -> list[str]:
    """Return a Markdown table of one game."""
    lines = [
        f"\n{env}\n",
        "| | learning, agent-steps/s | frozen | together | of plain | CPU us per agent-step | of plain "
        f"| {' | '.join(ROLES)} |",
        "|---" * (7 + len(ROLES)) + "|",
    ]
    plain = found["plain self-play"]
    for kind, turns in found.items():
        share = statistics.median(turn.total / other.total for turn, other in zip(turns, plain, strict=True))
        cost = statistics.median(turn.cpu_total / other.cpu_total for turn, other in zip(turns, plain, strict=True))
        roles = " | ".join(f"{statistics.median(turn.cpu[role] for turn in turns):.1f}" for role in ROLES)
        lines.append(
            f"| {kind} | {statistics.median(turn.learning for turn in turns):,.0f} "
            f"| {statistics.median(turn.frozen for turn in turns):,.0f} "
            f"| {statistics.median(turn.total for turn in turns):,.0f} | {share:.2f} "
            f"| {statistics.median(turn.cpu_total for turn in turns):.1f} | {cost:.2f} | {roles} |"
        )
    return lines


if __name__ == "__main__":
    main()
