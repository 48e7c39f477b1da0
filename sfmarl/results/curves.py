"""Learning curves: one run's points, and the mean of several runs' with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfmarl.statistics import mean_interval

GRID_POINTS = 100
"""Points of a mean curve."""

Curve = np.ndarray
"""float64 [n, 2]: (x, value) points in order of x."""


@dataclass(frozen=True)
class MeanCurve:
    """Mean over runs on a common grid."""

    x: np.ndarray
    """[GRID_POINTS]."""
    mean: np.ndarray
    """[GRID_POINTS]."""
    half_width: np.ndarray
    """[GRID_POINTS]: half the 95 % t-interval over runs; NaN for a single run."""


def curve_of(records: Iterable[Mapping[str, Any]], name: str, x: str = "env_steps") -> Curve:
    """Return scalar `name` of metrics records against their field `x`; records without it, or null there, are left out.

    The result is [n, 2], n may be 0.
    """
    points = [(r[x], r[name]) for r in records if r.get(name) is not None and r.get(x) is not None]
    curve = np.array(points, np.float64).reshape(-1, 2)
    # a score is written after the records of the steps that were taken while it was evaluated
    return curve[np.argsort(curve[:, 0], kind="stable")]


def mean_curve(curves: Sequence[Curve]) -> MeanCurve | None:
    """Return the mean over runs inside the range of x that all of them cover.

    Runs are recorded at slightly different x: each is interpolated linearly on a common grid. None when there is no
    such range or no curve of at least two points.
    """
    curves = [curve for curve in curves if len(curve) > 1]
    if not curves:
        return None
    first, last = max(c[0, 0] for c in curves), min(c[-1, 0] for c in curves)
    if first >= last:
        return None
    grid = np.linspace(first, last, GRID_POINTS)
    values = np.array([np.interp(grid, *curve.T) for curve in curves])
    half = np.array([mean_interval(column).half_width for column in values.T])
    return MeanCurve(grid, values.mean(axis=0), half)
