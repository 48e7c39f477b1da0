"""Learning curves as a picture: panels of labelled groups, each run thin, the mean thick, its interval shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.results.curves import Curve, mean_curve


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    """What is drawn."""
    xlabel: str
    """Name and unit of x."""
    ylabel: str
    """Name of the values; an empty string leaves the axis without."""
    groups: Mapping[str, Sequence[Curve]]
    """Label -> curves of its runs. The same label has the same colour in every panel."""


def save_figure(
    rows: Sequence[Sequence[Panel]], path: Path, title: str, level: tuple[float, str] | None = None
) -> None:
    """Draw a grid of panels and write it to `path` (PNG); panels of one row share their y axis.

    `level` is a (value, label) that every panel shows as a dotted line. Raises OSError when `path` cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = list(dict.fromkeys(label for row in rows for panel in row for label in panel.groups))
    colours = {label: f"C{number % 10}" for number, label in enumerate(labels)}
    columns = max(len(row) for row in rows)
    size = 6.0 * columns, 0.5 + 4.0 * len(rows)
    figure, grid = pyplot.subplots(len(rows), columns, figsize=size, sharey="row", squeeze=False, layout="constrained")
    try:
        for axes_row, row in zip(grid, rows, strict=True):
            for axes, panel in zip(axes_row, row, strict=True):
                _draw_panel(axes, panel, colours)
                if level is not None:
                    axes.axhline(level[0], color="grey", linestyle=":", label=level[1])
            _limit(axes_row[0], row, () if level is None else (level[0],))
        handles = {}
        for axes in grid.flat:
            shown, names = axes.get_legend_handles_labels()
            handles |= dict(zip(names, shown, strict=True))
        if handles:
            grid[0, 0].legend(handles.values(), handles.keys(), fontsize=9)
        figure.suptitle(
            f"{title}\nmean over runs thick, 95 % t-interval over runs shaded, single runs thin", fontsize=10
        )
        figure.savefig(path, dpi=110, format="png")
    finally:
        pyplot.close(figure)


def _draw_panel(axes: Any, panel: Panel, colours: Mapping[str, str]) -> None:
    for label, curves in panel.groups.items():
        _draw_group(axes, curves, colours[label], label)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    axes.grid(alpha=0.3)


def _limit(axes: Any, row: Sequence[Panel], also: tuple[float, ...]) -> None:
    """Let the curves of a row, not their intervals, decide its y range: an interval over two runs can be huge."""
    curves = [curve[:, 1] for panel in row for curves in panel.groups.values() for curve in curves]
    values = np.concatenate([*curves, np.array(also)])
    values = values[np.isfinite(values)]
    if len(values):
        margin = 0.25 * (values.max() - values.min()) or 1.0
        axes.set_ylim(values.min() - margin, values.max() + margin)


def _draw_group(axes: Any, curves: Sequence[Curve], colour: str, label: str) -> None:
    curves = [curve for curve in curves if len(curve)]
    mean = mean_curve(curves)
    # without a common range there is no mean to name in the legend
    name = label if mean is None else None
    for curve in curves:
        marker = "o" if len(curve) == 1 else None
        axes.plot(*curve.T, color=colour, linewidth=0.6, alpha=0.5, marker=marker, markersize=4, label=name)
        name = None
    if mean is None:
        return
    axes.plot(mean.x, mean.mean, color=colour, linewidth=2, label=label)
    if np.isfinite(mean.half_width).all():
        axes.fill_between(
            mean.x, mean.mean - mean.half_width, mean.mean + mean.half_width, color=colour, alpha=0.15, linewidth=0
        )
