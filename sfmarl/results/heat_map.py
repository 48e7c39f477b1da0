"""A payoff matrix as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfmarl.results.tournament_result import Tournament

MOST_NUMBERS = 20
"""Players up to which cells hold their number; beyond, colours alone can be told apart."""
MOST_NAMES = 60
"""Players up to which every row has its name."""


def save_heat_map(tournament: Tournament, path: Path) -> None:
    """Write win rates of rows against columns as a PNG, in the order in which the players were named.

    Raises OSError when `path` cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names, rates, count = tournament.names, tournament.win_rates, len(tournament.names)
    side = min(4.0 + 0.45 * count, 18.0)
    figure, axes = pyplot.subplots(figsize=(side + 2.0, side), layout="constrained")
    try:
        picture = axes.imshow(rates, cmap="RdBu", vmin=0, vmax=1)
        step = -(-count // MOST_NAMES)
        shown = range(0, count, step)
        axes.set_xticks(shown, [names[i] for i in shown], rotation=90, fontsize=8)
        axes.set_yticks(shown, [f"{names[i]}  {tournament.ratings.ratings[i]:.0f}" for i in shown], fontsize=8)
        if count <= MOST_NUMBERS:
            for row in range(count):
                for column in range(count):
                    if row != column:
                        rate = rates[row, column]
                        colour = "black" if 0.2 < rate < 0.8 else "white"
                        axes.text(column, row, f"{100 * rate:.0f}", ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(picture, ax=axes, shrink=0.8, label="win rate of the row against the column (draws count half)")
        axes.set_title(
            f"{tournament.env}: {len(tournament.matches):,} games, both seats; behind the names: rating", fontsize=10
        )
        figure.savefig(path, dpi=110, format="png")
    finally:
        pyplot.close(figure)
