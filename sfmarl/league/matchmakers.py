"""Who plays whom: rules that turn what a player sees into a distribution over its opponents.

A rule is an object with `distribution(view)`. Settings name it: `pfsp?weighting=squared`; a user's own is registered
with `register_matchmaker`, or named `module:callable`. Unless a rule says otherwise it chooses among frozen snapshots;
players that are still learning are chosen only by rules that ask for the latest, or while there are no snapshots.

    latest      the newest policy of the player itself: self-play where that is among the opponents
    uniform     every snapshot alike
    window      the latest with probability `latest`, else one of the last `size` snapshots (ML-Agents)
    pfsp        prioritised fictitious self-play (AlphaStar, Vinyals et al. 2019), by own win rate x
    elo         snapshots of about the player's own Elo rating
    meta        a given mixture, e.g. the Nash equilibrium of the payoff table (PSRO)
    quality     OpenAI Five (Berner et al. 2019, appendix N): 80 % latest, 20 % past by learned quality
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from sfmarl.errors import SfmarlError, UsageError, UserCodeError, nearest
from sfmarl.league.view import View
from sfmarl.registry import Registry, parse_call, require_arguments


class Matchmaker(Protocol):
    """A rule that chooses opponents. It holds settings only: everything that changes is in the view.

    One that reads `view.meta` has an attribute `needs_meta = True`; for others no meta-strategy is computed.
    """

    def distribution(self, view: View) -> np.ndarray:
        """Return probabilities [P] over the view's opponents, of which there is at least one."""


PFSP: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: 1 - x,
    "linear_capped": lambda x: np.minimum(0.5, 1 - x),
    "squared": lambda x: (1 - x) ** 2,
    "variance": lambda x: x * (1 - x),
}
"""Weight of an opponent by own win rate x against it (AlphaStar, supplementary pseudocode)."""

_NOTHING = 1e-10
"""Weights that sum to less are no weights (AlphaStar)."""


def pfsp(win_rates: np.ndarray, among: np.ndarray, weighting: str) -> np.ndarray:
    """Return probabilities [P] proportional to PFSP[weighting](x) where `among` [P] bool, one at least; 0 elsewhere.

    Uniform where all weights are nothing, that is when all opponents are always beaten.
    """
    return normalised(np.where(among, PFSP[weighting](win_rates), 0.0), among)


def normalised(weights: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return `weights` [P] divided by their sum, or the uniform distribution over `among` when that is nothing."""
    total = weights.sum()
    return weights / total if total >= _NOTHING else among / np.count_nonzero(among)


def latest(view: View) -> np.ndarray:
    """Return all probability [P] on the newest policy of who asks, or of anybody when it has none."""
    own = view.of(view.player)
    newest = np.flatnonzero(own if own.any() else view.frozen)[-1]
    return np.eye(len(view))[newest]


@dataclass(frozen=True)
class Latest:
    """The newest policy of the player itself."""

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        return latest(view)


@dataclass(frozen=True)
class Uniform:
    """Every snapshot alike (fictitious self-play)."""

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        return view.frozen / np.count_nonzero(view.frozen)


@dataclass(frozen=True)
class Window:
    """The latest policy, or one of the last snapshots."""

    size: int = 10
    """Snapshots the window holds."""
    latest: float = 0.5
    """Probability of the latest policy."""

    def __post_init__(self) -> None:
        _check(self, self.size >= 1, f"size = {self.size} is not at least 1")
        _check(self, 0 <= self.latest <= 1, f"latest = {self.latest} is not a probability")

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        recent = np.flatnonzero(view.frozen)[-self.size :]
        p = self.latest * latest(view)
        p[recent] += (1 - self.latest) / len(recent)
        return p


@dataclass(frozen=True)
class PrioritisedFictitious:
    """Snapshots that are hard (linear, linear_capped, squared) or even (variance), by own win rate."""

    weighting: str = "squared"
    """linear | linear_capped | squared | variance."""

    def __post_init__(self) -> None:
        known = f"{nearest(str(self.weighting), PFSP)} Known: {', '.join(PFSP)}"
        _check(self, self.weighting in PFSP, f"there is no weighting {self.weighting!r}.{known}")

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        return pfsp(view.win_rates, view.frozen, self.weighting)


@dataclass(frozen=True)
class EloNear:
    """Snapshots by exp(-((R - R_own) / width)^2 / 2): those of about the player's own rating."""

    width: float = 200.0
    """Rating difference at which an opponent is met 61 % as often as an equal one."""

    def __post_init__(self) -> None:
        _check(self, self.width > 0, f"width = {self.width} is not positive")

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        exponent = np.where(view.frozen, -0.5 * ((view.ratings - view.rating) / self.width) ** 2, -np.inf)
        return _softmax(exponent)


@dataclass(frozen=True)
class MetaStrategy:
    """The mixture that the view holds: the Nash equilibrium of the pool's payoff, or one of a file (meta.py)."""

    needs_meta: ClassVar[bool] = True

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker. Raises UsageError when the view holds no mixture."""
        if view.meta is None:
            raise UsageError("Matchmaker 'meta' needs a meta-strategy over the pool, and none was computed.")
        if view.meta.shape != (len(view),) or not (np.isfinite(view.meta) & (view.meta >= 0)).all():
            raise UsageError(
                f"The meta-strategy of {len(view)} opponents is not a non-negative number for each: {view.meta}."
            )
        return normalised(np.asarray(view.meta, np.float64), view.frozen)


@dataclass(frozen=True)
class Quality:
    """OpenAI Five: mostly the latest, else a snapshot i with p_i proportional to exp(q_i) (quality.py learns q)."""

    latest: float = 0.8
    """Probability of the latest policy."""

    def __post_init__(self) -> None:
        _check(self, 0 <= self.latest <= 1, f"latest = {self.latest} is not a probability")

    def distribution(self, view: View) -> np.ndarray:
        """See Matchmaker."""
        return self.latest * latest(view) + (1 - self.latest) * _softmax(np.where(view.frozen, view.quality, -np.inf))


MATCHMAKERS: Registry[Callable[..., Matchmaker]] = Registry("matchmaker")
"""What settings may name."""

for _name, _rule in {
    "latest": Latest,
    "uniform": Uniform,
    "window": Window,
    "pfsp": PrioritisedFictitious,
    "elo": EloNear,
    "meta": MetaStrategy,
    "quality": Quality,
}.items():
    MATCHMAKERS.register(_name, _rule)


def register_matchmaker(name: str, factory: Callable[..., Matchmaker], description: str = "") -> None:
    """Make `factory(**settings)` known as matchmaker `name`. Raises UsageError for a name that is taken."""
    MATCHMAKERS.register(name, factory, description)


def make_matchmaker(text: str) -> Matchmaker:
    """Return the matchmaker that a setting names, e.g. `window?size=20&latest=.5` or `module:callable`.

    Raises UsageError for an unknown name (with the nearest), settings it does not take, or values it refuses;
    UserCodeError when it fails.
    """
    call = parse_call(text)
    factory = MATCHMAKERS.find_callable(call.name)
    require_arguments(f"Matchmaker {text!r}", call, factory)
    try:
        made = factory(**call.kwargs)
    except SfmarlError:
        raise
    except Exception as error:
        raise UserCodeError(f"Matchmaker {text!r} raised {type(error).__name__} when it was made: {error}.") from error
    if not callable(getattr(made, "distribution", None)):
        raise UsageError(f"Matchmaker {text!r} is a {type(made).__name__} without a method distribution(view).")
    return made


def opponents(matchmaker: Matchmaker, view: View) -> np.ndarray:
    """Return the matchmaker's distribution [P] float64 if it is one.

    Raises UsageError when there is nobody to play, UserCodeError when the rule raises or returns anything else.
    """
    who = type(matchmaker).__name__
    if not len(view):
        raise UsageError(f"Player {view.player!r} has no opponents: the pool is empty and nobody else learns.")
    try:
        p = np.asarray(matchmaker.distribution(view), np.float64)
    except SfmarlError:
        raise
    except Exception as error:
        raise UserCodeError(f"Matchmaker {who} raised {type(error).__name__}: {error}.") from error
    if p.shape != (len(view),) or not np.isfinite(p).all() or p.min() < 0 or abs(p.sum() - 1) > 1e-6:
        raise UserCodeError(
            f"Matchmaker {who} returned no distribution over {len(view)} opponents: shape {p.shape}, sum {p.sum():g}. "
            "Return a non-negative number for each, adding up to 1."
        )
    return p


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _check(rule: Any, holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(f"Matchmaker {type(rule).__name__}: {otherwise}.")
