from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfmarl.tuning.figures import Curve


def test_lines_between_and_beyond():
    curve = Curve(((4, 6.0), (32, 20.0), (128, 68.0)))
    for size, seconds in ((4, 6), (18, 13), (32, 20), (80, 44), (128, 68), (256, 132), (2, 5)):
        assert curve(size) == pytest.approx(seconds)


def test_a_single_size_is_taken_for_proportional():
    assert Curve(((4, 6.0),))(32) == 48.0


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(1e-6, 10)), min_size=1, max_size=5, unique_by=lambda p: p[0]),
    st.floats(1, 600),
    st.floats(1, 4),
)
def test_more_takes_longer_but_no_longer_than_in_small_portions(points, size, factor):
    """Whatever was measured while other programs ran."""
    curve = Curve(tuple(sorted(points)))
    few, many = curve(size), curve(size * factor)
    assert 0 < few <= many * (1 + 1e-9)
    assert many <= few * factor * (1 + 1e-9)
