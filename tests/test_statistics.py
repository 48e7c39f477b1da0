from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sfmarl.statistics import Interval, mean_interval


def test_against_scipy():
    x = np.random.default_rng(0).normal(3, 2, 200)
    found = mean_interval(x)
    low, high = stats.t.interval(0.95, 199, loc=x.mean(), scale=stats.sem(x))
    assert found.count == 200
    assert found.mean == pytest.approx(x.mean())
    assert (found.mean - found.half_width, found.mean + found.half_width) == (pytest.approx(low), pytest.approx(high))


def test_textbook_table():
    """t(0.975, 4) = 2.776 for five samples with s = sqrt(2.5)."""
    assert mean_interval([1, 2, 3, 4, 5]).half_width == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=2e-4)


def test_coverage():
    rng = np.random.default_rng(1)
    covered = [abs((i := mean_interval(rng.normal(size=5))).mean) <= i.half_width for _ in range(1000)]
    assert 0.93 < np.mean(covered) < 0.97


def test_too_few_samples():
    assert mean_interval([2.0]).mean == 2.0
    assert math.isnan(mean_interval([2.0]).half_width)
    assert math.isnan(mean_interval([]).mean)
    assert mean_interval([]).to_json() == {"mean": None, "half_width": None, "count": 0}


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(-36.123, 1.234, 9), "-36.1 ± 1.2"),
        (Interval(1234.5, 250.0, 9), "1234 ± 250"),
        (Interval(0.98765, 0.00123, 9), "0.9877 ± 0.0012"),
        (Interval(25.0, 0.0, 9), "25.000 ± 0.000"),
        (Interval(2.0, math.nan, 1), "2"),
    ],
)
def test_as_text(interval, text):
    assert str(interval) == text
