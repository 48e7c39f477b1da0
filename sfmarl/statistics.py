"""Means with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, `mean - half_width` to `mean + half_width`."""

    mean: float
    """Sample mean; NaN without samples."""
    half_width: float
    """Half the interval's width; NaN when fewer than two samples leave it unknown."""
    count: int
    """Independent samples it is taken over."""

    def __str__(self) -> str:
        """Return `mean +- half width` with two significant digits of the uncertainty."""
        if not math.isfinite(self.half_width):
            return f"{self.mean:.4g}"
        digits = 1 - math.floor(math.log10(self.half_width)) if self.half_width > 0 else 3
        digits = min(max(digits, 0), 6)
        return f"{self.mean:.{digits}f} ± {self.half_width:.{digits}f}"

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain JSON types; an unknown number is None."""
        mean, half = (x if math.isfinite(x) else None for x in (self.mean, self.half_width))
        return {"mean": mean, "half_width": half, "count": self.count}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Interval:
        """Rebuild what `to_json` wrote; other keys are ignored."""
        mean, half = (math.nan if data[name] is None else data[name] for name in ("mean", "half_width"))
        return cls(mean, half, data["count"])


def mean_interval(samples: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean of independent samples and its Student t-interval, t(n-1) * s / sqrt(n).

    `samples` is [n]. The half width is NaN for n = 1, both are NaN for n = 0.
    """
    from scipy.stats import t  # 0.5 s of import that only evaluations need

    x = np.asarray(samples, dtype=np.float64).reshape(-1)
    n = len(x)
    if n == 0:
        return Interval(math.nan, math.nan, 0)
    if n == 1:
        return Interval(float(x[0]), math.nan, 1)
    half = float(t.ppf(0.5 + confidence / 2, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Interval(float(x.mean()), half, n)
