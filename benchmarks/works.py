"""What the throughput scripts train: one entry per kind of work, each the same for every system that is compared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan


@dataclass(frozen=True)
class Work:
    """An environment and what has to be computed for it."""

    env: str
    """Environment."""
    about: str
    """One line: what is special about it."""
    gate: str
    """Recipe or test in which this kind of policy has to reach a score."""
    batch_size: int = 0
    """Agent-steps of an update; 0 = one slot of half of each policy's lanes."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """The environment's keyword arguments."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """Team -> policy, where teams share one."""
    algo: str = ""
    """The preset it needs; empty: as the command line says."""
    hp: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that make it what it is."""
    stepping_dominates: bool = False
    """Environments cost more than all the rest: every core steps some. Else one core is left to the learner."""
    learner_threads: int = 0
    """Threads of each learner; 0 = as many as sfmarl chooses. More pay where updates are all there is to wait for."""


GATES = "tests/runs/test_learning_matrix.py"

WORKS: dict[str, Work] = {
    "spread": Work(
        "mpe2.simple_spread_v3",
        "mpe2 spread, 3 agents: the environment is what costs",
        "benchmarks/learning.py spread --only appo",
        6144,
        stepping_dominates=True,
    ),
    "dict": Work(
        "games/dict",
        "8 agents, 32 numbers each, through the PettingZoo dict API: stepping costs next to nothing",
        f"{GATES}::test_what_is_seen_is_answered",
        8192,
    ),
    "native_dict": Work(
        "native/dict", "the same as a native vector environment", f"{GATES}::test_what_is_seen_is_answered", 8192
    ),
    "native": Work(
        "native/simple_spread",
        "spread as a native vector environment",
        "benchmarks/learning.py sharing --only full-own",
        6144,
    ),
    "masks": Work(
        "games/dict",
        "dict with action masks in the observation",
        f"{GATES}::test_masks_are_learned_from",
        8192,
        {"masks": True},
    ),
    "gru": Work(
        "native/simple_spread",
        "recurrent actor and critic (GRU, 64 units)",
        f"{GATES}::test_what_was_seen_is_remembered",
        6144,
        hp={"actor_rnn": "gru", "critic_rnn": "gru"},
        learner_threads=2,
    ),
    "central": Work(
        "native/simple_spread",
        "MAPPO: a central critic of all observations",
        "benchmarks/learning.py async_vs_sync --only async-vtrace",
        6144,
        algo="mappo",
    ),
    "teams": Work(
        "native/simple_world_comm",
        "three teams of 1, 3 and 2 agents with spaces of their own, one policy and one learner each",
        "launch/speaker_listener.py",
    ),
    "connect_four": Work(
        "pettingzoo.classic.connect_four_v3",
        "turn-based self-play with masks, hidden layers of 128",
        "benchmarks/learn.py --only connect_four",
        4096,
        policies={"player_0": "main", "player_1": "main"},
        hp={"hidden": (128, 128)},
        stepping_dominates=True,
    ),
    "native_connect_four": Work(
        "native/connect_four",
        "connect_four, all games of a split stepped at once",
        "benchmarks/learn.py --only connect_four",
        4096,
        policies={"player_0": "main", "player_1": "main"},
        hp={"hidden": (128, 128)},
    ),
}


def arrangement(work: str, cores: int, envs_per_core: int = 64) -> tuple[int, int]:
    """Return (rollout workers, environments of each) for a machine of so many cores."""
    workers = max(2, cores) if WORKS[work].stepping_dominates else max(1, cores - 1)
    return workers, envs_per_core * max(2, cores) // workers


def configure(work: str, algo: str, workers: int, envs_per_worker: int) -> Config:
    """Return the protocol's settings for one work.

    `workers` = 0: as many as `arrangement` says, with `envs_per_worker` for each core. They act where they step, so
    that no process takes another's core.
    """
    about = WORKS[work]
    if workers == 0:
        workers, envs_per_worker = arrangement(work, len(os.sched_getaffinity(0)), envs_per_worker)
    preset = about.algo or algo
    hp = replace(get_algorithm(preset).hyperparameters(), epochs=1, minibatches=1, target_kl=0.0, **about.hp)
    return Config(
        env=about.env,
        env_kwargs=dict(about.env_kwargs),
        policies=dict(about.policies),
        algo=preset,
        hp=hp,
        env_steps=10**12,
        num_workers=workers,
        num_envs_per_worker=envs_per_worker,
        num_splits=1,
        inference="local",
        rollout=32,
        batch_size=about.batch_size,
        eval_env_steps=0,
        final_eval_episodes=0,
        checkpoint_seconds=1e9,
        learner_threads=about.learner_threads,
        quiet=True,
    )


def batch_lanes(config: Config) -> tuple[int, ...]:
    """Return the slots of one update, per policy."""
    return make_plan(config, load_spec(config)).batch_lanes
