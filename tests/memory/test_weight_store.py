"""Published weights: which versions may follow, and that no reader ever sees half of one."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from child_processes import pattern, publish_patterns

from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.weights import WeightStore, plan_weights


def make_segment(size: int, policies: int = 1) -> Segment:
    layout = Layout()
    for policy in range(policies):
        plan_weights(layout, policy, size)
    return Segment(layout)


@pytest.fixture
def store():
    return WeightStore(make_segment(5), 0)


def test_nothing_is_copied_before_the_first_version(store):
    out = np.full(5, -1, np.float32)
    assert store.version == 0 and store.read(out) == 0
    assert (out == -1).all()


def test_what_is_published_is_read(store):
    out = np.empty(5, np.float32)
    for version in range(1, 6):
        weights = np.random.default_rng(version).normal(size=5).astype(np.float32)
        store.publish(weights, version)
        weights_before = weights.copy()
        weights[:] = 0  # the store keeps no reference
        assert store.read(out) == store.version == version
        np.testing.assert_array_equal(out, weights_before)


@pytest.mark.parametrize("version", [1, 2, 4, 0, -1])
def test_only_the_next_version_may_follow(store, version):
    store.publish(pattern(1, 5), 1)
    store.publish(pattern(2, 5), 2)
    with pytest.raises(ValueError, match="published after 2"):
        store.publish(pattern(9, 5), version)
    out = np.empty(5, np.float32)
    assert store.read(out) == 2 and (out == 2).all()


def test_a_resumed_run_goes_on_counting(store):
    store.publish(pattern(17, 5), 17)
    with pytest.raises(ValueError, match="published after 17"):
        store.publish(pattern(17, 5), 17)
    store.publish(pattern(18, 5), 18)
    out = np.empty(5, np.float32)
    assert store.read(out) == 18 and (out == 18).all()


def test_policies_have_stores_of_their_own():
    segment = make_segment(3, policies=2)
    first, second = WeightStore(segment, 0), WeightStore(segment, 1)
    first.publish(pattern(4, 3), 4)
    assert second.version == 0
    out = np.empty(3, np.float32)
    assert WeightStore(segment, 0).read(out) == 4 and (out == 4).all()


class Overtaken:
    """The store's buffer, with a writer that publishes `publishes` times in the middle of a reader's first copy."""

    def __init__(self, store: WeightStore, publishes: int) -> None:
        self._buffer = store.buffer
        self._store = store
        self._publishes = publishes
        self.torn = False

    def __setitem__(self, key, value) -> None:
        self._buffer[key] = value

    def __getitem__(self, key):
        row = self._buffer[key]
        half = len(row) // 2
        copied = row[:half].copy()
        publishes, self._publishes = self._publishes, 0
        for _ in range(publishes):
            version = self._store.version + 1
            self._store.publish(pattern(version, len(row)), version)
        copied = np.concatenate((copied, row[half:]))
        self.torn |= len(set(copied.tolist())) > 1
        return copied


@pytest.mark.parametrize("publishes", [1, 2, 3])
def test_a_copy_that_was_overtaken_is_made_again(store, publishes):
    store.publish(pattern(1, 5), 1)
    store.buffer = Overtaken(store, publishes)
    out = np.empty(5, np.float32)
    assert store.read(out) == 1 + publishes
    assert (out == 1 + publishes).all()
    assert store.buffer.torn == (publishes >= 2), "one publish goes to the other buffer and tears nothing"


def test_a_half_written_publish_is_invisible(store):
    """A learner killed between the buffer and the version leaves the last version whole, and may be replaced."""
    store.publish(pattern(1, 5), 1)
    store.buffer[0, :3] = 99
    out = np.empty(5, np.float32)
    assert store.read(out) == 1 and (out == 1).all()
    store.publish(pattern(2, 5), 2)
    assert store.read(out) == 2 and (out == 2).all()


def test_no_torn_vector_while_another_process_publishes():
    size = 50_000
    layout = Layout()
    plan_weights(layout, 0, size)
    layout.add("stop", (1,), np.int64)
    segment = Segment(layout)
    store, out, last, seen = WeightStore(segment, 0), np.empty(size, np.float32), 0, 0
    process = multiprocessing.get_context("spawn").Process(target=publish_patterns, args=(segment, size), daemon=True)
    process.start()
    try:
        while seen < 500:  # different versions
            version = store.read(out)
            assert version >= last
            assert not version or (out == version).all(), f"torn: {np.unique(out)} read as {version}"
            seen += version > last
            last = version
            assert process.is_alive()
    finally:
        segment.array("stop")[0] = 1
        process.join()
    assert process.exitcode == 0
