"""Packages with an interface of their own, reached as `prefix/their-own-name`; imported only when named.

An adapter is a module with `build(env_id, **kwargs)`, `SIGNATURE_OF` (whose parameters are the accepted keyword
arguments) and `ENTRY_POINT` (the package whose gymnasium ids it takes).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium

from sfmarl.errors import UsageError, nearest


@dataclass(frozen=True)
class Adapter:
    """How one package's environments become ParallelEnvs."""

    module: str
    """The adapter; importing it imports the package."""
    extra: str
    """The extra of this project that installs the package."""
    example: str
    """One of the package's environments."""
    description: str
    """One line for lists."""


ADAPTERS = {
    "lbf": Adapter("sfmarl.envs.lbf", "lbf", "Foraging-8x8-2p-2f-coop-v3", "level-based foraging"),
    "rware": Adapter("sfmarl.envs.rware", "rware", "rware-tiny-2ag-v2", "multi-robot warehouse"),
}


def adapted(name: str) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Return (what builds it, whose parameters are the keyword arguments) for `prefix/id`; None for another name.

    Raises UsageError when the package is missing or has no such environment.
    """
    prefix, slash, env_id = name.partition("/")
    if not slash or prefix not in ADAPTERS:
        return None
    adapter = ADAPTERS[prefix]
    try:
        module = importlib.import_module(adapter.module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(
            f"{name} needs the package {missing!r}, which is not installed: pip install 'sfmarl[{adapter.extra}]'"
        ) from error
    known = [spec.id for spec in gymnasium.registry.values() if str(spec.entry_point).startswith(module.ENTRY_POINT)]
    if env_id not in known:
        hint = nearest(env_id, known) or f" Take for example {prefix}/{adapter.example}."
        raise UsageError(f"there is no environment {env_id!r} in {module.ENTRY_POINT}.{hint}")
    return partial(module.build, env_id), module.SIGNATURE_OF


def examples() -> list[tuple[str, str]]:
    """Return (name, description) of one environment per adapter."""
    return [
        (f"{prefix}/{adapter.example}", f"{adapter.description} (pip install 'sfmarl[{adapter.extra}]')")
        for prefix, adapter in ADAPTERS.items()
    ]
