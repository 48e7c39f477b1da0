"""One number for a trained run: what it is, on which environment, with what stands beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import leduc

from sfmarl import load_policy, train
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import RunError
from sfmarl.evaluation.evaluate import Evaluation, evaluate, evaluate_run
from sfmarl.players import scripted_teams
from sfmarl.run.runner import TrainResult
from sfmarl.statistics import Interval
from sfmarl.storage.checkpoint import latest
from sfmarl.storage.config_file import read_config

SEED = 1000
"""Of evaluation episodes, the same for every training seed."""


@dataclass(frozen=True)
class Score:
    """The score of the newest checkpoint of one run."""

    metric: str
    """What is measured, in words."""
    env_version: str
    """Package and version of the environment."""
    value: float
    """The score."""
    half_width: float | None
    """Half its 95 % interval over episodes; None when it is computed, not sampled."""
    episodes: int
    """Episodes it is a mean over; 0 when it is computed."""
    beside: dict[str, float] = field(default_factory=dict)
    """Other numbers by name: scores of random play or of the untrained policy, parts of the score."""


Scorer = Callable[[TrainResult, int], Score]
"""(finished run, episodes) -> its score."""


def team_return(result: TrainResult, episodes: int) -> Score:
    """Return of the first team, summed over its agents, greedy."""
    found = _greedy(result, episodes)
    return _score(found, found.teams[_first(found)], "undiscounted team return, greedy")


def common_return(result: TrainResult, episodes: int) -> Score:
    """Return of one agent where all earn the same: mean over agents, greedy."""
    found = _greedy(result, episodes)
    team = found.teams[_first(found)]
    agents = len(found.agents)
    each = Interval(team.mean / agents, team.half_width / agents, team.count)
    return _score(found, each, "undiscounted return of each agent (common reward), greedy")


def above_random(result: TrainResult, episodes: int) -> Score:
    """Return of the first team that learns, greedy; `random`: of random actions against the same scripts."""
    found = _greedy(result, episodes)
    config = read_config(result.run_dir / "config.json")
    spec = load_spec(config)
    scripts = scripted_teams(config, spec, SEED)
    team = next(team for team in spec.teams if team.name not in scripts)
    chance = scripts | {t.name: ScriptedPlayer("random", t, SEED) for t in spec.teams if t.name not in scripts}
    random = evaluate(config, chance, episodes, SEED).teams[team.name]
    metric = f"undiscounted return, sum over team `{team.name}`, greedy"
    return _score(found, found.teams[team.name], metric, {"random": random.mean, "random ±": random.half_width})


def above_start(result: TrainResult, episodes: int) -> Score:
    """Return of the first team, greedy; `start`: of the same seed's networks before the first update; `random`."""
    found = _greedy(result, episodes, random_baseline=True)
    team = _first(found)
    before = _greedy(_untrained(result), episodes).teams[team]
    random = found.baseline.teams[team]
    beside = {"start": before.mean, "start ±": before.half_width, "random": random.mean}
    return _score(found, found.teams[team], "undiscounted team return, greedy", beside)


def both_seats_against_random(result: TrainResult, episodes: int) -> Score:
    """Share of points in a game of two against random legal moves, half of the games in each seat, greedy.

    A win (return 1) is a point, a draw half a point.
    """
    config = read_config(result.run_dir / "config.json")
    policy = load_policy(result.run_dir, checkpoint="latest", seed=SEED)
    teams = load_spec(config).teams
    seats: dict[str, Interval] = {}
    for seat in teams:
        players = {
            team.name: policy.by_team[team.name] if team is seat else ScriptedPlayer("random", team, SEED)
            for team in teams
        }
        found = evaluate(config, players, episodes // len(teams), SEED)
        seats[seat.name] = found.teams[seat.name]
    points = sum((seat.mean + 1) / 2 for seat in seats.values()) / len(seats)
    half = math.hypot(*(seat.half_width / 2 for seat in seats.values())) / len(seats)
    count = sum(seat.count for seat in seats.values())
    metric = "points against random moves, (wins + draws / 2) / games, both seats, greedy"
    beside = {f"as {name}": (seat.mean + 1) / 2 for name, seat in seats.items()}
    return _score(found, Interval(points, half, count), metric, beside)


def leduc_nash_conv(result: TrainResult, episodes: int) -> Score:
    """NashConv in open_spiel's leduc_poker, computed over the whole game; `uniform`: of the uniform policy."""
    value = leduc.nash_conv(latest(result.run_dir).read_policy("main"))
    return Score(
        metric="NashConv (both players' gains by best responses, exploitability x 2), sampled play, lower is better",
        env_version=leduc.version(),
        value=value,
        half_width=None,
        episodes=0,
        beside={"uniform": leduc.UNIFORM},
    )


def _greedy(result: TrainResult, episodes: int, **settings: Any) -> Evaluation:
    return evaluate_run(result.run_dir, episodes, seed=SEED, checkpoint="latest", **settings)


def _first(found: Evaluation) -> str:
    return next(iter(found.teams))


def _score(found: Evaluation, value: Interval, metric: str, beside: dict[str, float] | None = None) -> Score:
    half = value.half_width if math.isfinite(value.half_width) else None
    return Score(metric, found.env_version, value.mean, half, value.count, beside or {})


def _untrained(result: TrainResult) -> TrainResult:
    """Return a run with the settings and the seed of `result` that ended before its first update."""
    config = read_config(result.run_dir / "config.json")
    start = train(
        replace(
            config,
            run_dir=result.run_dir.with_name(f"{result.run_dir.name}-start"),
            mode="serial",
            batch_size=0,
            env_steps=1,
            eval_env_steps=0,
            final_eval_episodes=0,
            quiet=True,
        )
    )
    versions = start.policy("latest").policy_versions
    # 1 is what a learner publishes before it has learned anything
    if set(versions.values()) != {1}:
        raise RunError(f"{start.run_dir} was to end before its first update, but its policies are at {versions}.")
    return start
