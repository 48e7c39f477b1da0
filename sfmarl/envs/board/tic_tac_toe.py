"""Tic-tac-toe: three in a line on a board of three by three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sfmarl.envs.board.drawing import Tiles
from sfmarl.envs.board.game import BoardGame
from sfmarl.errors import UsageError

SIDE = 3
COLUMN_NAMES = "abc"

_LINES = np.array(
    [
        sum(1 << square for square in line)
        for line in (
            *((3 * i, 3 * i + 1, 3 * i + 2) for i in range(SIDE)),
            *((i, i + 3, i + 6) for i in range(SIDE)),
            (0, 4, 8),
            (2, 4, 6),
        )
    ],
    np.uint64,
)[:, None]


def move_name(action: int) -> str:
    """Return what a person calls an action: its column, a to c from the left, and its row, 1 to 3 from the top."""
    column, row = divmod(action, SIDE)
    return f"{COLUMN_NAMES[column]}{row + 1}"


def parse_move(text: str) -> int:
    """Return the action a person named. Raises UsageError for anything but a square's name."""
    word = text.strip().lower()
    for action in range(SIDE * SIDE):
        if move_name(action) == word:
            return action
    raise UsageError(f"{word!r} is no square: type a column and a row, from a1 (top left) to c{SIDE} (bottom right).")


class TicTacToe(BoardGame):
    """E games of tic-tac-toe with the observations, rewards and names of `pettingzoo.classic.tictactoe_v3`.

    Action s marks square s. As there, squares are numbered down the columns of the board as it is drawn, from the left
    one, and entry [i, j] of an observation is square 3 i + j: the transpose of what a person sees.
    """

    name: ClassVar = "native/tic_tac_toe"
    agents: ClassVar = ("player_1", "player_2")
    shape: ClassVar = (SIDE, SIDE)
    choices: ClassVar = SIDE * SIDE
    tiles: ClassVar = Tiles(
        board=(60, 60, 60), empty=(240, 238, 230), stones=((40, 90, 170), (190, 60, 50)), shapes=("cross", "ring")
    )
    move_name = staticmethod(move_name)
    parse_move = staticmethod(parse_move)

    @property
    def cells(self) -> Sequence[int]:
        """See `BoardGame.cells`."""
        return range(SIDE * SIDE)

    def place(self, actions: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """See `BoardGame.place`."""
        self._flat_legal[choice] = False
        return actions

    def lines(self, stones: np.ndarray) -> np.ndarray:
        """See `BoardGame.lines`."""
        return ((stones & _LINES) == _LINES).any(axis=0)

    def board(self, env: int) -> np.ndarray:
        """Return copy `env` as a person sees it: int8 [3, 3], 0 empty, 1 and 2 the first and second seat's marks."""
        return super().board(env).T

    def labels(self) -> tuple[Sequence[str], Sequence[str]]:
        """See `BoardGame.labels`."""
        return [str(row + 1) for row in range(SIDE)], COLUMN_NAMES
