"""All workers together in one thread, each of them killed now and then: what is learned from stays whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worker_parts import AgeingActing, ClockEnv, CountingAlgorithm, EchoActing, choice, env_spec, make_plane

from sfmarl.memory.queues import LocalQueue
from sfmarl.memory.slots import READY
from sfmarl.workers.inference import InferenceWorker, PolicySlot
from sfmarl.workers.learner import LearnerWorker
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.rollout import ENV_STEPS, RolloutWorker
from sfmarl.workers.routing import HomeRoute

WORKERS, SPLITS, ENVS = 2, 2, 3


class Killed(BaseException):
    """Ends a component in the middle of something, as a signal would."""


class Crew:
    """The components of a run and a supervisor that replaces them."""

    def __init__(self, sync: bool, batch_lanes: int, acting: type[EchoActing] = EchoActing) -> None:
        self.plane = make_plane(
            env_spec((2,)), workers=WORKERS, splits=SPLITS, envs_per_split=ENVS, rnn_sizes=(acting.state_size,)
        )
        self.acting = acting
        self.words = self.plane.words()
        self.sync, self.batch_lanes = sync, batch_lanes
        self.batches: list[dict[str, torch.Tensor]] = []
        self.fuse = ""
        """Where the next component is killed: `act`, `answer` (between two answers' tickets) or `update`."""
        self.killed: list[str] = []
        self.inboxes, self.requests = [LocalQueue() for _ in range(WORKERS)], LocalQueue()
        self.clock = 0
        self.learner = self.make_learner()
        self.inference = self.make_inference()
        self.rollout = [self.make_rollout(worker) for worker in range(WORKERS)]

    def pass_by(self, place: str) -> None:
        """Die here if this is the place for it."""
        if self.fuse == place:
            self.fuse = ""
            self.killed.append(place)
            raise Killed

    def make_learner(self) -> LearnerWorker:
        algorithm = CountingAlgorithm(on_update=lambda: self.pass_by("update"))
        algorithm.batches = self.batches
        return LearnerWorker(
            0, algorithm, 0, self.plane.blocks(policy=0), self.plane.weights(0), self.plane.words(), self.batch_lanes,
            10**6, torch.device("cpu"), lambda *said: None, 1000, self.sync,
        )  # fmt: skip

    def make_inference(self) -> InferenceWorker:
        slot = PolicySlot(self.acting(on_act=lambda: self.pass_by("act")), self.plane.weights(0))
        outboxes = {worker: Outbox(self, inbox) for worker, inbox in enumerate(self.inboxes)}
        return InferenceWorker(
            0, self.plane.blocks(), [slot], self.plane.words(), range(WORKERS), self.requests, outboxes
        )

    def make_rollout(self, worker: int) -> RolloutWorker | None:
        """Start a worker's next life, or None while it is not acknowledged."""
        generation = int(self.words.generation[worker])
        if self.words.acknowledged[worker] != generation:
            return None
        splits = []
        for split in range(SPLITS):
            blocks = self.plane.blocks(worker=worker, split=split)
            for block in blocks:
                block.slots.discard_filling()
            if self.sync and not all(block.slots.every_lane_is_ready() for block in blocks):
                for block in blocks:
                    block.slots.discard_ready()
            self.clock += 10_000
            env = ClockEnv(self.plane.spec.env, ENVS, self.clock, length=4 + worker, truncates=bool(split))
            splits.append(LockstepSplit(env, blocks, HomeRoute(blocks), generation, sync=self.sync))
        words = self.plane.words()
        return RolloutWorker(worker, generation, splits, words, self.inboxes[worker], self.requests, lambda *said: None)

    def kill_rollout(self, worker: int) -> None:
        self.killed.append("rollout")
        self.rollout[worker] = None
        self.words.generation[worker] += 1

    def run_pass(self, order: np.ndarray) -> None:
        """Give every component a turn, in the order of the permutation `order`."""
        for component in order.tolist():
            if component == 0:
                try:
                    self.inference.run_once(timeout=0)
                except Killed:
                    self.inference = self.make_inference()
            elif component == 1:
                try:
                    self.learner.run_once(wait=False)
                except Killed:
                    self.learner = self.make_learner()
            else:
                worker = component - 2
                if self.rollout[worker] is None:
                    self.rollout[worker] = self.make_rollout(worker)
                else:
                    self.rollout[worker].run_once(timeout=0)


class Outbox:
    """A rollout worker's queue as the inference worker sees it."""

    def __init__(self, crew: Crew, inbox: LocalQueue) -> None:
        self._crew, self._inbox = crew, inbox

    def put(self, ticket) -> None:
        self._crew.pass_by("answer")
        self._inbox.put(ticket)


def check_batch(batch: dict[str, torch.Tensor], sync: bool) -> int:
    """Check every sample against what the environments do; return how many there were."""
    obs, active = batch["obs"].numpy(), batch["active"].numpy()
    valid = active[:-1]
    assert np.isfinite(obs[active]).all()
    np.testing.assert_array_equal(batch["action"].numpy()[valid], choice(obs[:-1][valid]))
    versions = np.broadcast_to(batch["policy_version"].numpy()[..., None], valid.shape)[valid]
    assert (versions >= 1).all()
    if sync:
        assert len(set(versions.tolist())) == 1
    np.testing.assert_array_equal(batch["reward"].numpy()[valid], obs[:-1][valid][:, 1] + 1)
    goes_on = valid & ~batch["terminated"].numpy()
    steps = obs[1:][goes_on] - obs[:-1][goes_on]
    np.testing.assert_array_equal(steps, np.broadcast_to((0, 1), steps.shape))
    return int(valid.sum())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("sync", "batch_lanes"), [(False, 4), (False, 12), (True, 12)])
def test_killed_components_are_replaced_without_a_wrong_sample(sync, batch_lanes, seed):
    crew, rng = Crew(sync, batch_lanes), np.random.default_rng(seed)
    kills = 0
    for count in range(600):
        if count % 12 == 11:
            kills += 1
            if rng.random() < 0.5:
                crew.kill_rollout(int(rng.integers(WORKERS)))
            else:
                crew.fuse = ("act", "answer", "update")[rng.integers(3)]
        crew.run_pass(rng.permutation(2 + WORKERS))
    before = len(crew.batches)
    for _ in range(60):
        crew.run_pass(np.arange(2 + WORKERS))
    assert kills == 50 and len(crew.batches) > before + 5, "the run goes on after the last kill"
    samples = sum(check_batch(batch, sync) for batch in crew.batches)
    assert samples > 2000
    rows = np.concatenate(
        [b["obs"][:-1, :, 0][b["active"][:-1, :, 0]].numpy() for b in crew.batches]
    )  # of the first agent: (env, clock), where clocks never repeat
    assert len(np.unique(rows, axis=0)) == len(rows), "no sample is learned from twice"
    assert {"act", "answer", "update", "rollout"} == set(crew.killed)
    assert crew.words.counts["rollout"][:, ENV_STEPS].sum() > 1000


def check_memory(batch: dict[str, torch.Tensor]) -> None:
    """Replay what a slot says was remembered before its first step: the same must have been remembered when acting."""
    count = batch["actor_state"][..., 0].numpy().copy()
    is_first, active, said = (batch[name].numpy() for name in ("is_first", "active", "log_prob"))
    for t in range(len(said)):
        count = np.where(is_first[t], 0, count) + 1
        np.testing.assert_array_equal(said[t][active[t]], count[active[t]])


@pytest.mark.parametrize("sync", [False, True])
def test_slots_hold_what_the_actor_remembered_also_after_kills(sync):
    crew, rng = Crew(sync, 12, AgeingActing), np.random.default_rng(0)
    for count in range(500):
        if count % 12 == 11:
            if rng.random() < 0.3:
                crew.kill_rollout(int(rng.integers(WORKERS)))
            else:
                crew.fuse = ("act", "answer", "update")[rng.integers(3)]
        crew.run_pass(rng.permutation(2 + WORKERS))
    assert len(crew.batches) > 20
    for batch in crew.batches:
        check_memory(batch)
    ages = np.concatenate([batch["log_prob"].numpy()[batch["active"].numpy()[:-1]] for batch in crew.batches])
    assert ages.max() == 4 + WORKERS - 1, "episodes last that long"
    assert {"act", "answer", "rollout"} <= set(crew.killed)


@pytest.mark.parametrize("sync", [False, True])
def test_memory_goes_on_from_slot_to_slot(sync):
    """Nobody is killed: what a lane remembers before a slot is what it remembered after the one before."""
    crew = Crew(sync, 12, AgeingActing)
    for _ in range(300):
        crew.run_pass(np.arange(2 + WORKERS))
    before: dict[int, tuple[int, np.ndarray]] = {}
    followed = 0
    for batch in crew.batches:
        check_memory(batch)
        for n, lane in enumerate(batch["lane"].tolist()):
            number, first = int(batch["number"][n]), batch["is_first"][0, n].numpy()
            if lane in before and not first.all():
                assert number == before[lane][0] + 1
                np.testing.assert_array_equal(batch["actor_state"][n, :, 0].numpy()[~first], before[lane][1][~first])
                followed += 1
            # phantom steps are remembered, too, and forgotten at the next row
            after = batch["actor_state"][n, :, 0].numpy()
            for t in range(len(batch["log_prob"])):
                after = np.where(batch["is_first"][t, n].numpy(), 0, after) + 1
            before[lane] = number, after
    assert followed > 20


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_a_new_life_can_fill_all_ring_positions_but_one(steps):
    """A batch may need all but one ring position: a replaced worker that stops short of that stops the run."""
    plane = make_plane(env_spec((2,)), rollout=3, ring=3)
    (block,) = plane.blocks()

    def live(generation: int, limit: int) -> None:
        env = ClockEnv(plane.spec.env, 4)
        split = LockstepSplit(env, [block], HomeRoute([block]), generation)
        for _ in range(limit):
            if not split.advance():
                return
            at = (int(block.cursor[0, 0]), int(block.cursor[1, 0]))
            block.action[at] = choice(block.obs[at])
            split.step()

    live(0, steps)
    block.slots.discard_filling()
    live(1, 100)
    assert (block.slots.state == READY).sum() >= (plane.spec.ring - 1) * block.spec.lanes
