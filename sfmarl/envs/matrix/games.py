"""The repeated games that have names (`sfmarl list`): fields are keyword arguments, the rest is `MatrixEnv`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sfmarl.envs.matrix import payoffs
from sfmarl.envs.matrix.env import Ends, MatrixEnv
from sfmarl.envs.matrix.payoffs import Game


@dataclass(eq=False)
class RockPaperScissors(MatrixEnv):
    """Rock-paper-scissors with the actions, rewards and length of `pettingzoo.classic.rps_v2`."""

    num_actions: int = field(default=3, kw_only=True)
    """Odd; more than 3 extend the game as there."""
    length: int = field(default=15, kw_only=True)

    name: ClassVar = "native/rock_paper_scissors"

    def game(self) -> Game:
        """See `MatrixEnv.game`."""
        return payoffs.rock_paper_scissors(self.num_actions)


@dataclass(eq=False)
class PrisonersDilemma(MatrixEnv):
    """The iterated prisoner's dilemma: actions are cooperate (0) and defect (1)."""

    temptation: float = field(default=5.0, kw_only=True)
    """Of who defects on a cooperator (T)."""
    reward: float = field(default=3.0, kw_only=True)
    """Of both where both cooperate (R)."""
    punishment: float = field(default=1.0, kw_only=True)
    """Of both where both defect (P)."""
    sucker: float = field(default=0.0, kw_only=True)
    """Of who cooperates with a defector (S)."""
    length: int = field(default=100, kw_only=True)
    observe_last: bool = field(default=True, kw_only=True)

    name: ClassVar = "native/prisoners_dilemma"

    def game(self) -> Game:
        """See `MatrixEnv.game`."""
        return payoffs.prisoners_dilemma(self.temptation, self.reward, self.punishment, self.sucker)


@dataclass(eq=False)
class MatchingPennies(MatrixEnv):
    """Matching pennies: player 0 wins when both show heads (0) or both tails (1), player 1 otherwise."""

    name: ClassVar = "native/matching_pennies"

    def game(self) -> Game:
        """See `MatrixEnv.game`."""
        return payoffs.matching_pennies()


@dataclass(eq=False)
class Circle(MatrixEnv):
    """The cyclic circle game: an action is a place on the circle, and beats those ahead of it up to half way round.

    A match is one round, unless told otherwise.
    """

    strategies: int = field(default=30, kw_only=True)
    """Places on the circle."""
    length: int = field(default=1, kw_only=True)
    ends: Ends = field(default="terminated", kw_only=True)

    name: ClassVar = "native/circle"

    def game(self) -> Game:
        """See `MatrixEnv.game`."""
        return payoffs.circle(self.strategies)


@dataclass(eq=False)
class MatrixGame(MatrixEnv):
    """Any normal-form game of two players, given as JSON lists (`payoffs.read_game`)."""

    payoff: Any = field(kw_only=True)
    """[rows][columns] as `kind` says, or [2][rows][columns]."""
    kind: str = field(default="general", kw_only=True)
    """`general`: what each player earns; `zero_sum`, `common`, `symmetric`: shorthands of one matrix."""
    action_names: Any = field(default=None, kw_only=True)
    """What actions are called, where both players have the same."""

    name: ClassVar = "native/matrix_game"

    def game(self) -> Game:
        """See `MatrixEnv.game`."""
        return payoffs.read_game(self.payoff, self.kind, self.action_names)
