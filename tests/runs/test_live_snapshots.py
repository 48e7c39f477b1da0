"""A column of the match table changes hands only when no match can be running with what lies in it."""

from __future__ import annotations

import numpy as np
import pytest

from sfmarl.memory.match_table import EMPTY, Matches, TableSpec
from sfmarl.memory.plane import DataPlane, PlaneSpec
from sfmarl.run.live_snapshots import LiveSnapshots
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec
from sfmarl.workers.match_seating import MatchSeating
from sfmarl.workers.seating import frozen

SIZE, ENVS, WORKERS, COLUMNS = 5, 3, 2, 3
TEAMS = tuple(
    TeamSpec(name, (name,), ObsSpec((2,), np.dtype(np.float32)), ActionSpec("discrete", (3,), (0,)), has_mask=False)
    for name in ("a", "b")
)


def make_plane() -> DataPlane:
    return DataPlane.create(
        PlaneSpec(
            EnvSpec("game", TEAMS),
            workers=WORKERS,
            splits=1,
            envs_per_split=ENVS,
            inference_workers=1,
            rollout=4,
            ring=2,
            policy_of_team=(0, 0),
            weight_sizes=(SIZE,),
            frozen_sizes=(SIZE,) * COLUMNS,
            table=TableSpec(learning=1, snapshots=COLUMNS),
        )
    )


def weights(entry: int) -> np.ndarray:
    return np.full(SIZE, entry, np.float32)


class Book:
    """A plane, its columns, and workers that begin matches as the data plane does."""

    def __init__(self) -> None:
        self.plane = make_plane()
        self.live = LiveSnapshots(self.plane, weights)
        self.table = self.plane.match_table()
        self.scratch = [self.plane.scratch(worker, 0) for worker in range(WORKERS)]
        self.seating = [MatchSeating(self.table, worker, 0, ENVS, 2, seed=worker) for worker in range(WORKERS)]
        for seats in self.scratch:
            for seat in seats:
                seat.player[:] = -1

    def publish(self) -> None:
        row = np.append(self.live.drawable.astype(float), 0.5)
        entry = np.append(self.live.entries, EMPTY)
        self.live.published(self.table.publish(Matches(row[None] / row.sum(), entry, np.zeros((0, 2), np.int64))))

    def begin(self, worker: int, env: int) -> None:
        for seat, player in enumerate(self.seating[worker].draw(env)):
            self.scratch[worker][seat].player[env] = frozen(player) if player < 0 else -1

    def stored(self, column: int) -> float:
        out = np.empty(SIZE, np.float32)
        self.plane.weights(1 + column).read(out)
        return float(out[0])


def test_wanted_snapshots_are_published_and_drawable():
    book = Book()
    book.live.want([7, 3])
    assert not book.live.drawable.any()
    assert book.live.load() and not book.live.load()
    assert book.live.entries.tolist() == [7, 3, EMPTY]
    assert book.live.drawable.tolist() == [True, True, False]
    assert [book.stored(column) for column in (0, 1)] == [7, 3]
    assert (book.live.loads, book.live.bytes_moved) == (2, 2 * 4 * SIZE)


def test_more_than_there_is_room_for_is_left_out_and_repetitions_count_once():
    book = Book()
    book.live.want([1, 1, 2, 3, 4])
    book.live.load()
    assert book.live.entries.tolist() == [1, 2, 3]


def test_a_column_is_overwritten_only_after_every_worker_has_seen_it_go_and_every_match_with_it_is_over():
    book = Book()
    book.live.want([0, 1, 2])
    book.live.load()
    book.publish()
    for worker in range(WORKERS):
        book.begin(worker, env=0)
    book.scratch[0][1].player[2] = 1  # a match of worker 0 with entry 1
    book.live.want([0, 2, 9])
    assert book.live.drawable.tolist() == [True, False, True]
    assert not book.live.load(), "no table without it was published"
    book.publish()
    assert not book.live.load(), "nobody has seen that table"
    book.begin(0, env=0)
    assert not book.live.load(), "worker 1 may still draw it"
    book.begin(1, env=0)
    assert not book.live.load(), "worker 0 still plays it"
    assert book.stored(1) == 1
    book.scratch[0][1].player[2] = -1
    assert book.live.load()
    assert book.live.entries.tolist() == [0, 9, 2] and book.stored(1) == 9
    assert book.live.drawable.all()


def test_a_draining_snapshot_that_is_wanted_again_stays():
    book = Book()
    book.live.want([0, 1, 2])
    book.live.load()
    book.live.want([0, 1])
    assert book.live.drawable.tolist() == [True, True, False]
    book.live.want([2, 0, 1])
    assert book.live.drawable.all() and not book.live.load()
    assert book.live.loads == 3


@pytest.mark.parametrize("seed", range(5))
def test_no_match_ever_changes_its_opponent(seed):
    """Random wishes, publishes and episodes: the weights in a column that a seat holds never change."""
    book, rng = Book(), np.random.default_rng(seed)
    book.live.want([0])
    book.live.load()
    book.publish()
    running: dict[tuple[int, int], list[tuple[int, float]]] = {}
    changes = 0
    for _ in range(3000):
        match rng.integers(4):
            case 0:
                book.live.want(rng.integers(20, size=rng.integers(1, 6)).tolist())
            case 1:
                before = book.live.loads
                book.live.load()
                changes += book.live.loads - before
            case 2:
                book.publish()
            case _:
                worker, env = int(rng.integers(WORKERS)), int(rng.integers(ENVS))
                book.begin(worker, env)
                players = [int(seat.player[env]) for seat in book.scratch[worker]]
                running[worker, env] = [(c, book.stored(c)) for c in players if 0 <= c < COLUMNS]
                identity = book.seating[worker].identity[env].tolist()
                assert all(
                    book.stored(c) == entry for c, entry in zip(players, identity, strict=True) if 0 <= c < COLUMNS
                )
        assert all(book.stored(c) == entry for seats in running.values() for c, entry in seats)
    assert changes > 30
