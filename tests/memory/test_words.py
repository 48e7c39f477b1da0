"""Counters are read while others count."""

from __future__ import annotations

import numpy as np

from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.words import MOST_LOOKS, Words, plan_words


class BeingCounted:
    """A worker's counters, of which every copy shows the next moment."""

    def __init__(self, *moments: list[int]) -> None:
        self.moments = list(moments)
        self.looks = 0

    def copy(self) -> np.ndarray:
        self.looks += 1
        return np.array([self.moments.pop(0) if len(self.moments) > 1 else self.moments[0], [10, 30]])


def words() -> Words:
    layout = Layout()
    plan_words(layout, workers=2, splits=1, inference_workers=1, policies=1)
    return Words(Segment(layout))


def test_totals_never_show_a_step_that_is_half_counted():
    shared = words()
    shared.counts["learner"][0] = [1, 2, 3, 4]
    shared.counts["rollout"] = BeingCounted([5, 12], [5, 15], [6, 15], [6, 18], [6, 18])
    assert shared.totals() == {"rollout": [16, 48], "inference": [0, 0], "learner": [1, 2, 3, 4]}


def test_counters_that_never_stand_still_are_read_all_the_same():
    shared = words()
    shared.counts["rollout"] = BeingCounted(*([i, 3 * i] for i in range(1000)))
    assert shared.totals()["rollout"] == [MOST_LOOKS + 10, 3 * MOST_LOOKS + 30]
    assert shared.counts["rollout"].looks == MOST_LOOKS + 1
