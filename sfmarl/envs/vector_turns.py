"""The vector protocol of turn-based games: many copies of one game, each waiting for the seat whose turn it is.

What `VectorEnv` (vector.py) is to environments whose agents act at once, a `TurnVectorEnv` is to games: one call moves
in every copy that has an answer, whoever is to move there. A fast game implements the protocol itself (`board/`); one
whose agents die or are born within an episode is a `TurnEnv` (turns.py). `turn_copy.py` shows one copy as a `TurnEnv`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sfmarl.errors import UsageError
from sfmarl.specs import EnvSpec


class TurnOutcome(NamedTuple):
    """What n moves in as many copies led to."""

    reward: np.ndarray
    """[n, N] float: what this move earned each of the N seats, whoever made it."""
    terminated: np.ndarray
    """[n] bool: the game is over; every seat's return ends here."""
    truncated: np.ndarray
    """[n] bool: the episode was cut off (and not terminated); returns are bootstrapped from the final observations."""


@runtime_checkable
class TurnVectorEnv(Protocol):
    """E copies of a turn-based game of N >= 2 seats.

    Every team of `spec` is one agent, so that seat s is team s. Exactly one seat of a copy is to move until its episode
    ends, for all seats at once. The order of moves is the game's own: a seat may move twice in a row, rarely, or never.
    The rewards of an episode add up to its outcome; in a zero-sum game they are all zero but for the last move's. A
    game that pays otherwise may be `Reporting` (vector.py) and have an info `outcome`.

    The caller owns resets: a copy whose episode ended is reset before it is moved in again. `envs` are int64 [n], each
    copy at most once; what is said of other copies does not change.
    """

    spec: EnvSpec
    """What the game looks like: `turn_based`, one agent per team, actions of one kind and shape in all seats."""
    num_envs: int
    """E."""
    seat: np.ndarray
    """[E] int64: who is to move in each copy; without meaning where no episode is running. Not to be written to."""

    def reset(self, envs: np.ndarray) -> None:
        """Begin an episode in each copy of `envs`, in which somebody is to move.

        The first episode of copy e begins from its seed (an argument of the factory), later ones go on in its stream.
        """
        ...

    def observe(
        self, seat: int, envs: np.ndarray, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None
    ) -> None:
        """Write what `seat` sees in each copy of `envs` into rows [n, *obs], [n, k] bool and [n, *state] float32.

        Asked of a seat that is to move, and of any seat once an episode was truncated (until the reset). A mask is True
        where an action is legal, at least once; nobody acts on that of a seat that is not to move. `action_mask` is
        None where the team has none, `state` where nobody reads it.
        """
        ...

    def act(self, envs: np.ndarray, actions: np.ndarray) -> TurnOutcome:
        """Make the stored actions [n, *action] of the seats whose turn it is, and say what follows."""
        ...

    def close(self) -> None:
        """Release whatever the copies hold."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """What native environments offer that can be looked at."""

    def render(self, env: int) -> Any:
        """Return copy `env` as its `render_mode` says: text, or uint8 [height, width, 3]."""
        ...


@runtime_checkable
class Playable(Protocol):
    """What a `TurnVectorEnv` offers that a person can play in a terminal."""

    def text(self, env: int) -> str:
        """Return copy `env` as lines of text."""
        ...

    def mark(self, seat: int) -> str:
        """Return what a seat's stones look like in that text."""
        ...

    def move_name(self, action: int) -> str:
        """Return what a person calls an action."""
        ...

    def parse_move(self, text: str) -> int:
        """Return the action that a person named. Raises UsageError, saying what to type, for anything else."""
        ...


@runtime_checkable
class Concealing(Protocol):
    """What a `TurnVectorEnv` offers whose seats choose at once, and are asked one after the other."""

    def concealed(self, env: int) -> bool:
        """Return whether moves were made in copy `env` that nobody may see yet."""
        ...


def require_seats(name: str, spec: EnvSpec) -> None:
    """Raise UsageError where the teams of the game called `name` are not what a `TurnVectorEnv` promises."""
    teams = spec.teams
    if not spec.turn_based or len(teams) < 2 or any(len(team.agents) != 1 for team in teams):
        raise UsageError(
            f"{name} is a TurnVectorEnv: its spec must be turn_based, with two teams or more of one agent each"
        )
    if len({(team.action.kind, team.action.shape) for team in teams}) > 1:
        raise UsageError(f"{name} is a TurnVectorEnv: actions must have one kind and shape in all seats")
