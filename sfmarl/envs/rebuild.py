"""Environments that fail are replaced: what every adapter is handed for it, and catches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sfmarl.errors import EnvFault

RAISED = (Exception, SystemExit)
"""What counts as a failure of an environment: some call sys.exit() when their window is closed."""

Rebuild = Callable[[Any, Sequence[int], EnvFault], tuple[Any, list[int]]]
"""(the environment that failed, the copies it is, how it failed) -> (its successor, a new seed for each copy).

Raises RunError when it must not be replaced.
"""


class Rebuilder(Protocol):
    """Who decides whether an environment is replaced, and with which seeds (workers/faults.py)."""

    def rebuild(
        self, build: Callable[[list[int]], Any], failed: Any, copies: Sequence[int], fault: EnvFault
    ) -> tuple[Any, list[int]]:
        """`Rebuild`, with `build(seeds)` as the constructor."""
        ...
