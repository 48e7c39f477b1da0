"""Connect Four: drop stones into seven columns of six; four in a line win.

The board is a bit set per seat, seven bits per column of which the topmost stays empty, so that a shift by one column
or one row never wraps a line around the edge (the representation of John Tromp's Fhourstones benchmark):

     6 13 20 27 34 41 48   always empty
     5 12 19 26 33 40 47   top row
     ...
     0  7 14 21 28 35 42   bottom row

Four in a line along direction d are four bits d apart: s & s>>d & s>>2d & s>>3d.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sfmarl.envs.board.drawing import Tiles
from sfmarl.envs.board.game import BoardGame, RenderMode
from sfmarl.errors import UsageError

ROWS, COLUMNS = 6, 7

_COLUMN_BITS = ROWS + 1
_DIRECTIONS = np.array([1, _COLUMN_BITS - 1, _COLUMN_BITS, _COLUMN_BITS + 1], np.uint64)[:, None]
"""Up, down to the right, right, up to the right."""
_TWICE = 2 * _DIRECTIONS
_LOWEST_BIT = _COLUMN_BITS * np.arange(COLUMNS)


def move_name(action: int) -> str:
    """Return what a person calls an action: its column, 1 to 7 from the left."""
    return str(action + 1)


def parse_move(text: str) -> int:
    """Return the action a person named. Raises UsageError for anything but a column's number."""
    word = text.strip()
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= COLUMNS):
        raise UsageError(f"{word!r} is no column: type a number from 1 (left) to {COLUMNS} (right).")
    return int(word) - 1


class ConnectFour(BoardGame):
    """E games of Connect Four with the observations, rewards and names of `pettingzoo.classic.connect_four_v3`.

    Action c drops a stone into column c, from the left.
    """

    name: ClassVar = "native/connect_four"
    agents: ClassVar = ("player_0", "player_1")
    shape: ClassVar = (ROWS, COLUMNS)
    choices: ClassVar = COLUMNS
    tiles: ClassVar = Tiles(board=(36, 72, 160), empty=(18, 36, 80), stones=((222, 60, 60), (240, 200, 60)))
    move_name = staticmethod(move_name)
    parse_move = staticmethod(parse_move)

    def __init__(self, num_envs: int, seeds: Sequence[int], render_mode: RenderMode | None = None) -> None:
        """See `BoardGame`."""
        super().__init__(num_envs, seeds, render_mode)
        self._height = np.zeros((num_envs, COLUMNS), np.int64)
        self._flat_height = self._height.reshape(-1)

    def reset(self, envs: np.ndarray) -> None:
        """See `TurnVectorEnv.reset`."""
        super().reset(envs)
        self._height[envs] = 0

    @property
    def cells(self) -> Sequence[int]:
        """See `BoardGame.cells`."""
        return [
            (ROWS - 1 - row) * COLUMNS + column if row < ROWS else 0
            for column in range(COLUMNS)
            for row in range(_COLUMN_BITS)
        ]

    def place(self, actions: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """See `BoardGame.place`: a stone falls onto those that lie in its column."""
        height = self._flat_height[choice]
        higher = height + 1
        self._flat_height[choice] = higher
        self._flat_legal[choice] = higher < ROWS
        return _LOWEST_BIT[actions] + height

    def lines(self, stones: np.ndarray) -> np.ndarray:
        """See `BoardGame.lines`."""
        pairs = stones & stones >> _DIRECTIONS
        return (pairs & pairs >> _TWICE).any(axis=0)

    def labels(self) -> tuple[Sequence[str], Sequence[str]]:
        """See `BoardGame.labels`."""
        return [""] * ROWS, [move_name(column) for column in range(COLUMNS)]
