"""What `make learn` trains: one task per kind of environment, with its score and what the score has to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import scores
from scores import Scorer
from suites import launch_config

from sfmarl import Config
from sfmarl.algorithms import get_algorithm


@dataclass(frozen=True)
class Task:
    """Settings, score and goal."""

    config: Callable[[], Config]
    """Its settings but for the seed."""
    score: Scorer
    """How a finished run is scored."""
    about: str
    """One line: what is learned, from which script, and what is known of it."""
    gate: float | None = None
    """Score that the mean over seeds has to reach."""
    episodes: int = 200
    """Of the score: fewer where an environment is slow."""
    over: tuple[str, ...] = ()
    """Names of numbers beside the score: the intervals over seeds of the differences have to lie above 0."""


def matrix_game(env: str, gamma: float = 0.5, **kwargs: float) -> Config:
    """Return settings for a repeated matrix game: the observation is constant, so small networks and big steps do."""
    hp = replace(get_algorithm("mappo").hyperparameters(), hidden=(32,), lr=3e-3, gamma=gamma)
    return Config(env=env, env_kwargs=kwargs, algo="mappo", hp=hp, env_steps=200_000, num_workers=2, rollout=25)


def continuous_spread() -> Config:
    """Return settings for the native simple_spread with continuous thrust."""
    config = launch_config("native_spread")
    return replace(
        config,
        env_kwargs={"N": 3, "continuous_actions": True},
        hp=replace(config.hp, minibatches=4, entropy_coef=0.0),
        num_envs_per_worker=32,
        env_steps=2_000_000,
    )


TASKS: dict[str, Task] = {
    "penalty": Task(
        lambda: matrix_game("games/penalty", k=0.0),
        scores.common_return,
        "penalty game, k = 0, 25 repetitions: two optima (250) that must not be mixed up, a safe choice (50)",
        gate=250.0,
    ),
    "climbing": Task(
        lambda: matrix_game("games/climbing"),
        scores.common_return,
        "climbing game, 25 repetitions: optimum 275 beside penalties of -30, usual trap 175",
        gate=175.0,
    ),
    "tag": Task(
        lambda: launch_config("tag_scripted_prey"),
        scores.above_random,
        "simple_tag, three predators learn to catch a scripted prey (launch/tag_scripted_prey.py)",
        over=("random",),
    ),
    "connect_four": Task(
        lambda: launch_config("connect_four"),
        scores.both_seats_against_random,
        "connect four, self-play of one policy (launch/connect_four.py); random against random .50",
        gate=0.80,
    ),
    "leduc": Task(
        lambda: launch_config("leduc_selfplay"),
        scores.leduc_nash_conv,
        "Leduc poker, self-play of one policy (launch/leduc_selfplay.py); uniform policy 4.747, equilibrium 0",
    ),
    "spread_continuous": Task(
        continuous_spread,
        scores.above_start,
        "native simple_spread, N = 3, continuous actions; a planner that assigns landmarks scores -23 (discrete)",
        over=("start", "random"),
    ),
    "multiwalker": Task(
        lambda: replace(launch_config("multiwalker"), env_steps=400_000),
        scores.above_start,
        "multiwalker, continuous actions (launch/multiwalker.py)",
        episodes=48,
        over=("start", "random"),
    ),
    "pistonball": Task(
        lambda: replace(launch_config("pistonball_mappo"), env_steps=60_000),
        scores.above_start,
        "pistonball with 10 pistons, grey pictures of 46 x 40 pixels, continuous actions (launch/pistonball_mappo.py)",
        episodes=48,
        over=("start", "random"),
    ),
    "lbf": Task(
        lambda: launch_config("lbf_mappo"),
        scores.team_return,
        "level-based foraging, two must load together (launch/lbf_mappo.py); best return 1",
        gate=0.95,
    ),
}
