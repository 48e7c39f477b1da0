"""The pool: bounded, never losing what is played or newest, and the same after a resume."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfmarl.errors import RunError, UsageError, UserCodeError
from sfmarl.league.pool import SnapshotPool, make_eviction_rule
from sfmarl.league.snapshot import SnapshotMeta
from sfmarl.league.store import DirectoryStore, MemoryStore
from sfmarl.league.url_store import UrlStore

ARCHITECTURE = {"hidden": [8]}


def filled(count: int, limit: int | None = None, eviction: str = "thin", players: int = 1, store=None) -> SnapshotPool:
    pool = SnapshotPool(store or MemoryStore(), ARCHITECTURE, limit, eviction)
    for i in range(count):
        add(pool, i, f"p{i % players}")
    return pool


def add(pool: SnapshotPool, value: float, player: str = "p0"):
    return pool.add(ARCHITECTURE, np.full(4, value, np.float32), SnapshotMeta(player, env_steps=int(value) * 100))


def numbers(pool: SnapshotPool) -> list[int]:
    return [entry.number for entry in pool.entries]


def test_it_is_a_list_of_addresses_with_duplicates():
    pool = filled(3)
    again = add(pool, 1)
    assert pool.addresses.count(again.address) == 2
    assert len(pool) == 4 and len(pool.store.addresses()) == 3
    assert [entry.meta.order for entry in pool.entries] == [0, 1, 2, 3]


def test_first_in_first_out():
    assert numbers(filled(10, 4, "oldest")) == [6, 7, 8, 9]


def test_thinning_spreads_a_history_evenly():
    kept = numbers(filled(1000, 21))
    gaps = np.diff(kept)
    assert kept[0] == 0 and kept[-1] == 999
    assert gaps.max() <= 4 * np.median(gaps)
    assert np.median(gaps) == pytest.approx(50, rel=0.4)


def test_thinning_goes_by_player():
    pool = SnapshotPool(MemoryStore(), ARCHITECTURE, 12)
    for i in range(400):
        add(pool, i, "often" if i % 20 else "seldom")
    seldom = [e.number for e in pool.entries if e.meta.player == "seldom"]
    assert seldom[0] == 0 and seldom[-1] == 380
    assert len(seldom) >= 4, "gaps are measured in time, so a rare player keeps its share"


@pytest.mark.parametrize("eviction", ["thin", "oldest"])
@given(steps=st.lists(st.integers(0, 9), max_size=40), limit=st.integers(2, 6))
def test_pinned_and_newest_entries_stay(eviction, steps, limit):
    pool = SnapshotPool(MemoryStore(), ARCHITECTURE, limit, eviction)
    pinned = []
    for step in steps:
        if step < 6 or not len(pool):
            newest = add(pool, len(steps) * 10 + pool.state_dict()["next"])
            assert pool.entries[-1] == newest
        elif step < 8:
            pinned.append(pool.addresses[step % len(pool)])
            pool.pin(pinned[-1])
        elif pinned:
            pool.unpin(pinned.pop(0))
        assert set(pinned) <= set(pool.addresses)
        assert len(pool) <= max(limit, len(set(pinned)) + 1)
        assert numbers(pool) == sorted(set(numbers(pool)))


def test_unpinning_lets_go():
    pool = filled(2, 2)
    for address in pool.addresses:
        pool.pin(address)
    first = pool.addresses[0]
    add(pool, 5)
    assert len(pool) == 3
    pool.unpin(first)
    assert first not in pool.addresses and len(pool) == 2
    with pytest.raises(ValueError, match="not pinned"):
        pool.unpin(first)


def test_evicted_snapshots_are_deleted_only_when_no_checkpoint_names_them():
    pool = filled(6, 3, "oldest")
    before = pool.store.addresses()
    spared, pinned = [a for a in before if a not in pool.addresses][:2]
    pool.pin(pinned)
    assert len(before) == 6
    swept = pool.sweep({spared})
    assert len(swept) == 1 and set(before) - set(pool.store.addresses()) == set(swept)
    pool.unpin(pinned)
    assert set(pool.sweep()) == {spared, pinned}
    assert pool.store.addresses() == sorted(pool.addresses)
    assert pool.sweep() == []


def test_a_snapshot_that_entered_again_is_not_swept():
    pool = filled(4, 2, "oldest")
    add(pool, 0)
    pool.sweep()
    assert pool.store.addresses() == sorted(pool.addresses)


def test_a_resumed_pool_equals_the_one_before(tmp_path):
    pool = filled(9, 4, store=DirectoryStore(tmp_path))
    state = json.loads(json.dumps(pool.state_dict()))
    resumed = SnapshotPool(DirectoryStore(tmp_path), ARCHITECTURE, 4)
    resumed.load_state_dict(state)
    assert resumed.entries == pool.entries
    for value in range(20, 30):
        add(pool, value)
        add(resumed, value)
    assert resumed.state_dict() == pool.state_dict()


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    state = filled(3, store=DirectoryStore(tmp_path)).state_dict()
    pool = filled(1)  # the first of the three
    before = pool.state_dict()
    with pytest.raises(RunError, match="2 of 3 snapshots of the pool are missing"):
        pool.load_state_dict(state)
    with pytest.raises(UsageError, match=r"hidden: \[8\] here, \[9\] there"):
        pool.load_state_dict({**state, "architecture": '{"hidden":[9]}'})
    assert pool.state_dict() == before


def test_seeding_from_other_runs(tmp_path):
    filled(3, store=DirectoryStore(tmp_path / "one" / "snapshots"))
    filled(5, players=2, store=DirectoryStore(tmp_path / "two"))
    pool = SnapshotPool(MemoryStore())
    entered = pool.seed(tmp_path / "one", str(tmp_path / "two"), DirectoryStore(tmp_path / "two"))
    assert [e.meta.env_steps for e in entered] == [0, 100, 200, *2 * [0, 100, 200, 300, 400]]
    assert entered == [*pool.entries]
    assert pool.architecture == '{"hidden":[8]}'
    bounded = SnapshotPool(MemoryStore(), limit=4)
    bounded.seed(tmp_path / "two")
    assert len(bounded) == 4


@pytest.mark.parametrize("wrong", ["empty", "architecture", "corrupt"])
def test_a_source_that_cannot_be_used_changes_nothing(tmp_path, wrong):
    good, bad = DirectoryStore(tmp_path / "good"), DirectoryStore(tmp_path / "bad")
    filled(2, store=good)
    if wrong == "architecture":
        SnapshotPool(bad).add({"hidden": [9]}, np.zeros(3), SnapshotMeta("main"))
    elif wrong == "corrupt":
        filled(2, store=bad)
        path = tmp_path / "bad" / f"{bad.addresses()[1]}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    pool = filled(1)
    before = pool.state_dict()
    messages = {"empty": "bad holds no snapshots", "architecture": r"hidden: \[8\] here", "corrupt": "bad/.*Delete it"}
    with pytest.raises(UsageError, match=messages[wrong]):
        pool.seed(good, tmp_path / "bad")
    assert pool.state_dict() == before


def test_an_eviction_rule_of_ones_own_is_named_and_its_mistakes_are():
    pool = filled(6, 3, eviction="tests.league.test_pool:second?shift=1")
    assert [entry.number for entry in pool.entries] == [0, 1, 5]
    with pytest.raises(UsageError, match="shifty"):
        make_eviction_rule("tests.league.test_pool:second?shifty=1")
    with pytest.raises(UserCodeError, match="raised IndexError: none"):
        filled(3, 2, eviction="tests.league.test_pool:raises")
    for choice in ("9", "-1", "1.5", "2"):
        with pytest.raises(UserCodeError, match=r"chose .*that may go"):
            filled(3, 2, eviction=f"tests.league.test_pool:chooses?place={choice}")


def second(entries, may_go, shift=0):
    """A user's rule: the second entry, or one further on."""
    return [place for place, free in enumerate(may_go) if free][1] + shift


def raises(entries, may_go):
    raise IndexError("none")


def chooses(entries, may_go, place):
    return place


def test_nothing_is_deleted_from_a_store_that_is_shared(tmp_path):
    ours, shared = filled(6, 2, store=DirectoryStore(tmp_path / "own", shared=False)), []
    assert len(ours.sweep()) == 4 and len(ours.store.addresses()) == 2
    for store in (DirectoryStore(tmp_path / "all"), UrlStore(f"memory:/{tmp_path}")):
        pool = filled(6, 2, store=store)
        shared.append((pool.sweep(), len(store.addresses())))
    assert shared == [([], 6), ([], 6)]


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="Did you mean 'oldest'"):
        SnapshotPool(MemoryStore(), eviction="olddest")
    with pytest.raises(UsageError, match="at least 2"):
        SnapshotPool(MemoryStore(), limit=1)
    with pytest.raises(UsageError, match=r"player 'p9' has another architecture.*hidden: \[8\] here, \[16\] there"):
        filled(1).add({"hidden": [16]}, np.zeros(3), SnapshotMeta("p9"))
