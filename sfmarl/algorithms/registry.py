"""Algorithms by name. A user's module registers its own with `register_algorithm` when it is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfmarl.algorithms.base import Algorithm
from sfmarl.algorithms.hyperparameters import PRESETS
from sfmarl.algorithms.ppo import PPO
from sfmarl.registry import Registry


@dataclass(frozen=True)
class AlgorithmEntry:
    """A registered preset: an algorithm class and where its hyperparameters start."""

    name: str
    """Name on the command line."""
    cls: type[Algorithm]
    """The algorithm's class."""
    hyperparameters: Callable[[], Any]
    """Return a fresh instance of `cls.Hyperparameters` with the preset's values."""


ALGORITHMS: Registry[AlgorithmEntry] = Registry("algorithm", lambda entry: (entry.cls, entry.hyperparameters))
"""Presets by name."""


def register_algorithm(
    name: str, cls: type[Algorithm], description: str = "", hyperparameters: Callable[[], Any] | None = None
) -> None:
    """Make `cls` known as `name`; `hyperparameters` returns a preset's (default: `cls.Hyperparameters()`).

    Raises UsageError if something else has the name.
    """
    ALGORITHMS.register(name, AlgorithmEntry(name, cls, hyperparameters or cls.Hyperparameters), description)


def get_algorithm(name: str) -> AlgorithmEntry:
    """Return the algorithm registered as `name`. Raises UsageError with the nearest names."""
    return ALGORITHMS.find(name)


def list_algorithms() -> list[AlgorithmEntry]:
    """Return every registered algorithm in order of registration."""
    return list(ALGORITHMS.values())


for _name, (_factory, _description) in PRESETS.items():
    register_algorithm(_name, PPO, _description, _factory)
