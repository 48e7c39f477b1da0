"""Pictures of leagues and tournaments: payoff, ratings, and whom everybody meets.

They are drawn on canvases of their own, without pyplot's global state, so that a thread may draw them while the run, or
a user's callback, draws something else. Unless they are asked to be wider they are to be read on TensorBoard's cards,
about 360 pixels wide: so they are small, with large letters, and have more pixels than that for whoever looks at them
alone.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfmarl.monitor.record_files import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
WIDTH = 4.3
"""Inches."""
NAMES_PER_INCH = 6
"""Names that an axis can hold."""
CELL = 24
"""Pixels of a payoff's cell before it is drawn, at most."""
ROOM_FOR_NUMBERS = 0.35
"""Inches of picture for each player from which a cell that is known to +- .25 holds its number; else colour and size of
its square do."""


@dataclass(frozen=True)
class Table:
    """Results of n players against each other, in both (all) seats."""

    names: Sequence[str]
    """[n]."""
    win_rates: np.ndarray
    """[n, n] float64: (wins + draws / 2) / games of the row against the column."""
    width: np.ndarray
    """[n, n] float64: width of its 95 % interval; 1 without games."""
    games: np.ndarray
    """[n, n] float64."""
    snapshots: Sequence[bool]
    """[n]: which are snapshots. Where there is no room for all names some of these go without."""
    about: Sequence[str] = ()
    """[n] what stands behind the names of rows; empty: nothing."""


@dataclass(frozen=True)
class Rated:
    """Players on the Elo scale."""

    names: Sequence[str]
    """[n]."""
    player: Sequence[str]
    """[n]: whose policy each is; "" for scripts, which have no env-steps."""
    env_steps: np.ndarray
    """[n] float64: when each was taken; of those that learn: now."""
    learning: np.ndarray
    """[n] bool."""
    ratings: np.ndarray
    """[n] float64."""
    half_width: np.ndarray
    """[n] float64: half of its 95 % interval."""


def payoff_picture(table: Table, title: str, width: float = WIDTH) -> Picture:
    """Draw who beats whom, `width` inches wide.

    Colour is the win rate, a square is the fuller the narrower the interval; nothing: no games.
    """
    count = len(table.names)
    figure, axes = _figure(width, width + 0.6, layout="compressed")
    colours = _colormap("RdBu")
    squares = _squares(table, colours, max(3, min(CELL, int(width * DPI / count))))
    axes.imshow(squares, extent=(-0.5, count - 0.5, count - 0.5, -0.5), interpolation="nearest")
    if width / count >= ROOM_FOR_NUMBERS:
        for row, column in np.argwhere((table.width <= 0.5) & ~np.eye(count, dtype=bool)).tolist():
            rate = table.win_rates[row, column]
            ink = "black" if 0.2 < rate < 0.8 else "white"
            axes.text(column, row, f"{100 * rate:.0f}", ha="center", va="center", fontsize=9, color=ink)
    named = thinned(table.snapshots, int(NAMES_PER_INCH * width))
    axes.set_xticks(named, [table.names[place] for place in named], rotation=90, fontsize=7)
    rows = [f"{name}  {about}" for name, about in zip(table.names, table.about or [""] * count, strict=True)]
    axes.set_yticks(named, [rows[place].rstrip() for place in named], fontsize=7)
    axes.tick_params(length=0)
    bar = figure.colorbar(_scale(colours, 1.0), ax=axes, orientation="horizontal", fraction=0.22 / width)
    bar.set_label("win rate of the row against the column", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.set_title(_wrapped(f"{title}; a full square is a narrow 95\u00a0% interval", width), fontsize=9)
    return _encoded(figure)


def thinned(may_go: Sequence[bool], count: int) -> list[int]:
    """Return `count` places, or all if they are fewer: those that may not go, and others spread evenly among the rest.

    The first and the last of those that may go are always among them, also where that makes more than `count`.
    """
    gone = np.asarray(may_go, bool)
    rest = np.flatnonzero(gone)
    room = max(2, count - np.count_nonzero(~gone))
    if len(rest) > room:
        gone[rest[np.linspace(0, len(rest) - 1, room).round().astype(int)]] = False
    else:
        gone[:] = False
    return np.flatnonzero(~gone).tolist()


def _squares(table: Table, colours: Any, cell: int) -> np.ndarray:
    """Return the cells as an image [n * cell, n * cell, 3]: one image is drawn far sooner than n * n patches."""
    count = len(table.names)
    image = np.full((count, count, cell, cell, 3), 0.87, np.float32)
    image[:, :, 0], image[:, :, :, 0] = 1.0, 1.0
    # areas, not sides, are what the eye compares
    sides = np.sqrt(np.clip(1.0 - table.width, 0.05, 1.0)) * (cell - 2)
    inks = colours(table.win_rates)[..., :3]
    for row, column in np.argwhere((table.games > 0) & ~np.eye(count, dtype=bool)).tolist():
        side = max(3, round(float(sides[row, column])))
        begin = 1 + max(0, cell - side) // 2
        image[row, column, begin : begin + side, begin : begin + side] = inks[row, column]
    return image.transpose(0, 2, 1, 3, 4).reshape(count * cell, count * cell, 3)


def ratings_picture(rated: Rated, title: str) -> Picture:
    """Draw ratings with their intervals by the env-steps at which snapshots were taken."""
    figure, axes = _figure(WIDTH, 3.4)
    players = list(dict.fromkeys(name for name in rated.player if name))
    for number, player in enumerate(players):
        colour = f"C{number % 10}"
        own = np.array([name == player for name in rated.player])
        order = np.flatnonzero(own & ~rated.learning)
        order = order[np.argsort(rated.env_steps[order], kind="stable")]
        steps, ratings, half = rated.env_steps[order], rated.ratings[order], rated.half_width[order]
        axes.plot(steps, ratings, "-o", color=colour, markersize=3, linewidth=1, label=f"snapshots of {player}")
        axes.fill_between(steps, ratings - half, ratings + half, color=colour, alpha=0.2, linewidth=0)
        for place in np.flatnonzero(own & rated.learning):
            axes.errorbar(
                rated.env_steps[place], rated.ratings[place], rated.half_width[place],
                fmt="D", color=colour, markersize=6, capsize=3, label=f"{player} (all its games)",
            )  # fmt: skip
    for place, player in enumerate(rated.player):
        if not player:
            axes.axhline(rated.ratings[place], color="0.4", linestyle=":", label=rated.names[place])
    axes.set_xlabel("env-steps at which it was taken", fontsize=8)
    axes.xaxis.set_major_formatter(_steps())
    axes.set_ylabel("rating (Elo scale), 95 % interval", fontsize=8)
    axes.set_title(_wrapped(title), fontsize=9)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
    return _encoded(figure)


def opponents_picture(names: Sequence[str], met: Mapping[str, np.ndarray], title: str) -> Picture:
    """Draw whom each learning player is to meet: bars over groups of opponents, [n] probabilities by player."""
    figure, *panels = _figure(WIDTH, 0.9 + 1.5 * len(met), len(met))
    for axes, (player, probabilities) in zip(panels, met.items(), strict=True):
        axes.bar(range(len(names)), probabilities, color=["C1" if name == player else "C0" for name in names])
        axes.set_ylabel(f"met by {player}", fontsize=8)
        axes.set_ylim(0, max(0.05, 1.1 * float(probabilities.max(initial=0.0))))
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(range(len(names)), [])
    named = thinned([name not in met for name in names], int(NAMES_PER_INCH * WIDTH))
    panels[-1].set_xticks(named, [names[place] for place in named], rotation=90, fontsize=7)
    panels[0].set_title(_wrapped(title), fontsize=9)
    return _encoded(figure)


def opponents_over_time_picture(
    env_steps: np.ndarray, groups: Sequence[str], met: Mapping[str, np.ndarray], title: str
) -> Picture:
    """Draw whom each player was to meet at every look back: columns end at looks [t], rows are groups, [t, n]."""
    figure, *panels = _figure(WIDTH, 1.2 + 2.1 * len(met), len(met))
    colours, edges = _colormap("viridis"), np.concatenate([[0.0], env_steps])
    most = max(float(shares.max(initial=0.0)) for shares in met.values()) or 1.0
    for axes, (player, shares) in zip(panels, met.items(), strict=True):
        scale = _scale(colours, most, gamma=0.5)
        axes.pcolormesh(edges, np.arange(len(groups) + 1) - 0.5, shares.T, cmap=colours, norm=scale.norm)
        axes.set_yticks(range(len(groups)), groups, fontsize=7)
        axes.set_ylabel(f"met by {player}", fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in panels:
        axes.xaxis.set_major_formatter(_steps())
    panels[-1].set_xlabel("env-steps", fontsize=8)
    panels[0].set_title(_wrapped(title), fontsize=9)
    ticks = [0.0, most / 16, most / 4, most]
    bar = figure.colorbar(scale, ax=panels, orientation="horizontal", fraction=0.05, ticks=ticks, format="%.2g")
    bar.ax.tick_params(labelsize=7)
    bar.set_label("probability", fontsize=8)
    return _encoded(figure)


def _figure(width: float, height: float, panels: int = 1, layout: str = "constrained") -> tuple[Any, ...]:
    """Return a figure of inches and its panels, one above the other; `compressed` is for panels that stay square."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure, *figure.subplots(panels, 1, squeeze=False)[:, 0]


def _encoded(figure: Figure) -> Picture:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    width, height = figure.canvas.get_width_height()
    return Picture(file.getvalue(), width, height)


def _colormap(name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps[name]


def _steps() -> Any:
    """Return what writes env-steps on an axis."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda steps, _: compact(steps))


def compact(number: float) -> str:
    """Return a number of env-steps in a few characters, e.g. 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _scale(colours: Any, most: float, gamma: float = 1.0) -> Any:
    """Return what gives numbers from 0 to `most` their colours; `gamma` below 1 tells small ones apart."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    return ScalarMappable(PowerNorm(gamma, 0.0, most), colours)


def _wrapped(text: str, width: float = WIDTH) -> str:
    return textwrap.fill(text, int(12 * width))
