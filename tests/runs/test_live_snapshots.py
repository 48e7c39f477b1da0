"""A column of the match table changes hands only when no match can be running with what lies in it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sfmarl.league.snapshot import address_of
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


ADDRESS = [address_of("{}", np.full(SIZE, number, np.float32)) for number in range(20)]
"""Of the snapshots of these tests: number n has weights n."""


def weights(address: str) -> np.ndarray:
    return np.full(SIZE, ADDRESS.index(address), np.float32)


class Book:
    """A plane, its columns, and workers that begin matches as the data plane does."""

    def __init__(self) -> None:
        self.plane = make_plane()
        self.live = LiveSnapshots(self.plane, weights, partial(address_of, "{}"))
        self.table = self.plane.match_table()
        self.scratch = [self.plane.scratch(worker, 0) for worker in range(WORKERS)]
        self.seating = [MatchSeating(self.table, worker, 0, ENVS, 2, seed=worker) for worker in range(WORKERS)]
        for seats in self.scratch:
            for seat in seats:
                seat.player[:] = -1

    def want(self, *numbers: int) -> None:
        self.live.want([ADDRESS[number] for number in numbers])

    def load(self) -> bool:
        before = self.live.traffic.misses
        self.live.load()
        return self.live.traffic.misses > before

    @property
    def live_numbers(self) -> list[int]:
        """What may be met, by column."""
        numbers = [EMPTY] * COLUMNS
        for address, column in self.live.columns.items():
            numbers[column] = ADDRESS.index(address)
        return numbers

    def publish(self) -> None:
        entry = np.array([*self.live_numbers, EMPTY])
        row = np.append((entry[:COLUMNS] != EMPTY).astype(float), 0.5)
        self.live.published(self.table.publish(Matches(row[None] / row.sum(), entry, np.zeros((0, 2), np.int64))))

    def begin(self, worker: int, env: int) -> None:
        for seat, player in enumerate(self.seating[worker].draw(env)):
            self.scratch[worker][seat].player[env] = frozen(player) if player < 0 else -1

    def stored(self, column: int) -> float:
        out = np.empty(SIZE, np.float32)
        version, address = self.plane.weights(1 + column).read_snapshot(out)
        assert not version or address == ADDRESS[int(out[0])]
        return float(out[0])


def test_wanted_snapshots_are_published_under_their_address_and_drawable():
    book = Book()
    book.want(7, 3)
    assert not book.live.columns and book.live.pending
    assert book.load() and not book.load()
    assert book.live_numbers == [7, 3, EMPTY] and not book.live.pending
    assert [book.stored(column) for column in (0, 1)] == [7, 3]
    traffic = book.live.traffic
    assert (traffic.misses, traffic.hits) == (2, 2)
    assert traffic.bytes_moved == 2 * 4 * SIZE and traffic.pull_all_bytes == WORKERS * traffic.bytes_moved


def test_more_than_there_is_room_for_is_left_out_and_repetitions_count_once():
    book = Book()
    book.want(1, 1, 2, 3, 4)
    book.load()
    assert book.live_numbers == [1, 2, 3]


def test_a_column_is_overwritten_only_after_every_worker_has_seen_it_go_and_every_match_with_it_is_over():
    book = Book()
    book.want(0, 1, 2)
    book.load()
    book.publish()
    for worker in range(WORKERS):
        book.begin(worker, env=0)
    book.scratch[0][1].player[2] = 1  # a match of worker 0 with snapshot 1
    book.want(0, 2, 9)
    assert book.live_numbers == [0, EMPTY, 2]
    assert not book.load(), "no table without it was published"
    book.publish()
    assert not book.load(), "nobody has seen that table"
    book.begin(0, env=0)
    assert not book.load(), "worker 1 may still draw it"
    book.begin(1, env=0)
    assert not book.load(), "worker 0 still plays it"
    assert book.stored(1) == 1 and book.live.pending
    book.scratch[0][1].player[2] = -1
    assert book.load()
    assert book.live_numbers == [0, 9, 2] and book.stored(1) == 9


def test_of_the_drained_the_least_recently_wanted_makes_room():
    book = Book()
    for wanted in ((0, 1, 2), (0, 1), (1,)):
        book.want(*wanted)
        book.load()
    book.publish()
    for worker in range(WORKERS):
        book.begin(worker, env=0)
        for seat in book.scratch[worker]:
            seat.player[:] = -1
    book.want(1, 5)
    assert book.load()
    assert book.live_numbers == [EMPTY, 1, 5], "2 has been away for longer than 0"


def test_a_draining_snapshot_that_is_wanted_again_stays():
    book = Book()
    book.want(0, 1, 2)
    book.load()
    book.want(0, 1)
    assert book.live_numbers == [0, 1, EMPTY]
    book.want(2, 0, 1)
    assert book.live_numbers == [0, 1, 2] and not book.load()
    assert book.live.traffic.misses == 3


@pytest.mark.parametrize("seed", range(5))
def test_no_match_ever_changes_its_opponent(seed):
    """Random wishes, publishes and episodes: the weights in a column that a seat holds never change."""
    book, rng = Book(), np.random.default_rng(seed)
    book.want(0)
    book.load()
    book.publish()
    running: dict[tuple[int, int], list[tuple[int, float]]] = {}
    changes = 0
    for _ in range(3000):
        match rng.integers(4):
            case 0:
                book.want(*rng.integers(20, size=rng.integers(1, 6)).tolist())
            case 1:
                before = book.live.traffic.misses
                book.load()
                changes += book.live.traffic.misses - before
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
