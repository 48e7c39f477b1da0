"""Learner: which slots it learns from, what it publishes, and when it gives slots back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worker_parts import WEIGHTS, CountingAlgorithm, env_spec, make_plane, publish_slot

from sfmarl.memory.slots import ALL, FREE, READY, TAKEN
from sfmarl.models.acting import flatten_into
from sfmarl.workers import gather
from sfmarl.workers import learner as learner_module
from sfmarl.workers.gather import find_ready
from sfmarl.workers.learner import AGENT_STEPS, DROPPED, ROWS, UPDATES, LearnerWorker
from tests.late_transfers import LateTransfers


class Killed(BaseException):
    """Ends a learner in the middle of something, as a signal would."""


def make_learner(plane, algorithm=None, version=0, batch_lanes=4, max_policy_lag=5, sync=False, **changes):
    """Return a learner of policy 0 and the list its reports go to."""
    reports: list[tuple[str, dict]] = []
    settings = {
        "policy": 0,
        "algorithm": algorithm or CountingAlgorithm(),
        "version": version,
        "blocks": plane.blocks(policy=0),
        "weights": plane.weights(0),
        "words": plane.words(),
        "batch_lanes": batch_lanes,
        "env_steps": 1000,
        "device": torch.device("cpu"),
        "report": lambda kind, payload: reports.append((kind, payload)),
        "max_policy_lag": max_policy_lag,
        "sync": sync,
    }
    return LearnerWorker(**{**settings, **changes}), reports


def published(plane) -> tuple[int, list[float]]:
    flat = np.empty(WEIGHTS, np.float32)
    version = plane.weights(0).read(flat)
    return version, flat.tolist()


def weights_of(algorithm) -> list[float]:
    flat = np.empty(WEIGHTS, np.float32)
    flatten_into(algorithm.actor, flat)
    return flat.tolist()


def dropped(plane) -> int:
    return int(plane.words().counts["learner"][0, DROPPED])


def test_the_first_weights_are_version_one():
    plane, algorithm = make_plane(), CountingAlgorithm()
    learner, _ = make_learner(plane, algorithm)
    assert learner.version == 1 and published(plane) == (1, weights_of(algorithm))


def test_a_resumed_run_publishes_the_version_it_was_saved_at():
    plane = make_plane()
    learner, _ = make_learner(plane, version=17)
    assert learner.version == 17 and published(plane)[0] == 17


@pytest.mark.parametrize("saved", [0, 3, 9])
def test_a_replacement_goes_on_from_what_was_published(saved):
    plane = make_plane()
    make_learner(plane, version=5)
    algorithm = CountingAlgorithm()
    learner, _ = make_learner(plane, algorithm, version=saved)
    assert learner.version == 6 and published(plane) == (6, weights_of(algorithm))


def test_a_replacement_frees_what_its_predecessor_had_taken():
    plane = make_plane(splits=2)
    first, second = plane.blocks()
    publish_slot(first, 0)
    publish_slot(first, 1)
    publish_slot(second, 0)
    first.slots.take(0, ALL)
    second.slots.take(0, np.array([1, 3]))
    make_learner(plane)
    assert first.slots.state[0].tolist() == [FREE] * 4 and first.slots.state[1].tolist() == [READY] * 4
    assert second.slots.state[0].tolist() == [READY, FREE, READY, FREE]


def test_a_learner_touches_its_own_policys_slots_alone():
    plane = make_plane(env_spec((2, 2)))
    mine, other = plane.blocks()
    publish_slot(other, 0)
    publish_slot(other, 1)
    other.slots.take(1, ALL)
    learner, _ = make_learner(plane)
    assert not learner.run_once(wait=False)
    assert other.slots.state[0].tolist() == [READY] * 4 and other.slots.state[1].tolist() == [TAKEN] * 4
    publish_slot(mine, 0)
    assert learner.run_once(wait=False)
    assert plane.weights(1).version == 0


def test_an_incomplete_batch_waits(monkeypatch):
    naps: list[float] = []
    monkeypatch.setattr(learner_module, "sleep", naps.append)
    plane = make_plane(splits=2)
    block, _ = plane.blocks()
    learner, _ = make_learner(plane, batch_lanes=5)
    publish_slot(block, 0)
    assert not learner.run_once(wait=False) and naps == []
    assert not learner.run_once() and len(naps) == 1
    assert (block.slots.state[0] == READY).all() and learner.version == 1
    words = plane.words()
    assert words.counts["learner"][0, UPDATES] == 0 and words.progress["learner"][0] == 0
    assert words.times["learner"][0, 0] > 0 and not words.times["learner"][0, 1:].any()


def test_an_update_publishes_the_next_version_of_the_weights():
    plane, algorithm = make_plane(), CountingAlgorithm()
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, algorithm)
    bias = algorithm.actor.bias.item()
    for version in (2, 3, 4):
        publish_slot(block, 0, version=version - 1, number=version)
        assert learner.run_once(wait=False)
        assert learner.version == version and published(plane) == (version, weights_of(algorithm))
        assert algorithm.actor.bias.item() == pytest.approx(bias + version - 1)
        assert (block.slots.state == FREE).all()
        assert not learner.run_once(wait=False), "a slot is learned from once"
    assert plane.words().progress["learner"][0] == 3
    assert (plane.words().times["learner"][0, 1:] > 0).all()


def test_the_batch_is_the_oldest_slots_and_the_rest_stays():
    plane, algorithm = make_plane(splits=2), CountingAlgorithm()
    first, second = plane.blocks()
    publish_slot(first, 0, number=2)
    publish_slot(second, 0, number=1)
    first.reward[0] = np.arange(4)[:, None]
    second.reward[0] = 10 + np.arange(4)[:, None]
    learner, _ = make_learner(plane, algorithm, batch_lanes=6)
    assert learner.run_once(wait=False)
    assert algorithm.batches[0]["reward"][0, :, 0].tolist() == [10, 11, 12, 13, 0, 1]
    assert first.slots.state[0].tolist() == [FREE, FREE, READY, READY] and (second.slots.state == FREE).all()


@pytest.mark.parametrize("sync", [False, True])
def test_slots_are_released_before_the_update_or_in_sync_after_the_publish(sync):
    plane = make_plane()
    (block,) = plane.blocks()
    seen: list[tuple[str, int, int]] = []

    def look(when):
        (state,) = np.unique(block.slots.state[0])
        seen.append((when, int(state), plane.weights(0).version))

    algorithm = CountingAlgorithm(on_update=lambda: look("update"))
    learner, _ = make_learner(plane, algorithm, sync=sync)
    store_publish = learner._weights.publish

    def publish(flat, version):
        store_publish(flat, version)
        look("published")

    learner._weights.publish = publish
    publish_slot(block, 0)
    assert learner.run_once(wait=False)
    look("end")
    held = TAKEN if sync else FREE
    assert seen == [("update", held, 1), ("published", held, 2), ("end", FREE, 2)]


def test_a_learner_killed_in_its_update_is_replaced_and_no_lane_is_lost():
    plane = make_plane()
    (block,) = plane.blocks()

    def die():
        raise Killed

    learner, _ = make_learner(plane, CountingAlgorithm(die), sync=True)
    publish_slot(block, 0)
    with pytest.raises(Killed):
        learner.run_once(wait=False)
    assert (block.slots.state[0] == TAKEN).all() and plane.weights(0).version == 1
    replacement, _ = make_learner(plane, sync=True)
    assert (block.slots.state == FREE).all() and replacement.version == 2
    publish_slot(block, 1, version=2, number=2)
    assert replacement.run_once(wait=False) and published(plane)[0] == 3
    assert plane.words().counts["learner"][0, UPDATES] == 1


@pytest.mark.parametrize("sync", [False, True])
def test_a_reset_learner_publishes_its_new_state_and_learns_from_nothing_acted_before(sync):
    plane = make_plane()
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, sync=sync)
    first = learner.algorithm.state_dict()
    begun = published(plane)
    publish_slot(block, 0)
    assert learner.run_once(wait=False)
    before = published(plane)
    learner.reset(first)
    version, weights = published(plane)
    assert version == before[0] + 1 and weights == begun[1] != before[1]
    publish_slot(block, 1, version=before[0], number=2)
    assert not learner.run_once(wait=False) and dropped(plane) == 4
    publish_slot(block, 0, version=version, number=3)
    assert learner.run_once(wait=False)


@pytest.mark.parametrize(("acted", "fresh"), [(95, True), (94, False), (100, True), (1, False)])
def test_the_largest_lag_is_allowed_and_not_one_more(acted, fresh):
    plane = make_plane()
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, version=100, max_policy_lag=5)
    publish_slot(block, 0, version=100)
    block.policy_version[0, 1] = acted
    assert learner.run_once(wait=False) == fresh
    assert dropped(plane) == (0 if fresh else 4)
    assert (block.slots.state == FREE).all()


def test_steps_nobody_acted_at_are_of_no_version():
    plane = make_plane()
    (block,) = plane.blocks()
    learner, reports = make_learner(plane, version=100)
    publish_slot(block, 0, version=-1, active=False)
    assert learner.run_once(wait=False) and dropped(plane) == 0
    learner.report()
    assert not {"lag_min", "lag_mean", "lag_max"} & reports[0][1].keys()
    assert reports[0][1]["valid_fraction"] == 0


def test_whole_fresh_positions_stay_slices():
    plane = make_plane(splits=2)
    first, second = plane.blocks()
    learner, _ = make_learner(plane, version=100)
    publish_slot(first, 0, version=100, number=2)
    publish_slot(second, 1, version=10, number=1)
    publish_slot(second, 2, version=99, number=3)
    kept = learner._drop_stale(find_ready([first, second]))
    assert [(part.block, part.ring, part.lanes) for part in kept] == [(first, 0, slice(None)), (second, 2, slice(None))]
    assert second.slots.state[:, 0].tolist() == [FREE, FREE, READY] and dropped(plane) == 4


def test_one_stale_lane_does_not_drop_the_others():
    plane = make_plane(env_spec((2,), turn_based=True))
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, CountingAlgorithm(), version=100, batch_lanes=6)
    publish_slot(block, 0, version=98)
    block.policy_version[0, 1, 2] = 94
    block.policy_version[0, :, 7] = (-1, 3, -1)
    kept = learner._drop_stale(find_ready([block]))
    assert [part.lanes.tolist() for part in kept] == [[0, 1, 3, 4, 5, 6]]
    assert block.slots.state[0].tolist() == [FREE if lane in (2, 7) else READY for lane in range(8)]
    assert dropped(plane) == 2
    assert learner.run_once(wait=False)
    assert learner.algorithm.batches[0]["agent_index"][:, 0].tolist() == [0, 1, 1, 0, 1, 0]
    assert dropped(plane) == 2 and (block.slots.state == FREE).all()


def test_a_lane_that_is_left_of_a_cut_slot_can_still_grow_stale():
    plane = make_plane(env_spec((2,), turn_based=True))
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, version=100, batch_lanes=3, max_policy_lag=0)
    publish_slot(block, 0, version=100)
    assert learner.run_once(wait=False)
    assert not learner.run_once(wait=False), "the other five lanes lag by one version now"
    assert dropped(plane) == 5 and (block.slots.state == FREE).all()


def test_after_dropping_the_oldest_that_is_left_comes_first():
    plane = make_plane(env_spec((2,), turn_based=True))
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, version=100)
    publish_slot(block, 0, np.array([0, 1]), version=100, number=9)
    publish_slot(block, 0, 4, version=1, number=1)
    publish_slot(block, 1, np.array([2, 3]), version=100, number=5)
    kept = learner._drop_stale(find_ready([block]))
    assert [(part.ring, part.lanes.tolist(), part.number) for part in kept] == [(1, [2, 3], 5), (0, [0, 1], 9)]


def test_dropped_lanes_do_not_fill_a_batch():
    plane = make_plane(env_spec((2,), turn_based=True))
    (block,) = plane.blocks()
    learner, _ = make_learner(plane, version=100, batch_lanes=8)
    publish_slot(block, 0, version=100)
    block.policy_version[0, 0, 5] = 0
    assert not learner.run_once(wait=False)
    assert (block.slots.state[0] == READY).sum() == 7
    publish_slot(block, 1, 5, version=100, number=2)
    assert learner.run_once(wait=False)


def test_random_lanes_are_dropped_as_a_plain_loop_would():
    plane = make_plane(env_spec((3,), turn_based=True), splits=2)
    learner, _ = make_learner(plane, version=50, max_policy_lag=10)
    blocks, rng = plane.blocks(), np.random.default_rng(0)
    stale, ready = set(), set()
    for index, block in enumerate(blocks):
        for ring in range(3):
            for lane in rng.choice(12, 9, replace=False):
                publish_slot(block, ring, int(lane), number=int(rng.integers(1, 9)))
                versions = rng.choice([-1, 39, 40, 45, 50], 3, p=[0.4, 0.1, 0.2, 0.2, 0.1])
                block.policy_version[ring, :, lane] = versions
                place = (index, ring, int(lane))
                (stale if any(0 <= v < 40 for v in versions) else ready).add(place)
    kept = learner._drop_stale(find_ready(blocks))
    got = {(blocks.index(p.block), p.ring, int(lane)) for p in kept for lane in np.arange(12)[p.lanes]}
    assert got == ready and stale and dropped(plane) == len(stale)
    for index, block in enumerate(blocks):
        assert {(index, int(r), int(lane)) for r, lane in zip(*np.nonzero(block.slots.state), strict=True)} == {
            place for place in ready if place[0] == index
        }


def test_counters_metrics_and_lag():
    plane = make_plane()
    (block,) = plane.blocks()
    learner, reports = make_learner(plane, version=10)
    publish_slot(block, 0, version=9)
    block.policy_version[0, 0] = 7
    block.active[0, 2, 0, 1] = False
    assert learner.run_once(wait=False)
    counts = plane.words().counts["learner"][0]
    assert counts[[UPDATES, AGENT_STEPS, ROWS, DROPPED]].tolist() == [1, 23, 24, 0]
    learner.report()
    ((kind, metrics),) = reports
    assert kind == "update"
    assert metrics == pytest.approx(
        {"loss": 2, "rate": 0.5, "lag_min": 1, "lag_mean": 5 / 3, "lag_max": 3, "valid_fraction": 23 / 24}
    )
    assert all(type(value) is float for value in metrics.values())
    learner.report()
    assert len(reports) == 1, "what was reported is not reported again"


def test_reports_average_over_updates_but_keep_the_extremes_of_lag():
    plane, algorithm = make_plane(), CountingAlgorithm()
    (block,) = plane.blocks()
    learner, reports = make_learner(plane, algorithm, version=10)
    for loss, lag in ((1.0, 0), (2.0, 4), (6.0, 2)):
        algorithm.metrics = {"loss": torch.tensor(loss)} | ({"rare": 8.0} if lag == 4 else {})
        publish_slot(block, 0, version=learner.version - lag)
        assert learner.run_once(wait=False)
    learner.report()
    metrics = reports[0][1]
    assert (metrics["loss"], metrics["rare"]) == (3, 8)
    assert (metrics["lag_min"], metrics["lag_mean"], metrics["lag_max"]) == (0, 2, 4)


def test_schedules_see_the_share_of_the_budget_that_is_used():
    plane, algorithm = make_plane(workers=2), CountingAlgorithm()
    block = plane.blocks()[0]
    learner, _ = make_learner(plane, algorithm, env_steps=1000)
    steps = plane.words().counts["rollout"]
    for first, second in ((0, 0), (100, 150), (900, 400)):
        steps[:, 0] = (first, second)
        publish_slot(block, 0, version=learner.version)
        assert learner.run_once(wait=False)
    assert algorithm.progress == [0.0, 0.25, 1.0]


def test_a_slot_is_released_when_its_copy_is_made_and_not_when_it_is_asked_for(monkeypatch):
    plane = make_plane()
    (block,) = plane.blocks()
    seen = []

    class Watched(LateTransfers):
        def wait(self):
            seen.append(block.slots.state[0].tolist())
            super().wait()

    monkeypatch.setattr(gather, "Transfers", Watched)
    algorithm = CountingAlgorithm(on_update=lambda: seen.append(block.slots.state[0].tolist()))
    learner, _ = make_learner(plane, algorithm)
    publish_slot(block, 0)
    block.reward[0] = 7
    assert learner.run_once()
    assert seen == [[TAKEN] * 4, [FREE] * 4]
    assert (algorithm.batches[0]["reward"] == 7).all()
