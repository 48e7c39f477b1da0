"""Normal-form games of two players: payoff matrices, and the games of the textbooks.

Pure NumPy, for environments (`games.py`) and for whoever plays the same games exactly. Everywhere player 0 chooses the
row and player 1 the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sfmarl.errors import UsageError

Kind = Literal["zero_sum", "common", "symmetric", "general"]


@dataclass(frozen=True, eq=False)
class Game:
    """A game that is played once: who earns what, and what actions are called."""

    payoffs: np.ndarray
    """[2, n0, n1] float64: what player 0 and player 1 earn when they choose row i and column j."""
    names: tuple[tuple[str, ...], tuple[str, ...]]
    """Each player's actions."""

    @property
    def num_actions(self) -> tuple[int, int]:
        """(n0, n1)."""
        return self.payoffs.shape[1], self.payoffs.shape[2]

    @property
    def is_zero_sum(self) -> bool:
        """Whether the players' payoffs cancel out in every cell."""
        return bool((self.payoffs[0] == -self.payoffs[1]).all())


def zero_sum(payoff: Any) -> np.ndarray:
    """Return both players' payoffs [2, n0, n1] where player 1 loses what player 0 wins, `payoff` [n0, n1]."""
    return np.stack([payoff, np.negative(payoff)]).astype(np.float64)


def common(payoff: Any) -> np.ndarray:
    """Return both players' payoffs [2, n0, n1] where both earn `payoff` [n0, n1]."""
    return np.stack([payoff, payoff]).astype(np.float64)


def symmetric(payoff: Any) -> np.ndarray:
    """Return both players' payoffs [2, n, n] where each earns `payoff` [n, n] at (own action, the other's)."""
    return np.stack([payoff, np.transpose(payoff)]).astype(np.float64)


def rock_paper_scissors(num_actions: int = 3) -> Game:
    """Return rock-paper-scissors with the numbering of PettingZoo's `rps_v2`, or its extension to more actions.

    Of two actions of the same parity the lower wins, else the higher: +1 for who wins, -1 for who loses. Raises
    UsageError unless `num_actions` is odd and at least 3.
    """
    if not isinstance(num_actions, int) or num_actions < 3 or num_actions % 2 == 0:
        raise UsageError(f"rock-paper-scissors needs an odd num_actions >= 3, got {num_actions!r}")
    i, j = np.indices((num_actions, num_actions))
    wins = np.where((i + j) % 2 == 0, i < j, i > j)
    names = ("rock", "paper", "scissors", "spock", "lizard", *_numbered(num_actions)[5:])[:num_actions]
    return Game(zero_sum(np.where(i == j, 0, np.where(wins, 1, -1))), (names, names))


def matching_pennies() -> Game:
    """Return matching pennies: player 0 wins 1 when the coins match, player 1 when they differ."""
    names = ("heads", "tails")
    return Game(zero_sum([[1, -1], [-1, 1]]), (names, names))


def prisoners_dilemma(
    temptation: float = 5.0, reward: float = 3.0, punishment: float = 1.0, sucker: float = 0.0
) -> Game:
    """Return the prisoner's dilemma, by default that of Axelrod (1984), "The evolution of cooperation".

    Two cooperators earn `reward` each, two defectors `punishment` each. Who defects on a cooperator earns `temptation`
    and leaves the other `sucker`. Raises UsageError unless temptation > reward > punishment > sucker (defection is
    dominant) and 2 reward > temptation + sucker (taking turns at exploiting each other does not pay).
    """
    values = temptation, reward, punishment, sucker
    if not all(isinstance(value, int | float) and np.isfinite(value) for value in values):
        raise UsageError(f"the prisoner's dilemma needs four numbers T, R, P, S, got {values}")
    if not (temptation > reward > punishment > sucker and 2 * reward > temptation + sucker):
        raise UsageError(f"no prisoner's dilemma: it needs T > R > P > S and 2 R > T + S, got T, R, P, S = {values}")
    names = ("cooperate", "defect")
    return Game(symmetric([[reward, sucker], [temptation, punishment]]), (names, names))


def circle_payoff(strategies: int) -> np.ndarray:
    """Return the cyclic circle game's payoff of the row player, float64 [n, n] of 1 (win), 0 (draw) and -1 (loss).

    Strategies lie on a circle. Strategy i beats those that lie ahead of it by less than half of the circle,
    0 < (j - i) mod n < n / 2, loses to those that lie behind by less than half, and draws with itself and, where n is
    even, with the one opposite. No strategy is better than another, and each alone is beaten for certain by almost
    half of the others. As a win probability, a draw being half a win, an entry is (1 + payoff) / 2. Best responses to a
    mixture often tie; what a population does then depends on the tie-break, and on rounding where the mixture's weights
    are not exact. Raises UsageError for fewer than 3.
    """
    if not isinstance(strategies, int) or strategies < 3:
        raise UsageError(f"the circle game needs strategies >= 3, got {strategies!r}")
    number = np.arange(strategies)
    twice_ahead = 2 * ((number[None, :] - number[:, None]) % strategies)
    wins, loses = (twice_ahead > 0) & (twice_ahead < strategies), twice_ahead > strategies
    return wins.astype(np.float64) - loses


def circle(strategies: int = 30) -> Game:
    """Return the cyclic circle game (`circle_payoff`)."""
    payoff = circle_payoff(strategies)
    names = _numbered(strategies)
    return Game(zero_sum(payoff), (names, names))


def read_game(payoff: Any, kind: str = "general", names: Sequence[str] | None = None) -> Game:
    """Return a game given as JSON lists.

    `payoff` is [2][n0][n1] with `general`, else [n0][n1] and read as `kind` says: `zero_sum` (what player 0 wins),
    `common` (what both earn), `symmetric` (what one earns at [own action][the other's]). `names` are those of the
    actions, where both players have the same. Raises UsageError for anything that is no such game.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"matrix_game: kind = {kind!r} is unknown. Use {', '.join(get_args(Kind))}.")
    dims = 3 if kind == "general" else 2
    shape = "[2][rows][columns]" if kind == "general" else "[rows][columns]"
    try:
        table = np.array(payoff, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"matrix_game: payoff must be lists of numbers {shape}, got {payoff!r:.200}") from error
    if table.ndim != dims or not table.size or (kind == "general" and len(table) != 2):
        raise UsageError(
            f"matrix_game: payoff must be {shape} for kind = {kind}, got the shape {list(table.shape)}: {payoff!r:.200}"
        )
    if not np.isfinite(table).all():
        raise UsageError(f"matrix_game: payoffs must be finite, got {payoff!r:.200}")
    if kind == "symmetric" and table.shape[0] != table.shape[1]:
        raise UsageError(f"matrix_game: a symmetric game has as many rows as columns, got {list(table.shape)}")
    payoffs = {"zero_sum": zero_sum, "common": common, "symmetric": symmetric}.get(kind, np.asarray)(table)
    rows, columns = payoffs.shape[1:]
    if names is None:
        return Game(payoffs, (_numbered(rows), _numbered(columns)))
    words = tuple(names) if isinstance(names, Sequence) and not isinstance(names, str) else ()
    if rows != columns or len(words) != rows or len(set(words)) != rows or not all(isinstance(w, str) for w in words):
        raise UsageError(
            f"matrix_game: action_names must be one name for each action, the same for both players ({rows} rows, "
            f"{columns} columns), got {names!r:.200}"
        )
    return Game(payoffs, (words, words))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"action_{number}" for number in range(count))
