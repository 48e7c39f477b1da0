"""Which snapshots are live: everybody has a share by weight, and few change at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfmarl.league.live_choice import SWAPPED, choose_live


@given(
    st.dictionaries(st.integers(0, 30), st.sampled_from([0.0, 0.1, 1.0, 5.0])),
    st.sets(st.integers(0, 40)),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_whatever_is_asked_for(weights, here, room, seed):
    chosen = choose_live(weights, here, room, np.random.default_rng(seed))
    wanted = [key for key, weight in weights.items() if weight > 0]
    assert sorted(chosen) == sorted(wanted)
    if len(wanted) > room:
        live = here & {*wanted}
        assert len({*chosen[:room]} & live) >= min(len(live), room - max(1, room // SWAPPED)), "few change at a time"


def test_without_history_the_first_is_drawn_by_weight():
    rng = np.random.default_rng(1)
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    first = Counter(choose_live(weights, (), 1, rng)[0] for _ in range(8000))
    assert [first[key] / 8000 for key in weights] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.02)


def test_over_time_everybody_is_live_and_more_often_by_weight():
    rng = np.random.default_rng(2)
    weights = {key: 1.0 + 3.0 * (key % 2) for key in range(40)}
    live, times = [], Counter()
    for _ in range(4000):
        live = choose_live(weights, live, 8, rng)[:8]
        times.update(live)
    assert min(times[key] for key in weights) > 0
    rare, often = (np.mean([times[key] for key in weights if key % 2 == odd]) for odd in (0, 1))
    assert often > 1.5 * rare
