"""What each learning player of a league is for: whom it meets, when it is frozen, when it begins anew.

Roles are state machines that are told what the player sees (view.py) and how many env-steps it has taken. They own no
weights: whoever does asks `ready`, freezes the policy, then calls `frozen` and puts the initial parameters back if that
says so. The copy comes first: what is frozen is never the reset policy.

    simple             one learner with any matchmaker; frozen every so many env-steps, or when it beats all it has met
    main               AlphaStar's main agent: 50 % PFSP over all snapshots, 15 % what it may have forgotten, 35 % mains
    main_exploiter     looks for weaknesses of the main agents; begins anew whenever it is frozen
    league_exploiter   looks for weaknesses of the whole league; begins anew in a quarter of the cases

The AlphaStar roles follow the pseudocode in the supplement of Vinyals et al. 2019; where that draws a branch, the
distribution here is the mixture of its branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sfmarl.errors import UsageError, nearest
from sfmarl.league.matchmakers import Matchmaker, opponents, pfsp
from sfmarl.league.view import View

STRONG, WEAK, BEATEN = 0.7, 0.3, 0.1
"""Win rates of AlphaStar's rules: above STRONG an opponent is mastered, below WEAK it is a threat; below BEATEN a main
exploiter learns nothing from it."""


@dataclass(frozen=True)
class SnapshotRule:
    """When a player is frozen: after `min_steps` env-steps if it beats all it must, after `max_steps` in any case."""

    min_steps: int
    """Env-steps since the last snapshot, at least."""
    max_steps: int
    """Env-steps since the last snapshot, at most."""
    win_rate: float = STRONG
    """What its lowest win rate must exceed."""
    min_games: float = 0.0
    """Games against each opponent without which that win rate counts for nothing."""

    def __post_init__(self) -> None:
        if not 0 < self.max_steps >= self.min_steps >= 0:
            raise UsageError(
                f"a player frozen after {self.min_steps} to {self.max_steps} env-steps never is: give 0 <= min_steps "
                "<= max_steps, and max_steps > 0."
            )

    def holds(self, view: View, among: np.ndarray, steps: int) -> bool:
        """Whether `steps` after the last snapshot it is time, by win rates over `among` [P] bool."""
        if steps < self.min_steps:
            return False
        enough = view.games[among] >= self.min_games
        beaten = among.any() and bool((enough & (view.win_rates[among] > self.win_rate)).all())
        return beaten or steps >= self.max_steps


class Role(Protocol):
    """A player's part in the league."""

    name: str
    """What opponents' views call it."""

    def distribution(self, view: View) -> np.ndarray:
        """Return probabilities [P] over the view's opponents. Raises UsageError when there are none."""

    def ready(self, view: View, env_steps: int) -> bool:
        """Whether to freeze the player now; `env_steps` are those it has learned from in all."""

    def frozen(self, env_steps: int) -> bool:
        """Take note that it was frozen; returns whether it is reset to its initial parameters now."""

    def state_dict(self) -> dict[str, Any]:
        """Return what changes, as JSON types."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class _Role:
    """What all roles share: the env-step of the last snapshot."""

    name = ""

    def __init__(self, rule: SnapshotRule) -> None:
        self.rule = rule
        self._last = 0

    def ready(self, view: View, env_steps: int) -> bool:
        """See Role."""
        return self.rule.holds(view, self._must_beat(view), env_steps - self._last)

    def frozen(self, env_steps: int) -> bool:
        """See Role."""
        self._last = env_steps
        return False

    def state_dict(self) -> dict[str, Any]:
        """See Role."""
        return {"role": self.name, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Role. Raises UsageError for the state of another role."""
        if state["role"] != self.name:
            raise UsageError(f"a {state['role']} of the checkpoint cannot go on as a {self.name}; keep its role.")
        self._last = state["last"]

    def _must_beat(self, view: View) -> np.ndarray:
        """Return which opponents [P] bool count for the snapshot rule."""
        return ~view.live


class Simple(_Role):
    """One learner and any matchmaker."""

    name = "simple"

    def __init__(self, matchmaker: Matchmaker, rule: SnapshotRule) -> None:
        """With `rule.win_rate` = 1 it is frozen every `rule.max_steps` env-steps."""
        super().__init__(rule)
        self.matchmaker = matchmaker

    def distribution(self, view: View) -> np.ndarray:
        """See Role."""
        return opponents(self.matchmaker, view)


class Main(_Role):
    """AlphaStar's main agent."""

    name = "main"

    def distribution(self, view: View) -> np.ndarray:
        """See Role."""
        _check_opponents(view)
        p = 0.5 * pfsp(view.win_rates, view.frozen, "squared")
        mains = np.flatnonzero(view.live & view.in_role("main"))
        if not len(mains):
            return 2 * p
        for main in mains:
            selfplay = self._selfplay(view, main)
            verification = self._verification(view, main)
            p += (0.35 * selfplay + 0.15 * (selfplay if verification is None else verification)) / len(mains)
        return p

    def _selfplay(self, view: View, main: int) -> np.ndarray:
        """Return [P]: the main agent, or its snapshots as a curriculum while it is too strong."""
        past = ~view.live & view.of(view.players[main])
        if view.win_rates[main] > WEAK or not past.any():
            return np.eye(len(view))[main]
        return pfsp(view.win_rates, past, "variance")

    def _verification(self, view: View, main: int) -> np.ndarray | None:
        """Return [P]: exploiters that still win, else snapshots that are lost to again; None when there are neither."""
        exploiters = ~view.live & view.in_role("main_exploiter")
        if exploiters.any() and view.win_rates[exploiters].min() < WEAK:
            return pfsp(view.win_rates, exploiters, "squared")
        forgotten = without_monotonic_suffix(view.win_rates, ~view.live & view.of(view.players[main]))
        if forgotten.any() and view.win_rates[forgotten].min() < STRONG:
            return pfsp(view.win_rates, forgotten, "squared")
        return None


class MainExploiter(_Role):
    """AlphaStar's main exploiter."""

    name = "main_exploiter"

    def distribution(self, view: View) -> np.ndarray:
        """See Role. Without a main agent that learns it plays all snapshots by variance."""
        _check_opponents(view)
        mains = np.flatnonzero(view.live & view.in_role("main"))
        if not len(mains):
            return pfsp(view.win_rates, view.frozen, "variance")
        p = np.zeros(len(view))
        for main in mains:
            past = ~view.live & view.of(view.players[main])
            if view.win_rates[main] > BEATEN or not past.any():
                p[main] += 1 / len(mains)
            else:
                p += pfsp(view.win_rates, past, "variance") / len(mains)
        return p

    def frozen(self, env_steps: int) -> bool:
        """See Role: it always begins anew."""
        super().frozen(env_steps)
        return True

    def _must_beat(self, view: View) -> np.ndarray:
        return view.live & view.in_role("main")


class LeagueExploiter(_Role):
    """AlphaStar's league exploiter."""

    name = "league_exploiter"

    def __init__(self, rule: SnapshotRule, seed: int, reset: float = 0.25) -> None:
        """`reset`: probability of beginning anew when it is frozen; `seed`: the stream that decides."""
        super().__init__(rule)
        self.reset = reset
        self._generator = np.random.default_rng(seed)

    def distribution(self, view: View) -> np.ndarray:
        """See Role."""
        _check_opponents(view)
        return pfsp(view.win_rates, view.frozen, "linear_capped")

    def frozen(self, env_steps: int) -> bool:
        """See Role."""
        super().frozen(env_steps)
        return bool(self._generator.random() < self.reset)

    def state_dict(self) -> dict[str, Any]:
        """See Role."""
        return {**super().state_dict(), "generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Role."""
        super().load_state_dict(state)
        self._generator.bit_generator.state = state["generator"]


def without_monotonic_suffix(win_rates: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return `among` [P] bool less the longest end of it over which `win_rates` [P] never rise.

    Against ever newer snapshots of an agent that gets better win rates fall; that is progress, not forgetting. What is
    left ends with the newest snapshot that is beaten more often than the one before it (AlphaStar, supplement).
    """
    places = np.flatnonzero(among)
    rises = np.flatnonzero(np.diff(win_rates[places]) > 0)
    left = np.zeros_like(among)
    if len(rises):
        left[places[: rises[-1] + 2]] = True
    return left


def _check_opponents(view: View) -> None:
    if not len(view):
        raise UsageError(f"Player {view.player!r} has no opponents: the pool is empty and nobody else learns.")


ROLES = ("simple", "main", "main_exploiter", "league_exploiter")
"""Names that settings may use."""


def make_role(name: str, rule: SnapshotRule, matchmaker: Matchmaker, seed: int) -> Role:
    """Return the role called `name`. `matchmaker` is for a simple player, `seed` for what is drawn.

    Raises UsageError for an unknown name.
    """
    match name:
        case "simple":
            return Simple(matchmaker, rule)
        case "main":
            return Main(rule)
        case "main_exploiter":
            return MainExploiter(rule)
        case "league_exploiter":
            return LeagueExploiter(rule, seed)
    raise UsageError(f"there is no role {name!r}.{nearest(name, ROLES)} Roles: {', '.join(ROLES)}.")
