"""Matrix games for a person: payoffs and rounds as text, the last round and the episode as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sfmarl.envs.matrix.payoffs import Game

WIDTH = 240
"""Pixels from left to right."""
STRIP = 20
"""Height of each player's strip of moves, in pixels."""
GAP = 4
"""Pixels above each strip."""
FRAME = 0.08
"""Width of a frame, as a share of the cell's side."""
MOST_NAMED = 8
"""Actions of a player up to which payoffs are a table that fits a terminal."""

LOW, MIDDLE, HIGH = np.array([[202, 62, 58], [244, 242, 236], [52, 108, 176]], np.float64)
"""Colours of the lowest payoff of a game, the middle, the highest."""
PLAYED, EMPTY = (20, 20, 20), (190, 190, 186)
"""The frame of the cell that was played, and rounds that were not played yet."""


def payoff_text(game: Game, players: Sequence[str]) -> str:
    """Return what the players (who chooses the row, who the column) earn in each cell, both payoffs in one."""
    rows, columns = game.num_actions
    if max(rows, columns) > MOST_NAMED:
        return f"{players[0]} has {rows} actions, {players[1]} {columns}: {game.names[0][0]} to {game.names[0][-1]}."
    table = [(f"{players[0]} \\ {players[1]}", *game.names[1])]
    for i, name in enumerate(game.names[0]):
        table.append((name, *(f"{game.payoffs[0, i, j]:g}, {game.payoffs[1, i, j]:g}" for j in range(columns))))
    return "\n".join(_columns(table, [str.ljust] * (columns + 1)))


def rounds_text(
    game: Game, players: Sequence[str], moves: np.ndarray, returns: np.ndarray, last: int | None = None
) -> str:
    """Return what was played and paid in each round, or the `last` ones, and the sums.

    `moves` int [rounds, 2]; `returns` [2], what the players have earned in all rounds.
    """
    table = [("round", *players, "paid", "")]
    first = 0 if last is None else max(0, len(moves) - last)
    for number, (one, two) in enumerate(moves[first:].tolist(), first + 1):
        paid = game.payoffs[:, one, two].tolist()
        table.append((str(number), game.names[0][one], game.names[1][two], *(f"{value:g}" for value in paid)))
    table.append(("sum", "", "", *(f"{value:g}" for value in returns.tolist())))
    return "\n".join(_columns(table, [str.rjust, str.ljust, str.ljust, str.rjust, str.rjust]))


def draw(game: Game, moves: np.ndarray, length: int) -> np.ndarray:
    """Return a picture of an episode of `length` rounds, of which `moves` int [rounds, 2] were played.

    uint8 [height, WIDTH, 3]. Above the payoffs: a cell is coloured below its diagonal by what player 0 earns there,
    above it by what player 1 does, and framed if it was the last to be played. Below, what each player chose, round
    by round: the first action light, the last one dark.
    """
    rows, columns = game.num_actions
    height = min(max(WIDTH * rows // columns, STRIP), 2 * WIDTH)
    x, y = np.meshgrid((np.arange(WIDTH) + 0.5) * columns / WIDTH, (np.arange(height) + 0.5) * rows / height)
    column, row = x.astype(np.int64), y.astype(np.int64)
    x, y = x - column, y - row
    low, high = float(game.payoffs.min()), float(game.payoffs.max())
    level = (game.payoffs - low) / (high - low) if high > low else np.full(game.payoffs.shape, 0.5)
    board = _payoff_colours(level)[(x > y).astype(np.int64), row, column]
    if len(moves):
        edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < FRAME
        board[edge & (row == moves[-1, 0]) & (column == moves[-1, 1])] = PLAYED
    gap = np.full((GAP, WIDTH, 3), 255, np.uint8)
    strips = [np.tile(_strip(moves[:, player], game.num_actions[player], length), (STRIP, 1, 1)) for player in (0, 1)]
    return np.concatenate([board, gap, strips[0], gap, strips[1]])


def _payoff_colours(level: np.ndarray) -> np.ndarray:
    """Return colours uint8 [..., 3] of payoffs between 0 and 1."""
    below, above = np.minimum(level * 2, 1)[..., None], np.maximum(level * 2 - 1, 0)[..., None]
    return (LOW + (MIDDLE - LOW) * below + (HIGH - MIDDLE) * above).astype(np.uint8)


def _strip(chosen: np.ndarray, choices: int, length: int) -> np.ndarray:
    """Return one player's actions [rounds] as colours uint8 [WIDTH, 3], from left to right."""
    shades = np.linspace(225, 45, choices).astype(np.uint8)
    rounds = np.tile(np.array(EMPTY, np.uint8), (length, 1))
    rounds[: len(chosen)] = shades[chosen][:, None]
    return rounds[np.arange(WIDTH) * length // WIDTH]


def _columns(table: Sequence[Sequence[str]], adjust: Sequence) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(to(word, width) for to, word, width in zip(adjust, row, widths, strict=True)).rstrip()
