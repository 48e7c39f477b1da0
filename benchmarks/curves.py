"""What `scaling.py` measures: curves of one variable each, as settings of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from works import configure

from sfmarl import Config

COSTLY = str(Path(__file__).resolve().parent / "costly_env.py")
COSTS = {"10 us": 10, "100 us": 100, "1 ms": 1000, "10 ms": 10_000}
"""Of one env-step, in microseconds."""
IMAGE = "84x84x4"


@dataclass(frozen=True)
class Series:
    """One line of a curve; its points are measured one after the other."""

    curve: str
    """Curve it belongs to."""
    name: str
    """Which of the curve's lines."""
    xs: Sequence[int | str]
    """Values of the variable."""
    config: Callable[[int | str], Config]
    """Value -> settings."""


@dataclass(frozen=True)
class About:
    """What a curve shows."""

    title: str
    """Heading."""
    x: str
    """Name of the variable."""
    linear: bool = False
    """Twice the variable should be twice the rate: efficiency is rate(x) / (x / x0 * rate(x0))."""


CURVES = {
    "workers": About("Rollout workers, steps of simulated cost", "rollout workers", linear=True),
    "speedup": About(
        "Rollout workers, mpe2 spread, the same 128 environments divided over them", "rollout workers", True
    ),
    "envs": About("Environments per worker, trivial dict environment", "environments per worker"),
    "agents": About("Agents, trivial dict environment", "agents"),
    "obs": About("Observation size, trivial dict environment", "numbers of an observation"),
    "hidden": About(
        "Units of two hidden layers, trivial dict environment, updates of 1,024 agent-steps", "hidden units"
    ),
}


def all_series(curves: Sequence[str], cores: int) -> list[Series]:
    """Return the series of `curves` on a machine of `cores` cores."""
    found = []
    if "workers" in curves:
        found += [Series("workers", name, (1, 2, 4, 8), _costly(cost)) for name, cost in COSTS.items()]
    if "speedup" in curves:
        found.append(Series("speedup", "mpe2 spread", powers_of_two(cores), _spread))
    if "envs" in curves:
        found.append(Series("envs", "dict", (8, 16, 32, 64, 128, 256), lambda x: trivial(envs=x)))
    if "agents" in curves:
        found.append(Series("agents", "dict", (2, 4, 8, 16, 32, 64), lambda x: trivial(num_agents=x)))
    if "obs" in curves:
        found.append(Series("obs", "dict", (8, 32, 128, 512, IMAGE), _obs))
    if "hidden" in curves:
        found.append(Series("hidden", "dict", (64, 128, 256, 512, 1024), _hidden))
    return found


def powers_of_two(cores: int) -> list[int]:
    """Return the powers of two up to the number of cores; at least 1 and 2."""
    return [2**i for i in range(max(2, cores).bit_length())]


def trivial(envs: int = 32, hidden: int = 64, **kwargs: int) -> Config:
    """Return settings for the trivial dict environment; an update is one slot of half the lanes."""
    config = replace(configure("dict", "appo", 0, envs), num_envs_per_worker=envs, batch_size=0, env_kwargs=kwargs)
    config.hp.hidden = (hidden, hidden)
    return config


def _hidden(units: int | str) -> Config:
    """Updates are small: one of wide networks would take longer than a window."""
    return replace(trivial(hidden=int(units)), batch_size=1024)


def _obs(size: int | str) -> Config:
    """Pictures take so long to learn from that few environments and short slots are enough to see it."""
    if size != IMAGE:
        return trivial(obs_size=int(size))
    return replace(trivial(envs=8, num_agents=2, image_size=84), rollout=8)


def _costly(microseconds: int) -> Callable[[int | str], Config]:
    """Return settings of workers with two splits of 4 environments, 2 agents each: little to act on and to learn."""

    def config(workers: int | str) -> Config:
        return replace(
            configure("dict", "appo", int(workers), 8),
            env="benchmark/costly",
            env_kwargs={"microseconds": microseconds},
            imports=(COSTLY,),
            batch_size=0,
        )

    return config


def _spread(workers: int | str) -> Config:
    return configure("spread", "appo", int(workers), 128 // int(workers))
