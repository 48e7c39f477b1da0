"""Snapshots: addressed by content, immutable, whole or refused, in every kind of store."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import threading

import numpy as np
import pytest

from sfmarl.errors import RunError, UsageError
from sfmarl.league.snapshot import SnapshotMeta, canonical, differences, encode, freeze
from sfmarl.league.store import DirectoryStore, MemoryStore, SnapshotStore, open_store, temporary_name
from sfmarl.league.url_store import UrlStore

ARCHITECTURE = {"spec": {"name": "main", "obs": [4]}, "actor": {"hidden": [64, 64]}}


def snapshot(seed: int = 0, **facts):
    weights = np.random.default_rng(seed).normal(size=50).astype(np.float32)
    return freeze(ARCHITECTURE, weights, SnapshotMeta(**{"player": "main", "env_steps": 1000, "order": seed, **facts}))


@pytest.fixture(params=["memory", "directory", "url"])
def store(request, tmp_path) -> SnapshotStore:
    if request.param == "memory":
        return MemoryStore()
    return DirectoryStore(tmp_path / "a" / "b") if request.param == "directory" else UrlStore(f"memory:/{tmp_path}")


def test_the_address_is_the_hash_that_is_documented():
    one = freeze({"b": 1, "a": "ü"}, [1.5, -2.0], SnapshotMeta("main"))
    content = b'sfmarl snapshot 1\0{"a":"\\u00fc","b":1}\0' + struct.pack("<2f", 1.5, -2.0)
    assert one.address == hashlib.sha256(content).hexdigest()


def test_only_content_counts():
    assert snapshot(0).address == snapshot(0, player="other", env_steps=7).address
    assert snapshot(0).address != snapshot(1).address
    other = freeze({**ARCHITECTURE, "actor": {"hidden": [32]}}, snapshot(0).weights, SnapshotMeta("main"))
    assert other.address != snapshot(0).address
    shuffled = dict(reversed(ARCHITECTURE.items()))
    assert freeze(shuffled, snapshot(0).weights, SnapshotMeta("main")).address == snapshot(0).address


def test_a_snapshot_never_aliases_live_weights_and_cannot_be_written():
    live = np.zeros(8, np.float32)
    frozen = freeze(ARCHITECTURE, live, SnapshotMeta("main"))
    live[:] = 1
    assert not frozen.weights.any()
    with pytest.raises(ValueError, match="read-only"):
        frozen.weights[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        frozen.weights.setflags(write=True)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(RunError, match=r"'main'.*2 of 3 weights"):
        freeze(ARCHITECTURE, [np.nan, 1, np.inf], SnapshotMeta("main"))


def test_every_store_keeps_what_it_was_given(store):
    one, two = snapshot(1, role="main_exploiter", parent=snapshot(0).address, policy_version=12), snapshot(2)
    assert store.addresses() == []
    assert not store.has(one.address)
    for each in (one, two, one):
        store.put(each)
    assert store.addresses() == sorted([one.address, two.address])
    assert store.has(one.address)
    found = store.get(one.address)
    assert found.weights.tobytes() == one.weights.tobytes()
    assert not found.weights.flags.writeable
    assert (found.meta, found.architecture, found.address) == (one.meta, canonical(ARCHITECTURE), one.address)
    assert store.describe(one.address) == (canonical(ARCHITECTURE), one.meta)
    store.delete(one.address)
    store.delete(one.address)
    assert store.addresses() == [two.address]
    with pytest.raises(RunError, match=one.address[:12]):
        store.get(one.address)


@pytest.mark.parametrize("address", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_addresses_name_files(store, address):
    for method in (store.get, store.has, store.delete, store.describe):
        with pytest.raises(UsageError, match="64 hex digits"):
            method(address)


def test_every_flipped_byte_is_noticed(tmp_path):
    store, one = DirectoryStore(tmp_path), snapshot()
    store.put(one)
    path = tmp_path / f"{one.address}.safetensors"
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(RunError, match=one.address[:12]):
            store.get(one.address)
    for size in (0, 7, 100, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(RunError, match=one.address[:12]):
            store.get(one.address)


def test_foreign_files_are_named_and_never_executed(tmp_path):
    store, one, two = DirectoryStore(tmp_path), snapshot(1), snapshot(2)
    path = tmp_path / f"{one.address}.safetensors"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for content in (pickle.dumps(Trap()), encode(two), b"{}" * 50, struct.pack("<Q", 2**60) + b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(RunError, match=f"{one.address[:12]}.*Delete it"):
            store.get(one.address)
    assert not (tmp_path / "executed").exists()
    store.put(one)
    assert store.get(one.address).address == one.address, "a damaged file is replaced by the next put"


def test_links_out_of_the_directory_are_refused(tmp_path):
    outside, inside, one = DirectoryStore(tmp_path / "out"), DirectoryStore(tmp_path / "in"), snapshot()
    outside.put(one)
    inside.put(snapshot(1))
    name = f"{one.address}.safetensors"
    (tmp_path / "in" / name).symlink_to(tmp_path / "out" / name)
    with pytest.raises(RunError, match="link"):
        inside.get(one.address)


def test_several_runs_may_write_the_same_snapshot(tmp_path):
    ones = [snapshot(0, player=f"run {i}") for i in range(8)]
    threads = [threading.Thread(target=DirectoryStore(tmp_path).put, args=(one,)) for one in ones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert DirectoryStore(tmp_path).get(ones[0].address).meta in [one.meta for one in ones]
    assert [path.name for path in tmp_path.iterdir()] == [f"{ones[0].address}.safetensors"], "no leftovers"


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path)

    def full(path):
        raise OSError(28, "No space left")

    monkeypatch.setattr("sfmarl.league.store.sync_file", full)
    with pytest.raises(RunError, match=r"could not be written: No space left"):
        store.put(snapshot())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_half_written_is_removed_from_its_own_store_only(tmp_path):
    one, half = snapshot(), tmp_path / temporary_name("0.safetensors")
    DirectoryStore(tmp_path).put(one)
    half.write_bytes(b"half of it")
    for open_shared in (DirectoryStore, open_store):
        assert open_shared(tmp_path).addresses() == [one.address] and half.exists(), "another run may be writing it"
    assert DirectoryStore(tmp_path, shared=False).get(one.address).meta == one.meta
    assert not half.exists()


def test_a_path_that_is_too_long_is_an_error_in_words(tmp_path):
    with pytest.raises(RunError, match="could not be listed: File name too long"):
        open_store(tmp_path / ("x" * 300)).addresses()


def test_where_stores_are_opened(tmp_path):
    (tmp_path / "run" / "snapshots").mkdir(parents=True)
    assert open_store(tmp_path / "run").path == tmp_path / "run" / "snapshots"
    assert open_store(tmp_path / "else").path == tmp_path / "else"
    assert isinstance(open_store("memory://league"), UrlStore)
    with pytest.raises(UsageError, match="gibberish"):
        open_store("gibberish://league")


def test_a_directory_and_its_url_are_the_same_store(tmp_path):
    DirectoryStore(tmp_path).put(snapshot())
    assert UrlStore(f"file://{tmp_path}").get(snapshot().address).meta == snapshot().meta


def test_differences_name_the_setting():
    other = {**ARCHITECTURE, "actor": {"hidden": [32], "rnn": "gru"}}
    assert differences(canonical(ARCHITECTURE), canonical(other)) == [
        "actor.hidden: [64, 64] here, [32] there",
        'actor.rnn: null here, "gru" there',
    ]
