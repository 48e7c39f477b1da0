"""Meta-strategies: mixtures over the pool that the matchmaker `meta` has players train against (PSRO).

nash        the Nash equilibrium of the pool's payoff table, solved anew whenever the pool or the games it rests on
            have changed enough (Lanctot et al. 2017: policy-space response oracles)
a file      a mixture that was made elsewhere, as JSON: weights of the pool's entries in their order, `[.5, 0, .5]`,
            or by address (its beginning is enough) and by learning player's name, `{"3f2a": .8, "main": .2}`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sfmarl.errors import UsageError
from sfmarl.league.payoff import Payoff
from sfmarl.league.solvers import nash

NASH = "nash"

GROWTH = 1.1
"""The equilibrium is solved anew when so many times the games have been played that the last one rests on."""


class MetaStrategy(Protocol):
    """What makes the mixture."""

    def mixture(self, addresses: Sequence[str], payoff: Payoff) -> dict[str, float]:
        """Return key -> probability for a pool of `addresses` (oldest first); keys that are left out have none."""


class NashOfThePool:
    """The row player's equilibrium mixture of 2 x - 1, where x are the pool's win rates in all seats (.5 unplayed)."""

    def __init__(self) -> None:
        self._pool: tuple[str, ...] = ()
        self._games = 0.0
        self._found: dict[str, float] = {}

    def mixture(self, addresses: Sequence[str], payoff: Payoff) -> dict[str, float]:
        """See MetaStrategy."""
        pool = tuple(dict.fromkeys(addresses))
        if not pool:
            return {}
        counts = payoff.counts(pool, pool)
        games = float(counts.games.sum())
        if pool != self._pool or games >= GROWTH * self._games + 1:
            x = counts.win_rate
            np.fill_diagonal(x, 0.5)
            self._pool, self._games = pool, games
            # from both sides, so that rounding of decayed counts leaves the game zero-sum
            self._found = dict(zip(pool, nash(x - x.T).row.tolist(), strict=True))
        return self._found


class GivenMixture:
    """A mixture from a file, read once."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError when the file does not hold a mixture."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"The meta-strategy {path} cannot be read: {error.strerror or error}.") from error
        except ValueError as error:
            raise UsageError(f"The meta-strategy {path} is no JSON: {error}.") from error
        weights = list(found.values()) if isinstance(found, dict) else found
        if not isinstance(weights, list) or not weights or not all(map(_is_weight, weights)) or not sum(weights):
            raise UsageError(
                f"The meta-strategy {path} is no mixture: it has to be a list of non-negative numbers, one for each "
                "snapshot of the pool, oldest first, or an object of such numbers by address or player."
            )
        self.path = path
        self.weights: list[float] | dict[str, float] = found
        """By place in the pool, or by the beginning of an address or a player's name."""

    def mixture(self, addresses: Sequence[str], payoff: Payoff) -> dict[str, float]:
        """See MetaStrategy."""
        found: dict[str, float] = {}
        if isinstance(self.weights, list):
            for address, weight in zip(addresses, self.weights, strict=False):
                found[address] = found.get(address, 0.0) + weight
            return found
        for key, weight in self.weights.items():
            # a name that is no beginning of an address is a player's
            for named in {address for address in addresses if address.startswith(key)} or {key}:
                found[named] = found.get(named, 0.0) + weight
        return found


def make_meta_strategy(setting: str) -> MetaStrategy:
    """Return the meta-strategy that a setting names: `nash`, or a JSON file. Raises UsageError."""
    return NashOfThePool() if setting == NASH else GivenMixture(Path(setting).expanduser())


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
