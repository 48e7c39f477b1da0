"""Algorithms by name. A user's module registers its own with `register_algorithm` when it is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfmarl.algorithms.base import Algorithm
from sfmarl.algorithms.hyperparameters import PRESETS
from sfmarl.algorithms.ppo import PPO
from sfmarl.errors import UsageError, nearest


@dataclass(frozen=True)
class AlgorithmEntry:
    """A registered preset: an algorithm class and where its hyperparameters start."""

    name: str
    """Name on the command line."""
    cls: type[Algorithm]
    """The algorithm's class."""
    hyperparameters: Callable[[], Any]
    """Return a fresh instance of `cls.Hyperparameters` with the preset's values."""
    description: str
    """One line for `sfmarl list`."""


_ALGORITHMS: dict[str, AlgorithmEntry] = {}


def register_algorithm(name: str, cls: type[Algorithm], hp_factory: Callable[[], Any], description: str) -> None:
    """Make `cls` with the hyperparameters of `hp_factory` known as `name`. Raises UsageError if the name is taken."""
    if name in _ALGORITHMS:
        raise UsageError(f"An algorithm named {name!r} is already registered. Choose another name.")
    _ALGORITHMS[name] = AlgorithmEntry(name, cls, hp_factory, description)


def get_algorithm(name: str) -> AlgorithmEntry:
    """Return the algorithm registered as `name`. Raises UsageError with the nearest names."""
    if name not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise UsageError(f"There is no algorithm named {name!r}.{nearest(name, _ALGORITHMS)} Known: {known}.")
    return _ALGORITHMS[name]


def list_algorithms() -> list[AlgorithmEntry]:
    """Return every registered algorithm in order of registration."""
    return list(_ALGORITHMS.values())


for _name, (_factory, _description) in PRESETS.items():
    register_algorithm(_name, PPO, _factory, _description)
