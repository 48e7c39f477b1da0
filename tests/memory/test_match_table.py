"""The match table is read as it was published, and nothing that cannot be met is published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sfmarl.memory.match_table import EMPTY, Matches, MatchTable, TableSpec
from sfmarl.memory.segment import Layout, Segment

SPEC = TableSpec(learning=2, snapshots=3, scripts=1, evaluations=4)
NOBODY = np.zeros((0, 2), np.int64)


def make_table() -> MatchTable:
    layout = Layout()
    SPEC.plan(layout, seats=2, workers=2)
    return MatchTable(SPEC, Segment(layout))


def some_matches(seed: int = 0) -> Matches:
    rng = np.random.default_rng(seed)
    probability = rng.random((2, 6))
    probability[:, 2] = 0.0
    return Matches(
        probability / probability.sum(axis=1, keepdims=True),
        np.array([seed, seed + 1, EMPTY, EMPTY, EMPTY, EMPTY]),
        np.array([[0, 1], [1, 5]]),
        0.25,
    )


def test_columns_are_snapshots_then_learning_players_then_scripts():
    assert SPEC.columns == 6
    assert [SPEC.column_of_learning(p) for p in (0, 1)] == [3, 4]
    assert SPEC.column_of_script(0) == 5


def test_what_is_published_is_read_and_the_version_counts():
    table = make_table()
    with pytest.raises(ValueError, match="nothing was published"):
        table.read()
    for n in range(1, 5):
        assert table.publish(some_matches(n)) == n
        version, found = table.read()
        assert version == table.version == n
        for name in ("probability", "entry", "evaluation"):
            np.testing.assert_array_equal(getattr(found, name), getattr(some_matches(n), name))
        assert found.evaluation_share == 0.25
    copy = table.read()[1]
    table.publish(replace(some_matches(9), evaluation=NOBODY))
    table.publish(some_matches(10))
    np.testing.assert_array_equal(copy.entry, some_matches(4).entry)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"probability": np.full((2, 6), 0.2)}, "distribution"),
        ({"probability": np.eye(6)[[2, 0]]}, "without a snapshot"),
        ({"evaluation": np.array([[2, 0]])}, "without a snapshot"),
        ({"evaluation": np.zeros((5, 2), np.int64)}, "at most 4"),
        ({"evaluation_share": 1.0}, "less than all"),
        ({"probability": np.full((1, 6), 1 / 6)}, "6 columns"),
    ],
)
def test_what_cannot_be_met_is_refused(wrong, why):
    table = make_table()
    with pytest.raises(ValueError, match=why):
        table.publish(replace(some_matches(), **wrong))
    assert table.version == 0
