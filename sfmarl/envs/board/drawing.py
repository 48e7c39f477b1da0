"""Boards as lines of text and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]
Shape = Literal["disc", "ring", "cross"]

MARKS = ".XO"
"""An empty cell, a stone of the first seat, one of the second."""
TILE = 40
"""Pixels of a cell's side."""


@dataclass(frozen=True)
class Tiles:
    """How cells are drawn."""

    board: Colour
    """Around the cells."""
    empty: Colour
    """Of an empty cell."""
    stones: tuple[Colour, Colour]
    """Of each seat's stones."""
    shapes: tuple[Shape, Shape] = ("disc", "disc")
    """Of each seat's stones. Where both are discs, cells are round holes, else squares."""


def draw_text(board: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Return `board` [rows, columns] of 0, 1 and 2 as text, with `rows` at the left and `columns` at the bottom."""
    margin = max(map(len, rows))
    lines = [
        " ".join([label.rjust(margin), *(MARKS[cell] for cell in row)])
        for label, row in zip(rows, board.tolist(), strict=True)
    ]
    return "\n".join([*lines, " ".join([" " * margin, *columns])])


def draw_pixels(board: np.ndarray, tiles: Tiles) -> np.ndarray:
    """Return `board` [rows, columns] of 0, 1 and 2 as uint8 [rows * TILE, columns * TILE, 3]."""
    pictures = np.stack([_tile(tiles, content) for content in range(3)])
    rows, columns = board.shape
    return pictures[board].swapaxes(1, 2).reshape(rows * TILE, columns * TILE, 3)


def _tile(tiles: Tiles, content: int) -> np.ndarray:
    """Return the picture [TILE, TILE, 3] of an empty cell (0) or one with a stone (1, 2)."""
    # distances from the middle of the cell, 1 at the edge
    across = (np.arange(TILE) + 0.5) / (TILE / 2) - 1
    x, y = across[None, :], across[:, None]
    distance = np.hypot(x, y)
    inside = distance < 0.8 if tiles.shapes == ("disc", "disc") else np.maximum(abs(x), abs(y)) < 0.95
    picture = np.where(inside[..., None], np.array(tiles.empty), np.array(tiles.board))
    if content:
        covered = {
            "disc": distance < 0.8,
            "ring": abs(distance - 0.58) < 0.14,
            "cross": (np.maximum(abs(x), abs(y)) < 0.7) & (np.minimum(abs(x - y), abs(x + y)) < 0.2),
        }[tiles.shapes[content - 1]]
        picture = np.where(covered[..., None], np.array(tiles.stones[content - 1]), picture)
    return picture.astype(np.uint8)
