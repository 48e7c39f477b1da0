"""Whom a match brings together: drawn once, from the newest table, with balanced seats and a true identity."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sfmarl.memory.match_table import EMPTY, Matches, MatchTable, TableSpec
from sfmarl.memory.segment import Layout, Segment
from sfmarl.workers.match_seating import LIVE, MatchSeating
from sfmarl.workers.seating import frozen

SPEC = TableSpec(learning=2, snapshots=2, scripts=1)
ENTRIES = np.array([40, 41, EMPTY, EMPTY, EMPTY])
MAIN, OTHER, RANDOM = 2, 3, 4


def seating(probability, seats=2, home=0, evaluation=(), share=0.0, seed=0) -> tuple[MatchTable, MatchSeating]:
    layout = Layout()
    SPEC.plan(layout, seats, workers=1)
    table = MatchTable(SPEC, Segment(layout))
    rows = np.eye(5)[[MAIN, OTHER]]
    rows[home] = probability
    table.publish(Matches(rows, ENTRIES, np.array(evaluation, np.int64).reshape(-1, seats), share))
    return table, MatchSeating(table, 0, home, envs=3, seats=seats, seed=seed)


def test_opponents_come_as_often_as_the_table_says_and_seats_are_balanced():
    probability = np.array([0.1, 0.2, 0.3, 0.0, 0.4])
    _, seats = seating(probability)
    met, taken = Counter(), Counter()
    for _ in range(8000):
        players = seats.draw(0)
        if players == (0, 1):
            met[MAIN] += 1
            assert seats.identity[0].tolist() == [LIVE, LIVE]
            continue
        own = next(seat for seat, player in enumerate(players) if player >= 0)
        column = frozen(players[1 - own])
        assert players[own] == own, "the home player learns in the block of the seat it takes"
        assert seats.identity[0, own] == LIVE
        assert seats.identity[0, 1 - own] == {0: 40, 1: 41, RANDOM: LIVE - 2}[column]
        met[column] += 1
        taken[own] += 1
        assert abs(taken[0] - taken[1]) <= 1
    assert np.abs(np.array([met[c] for c in range(5)]) / 8000 - probability).max() < 0.02


def test_another_learning_player_sits_opposite_without_learning():
    _, seats = seating(np.eye(5)[MAIN], home=1)
    for _ in range(4):
        players = seats.draw(1)
        assert sorted(players) == [frozen(MAIN), players.index(max(players))]
        assert sorted(seats.identity[1]) == [LIVE - 1, LIVE]


def test_nobody_learns_in_an_evaluation_match():
    _, seats = seating(np.eye(5)[MAIN], evaluation=[(0, MAIN), (RANDOM, 1)], share=0.5)
    drawn = Counter()
    for _ in range(2000):
        players = seats.draw(2)
        drawn[players] += 1
    assert set(drawn) == {(0, 1), (frozen(0), frozen(MAIN)), (frozen(RANDOM), frozen(1))}
    assert abs(drawn[0, 1] / 2000 - 0.5) < 0.05
    seats.identity[:] = 7
    players = seats.draw(2)
    expected = {(0, 1): [LIVE, LIVE], (frozen(0), frozen(MAIN)): [40, LIVE]}.get(players, [LIVE - 2, 41])
    assert seats.identity.tolist() == [[7, 7], [7, 7], expected]


def test_a_new_table_is_drawn_from_at_the_next_match_and_the_worker_says_so():
    table, seats = seating(np.eye(5)[0])
    assert table.seen.tolist() == [0]
    assert frozen(0) in seats.draw(0)
    assert table.seen.tolist() == [1]
    table.publish(Matches(np.eye(5)[[1, OTHER]], np.array([40, 51, EMPTY, EMPTY, EMPTY]), np.zeros((0, 2), np.int64)))
    assert frozen(1) in seats.draw(1)
    assert table.seen.tolist() == [2]
    assert 51 in seats.identity[1]
    assert 40 in seats.identity[0], "a running match keeps its players"


@pytest.mark.parametrize("seats", [3, 4])
def test_games_of_more_seats_have_an_opponent_in_each(seats):
    _, drawn = seating(np.array([0.3, 0.3, 0.4, 0.0, 0.0]), seats=seats)
    taken, learners = Counter(), Counter()
    for _ in range(3000):
        players = drawn.draw(0)
        assert len(players) == seats
        learning = [seat for seat, player in enumerate(players) if player >= 0]
        assert all(players[seat] == seat for seat in learning)
        learners[len(learning)] += 1
        if len(learning) == 1:
            taken[learning[0]] += 1
    assert set(learners) == set(range(1, seats + 1))
    assert len(taken) == seats


def test_draws_are_a_function_of_the_seed():
    probability = np.array([0.25, 0.25, 0.25, 0.0, 0.25])
    one, same, other = (seating(probability, seed=seed)[1] for seed in (1, 1, 2))
    drawn = [[s.draw(0) for _ in range(50)] for s in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
