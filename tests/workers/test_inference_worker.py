"""Inference worker: who is answered, with what, and who never is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worker_parts import EchoActing, choice, env_spec, make_plane

from sfmarl.memory.queues import LocalQueue
from sfmarl.workers.inference import FORWARDS, ROWS, WAIT, InferenceWorker, PolicySlot


class Inbox(LocalQueue):
    """Remembers how long it was waited on, and does something meanwhile."""

    def __init__(self, meanwhile=lambda: None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._meanwhile = meanwhile

    def get_many(self, timeout):
        self.waits.append(timeout)
        self._meanwhile()
        return super().get_many(timeout)


class Killed(BaseException):
    """Ends a component in the middle of something, as a signal would."""


class Setting:
    """One inference worker (or several) over a plane whose observations are all different."""

    def __init__(self, plane, inference_workers=1, publish=True, on_act=lambda: None, inbox=None):
        self.plane, self.words = plane, plane.words()
        self.blocks = plane.blocks()
        rng = np.random.default_rng(0)
        for block in self.blocks:
            block.obs[...] = rng.integers(0, 10_000, block.obs.shape)
        workers = plane.spec.workers
        self.inbox = inbox or Inbox()
        self.outboxes = {worker: LocalQueue() for worker in range(workers)}
        self.on_act = on_act
        if publish:
            self.publish(1)
        self.actings = []
        self.servers = [self.make_server(index, inference_workers) for index in range(inference_workers)]
        self.server = self.servers[0]

    def publish(self, version):
        for policy in range(self.plane.spec.policies):
            flat = np.array([version + policy / 2, 0, 0], np.float32)
            self.plane.weights(policy).publish(flat, version)

    def make_server(self, index=0, count=1):
        actings = [EchoActing(self.on_act) for _ in range(self.plane.spec.policies)]
        self.actings.append(actings)
        policies = [PolicySlot(acting, self.plane.weights(policy)) for policy, acting in enumerate(actings)]
        workers = list(range(index, self.plane.spec.workers, count))
        blocks = [block for worker in workers for block in self.plane.blocks(worker=worker)]
        outboxes = {worker: self.outboxes[worker] for worker in workers}
        return InferenceWorker(index, blocks, policies, self.plane.words(), workers, self.inbox, outboxes)

    def ask(self, worker=0, split=0, cursor=(0, 0), wants=None):
        """Stand in for a rollout worker that asks for the actions of one split."""
        for block in self.plane.blocks(worker=worker, split=split):
            block.cursor[...] = np.array(cursor)[:, None]
            if wants is not None and not block.spec.lockstep:
                block.wants_action[...] = False
                block.wants_action[wants] = True
        self.words.request_generation[worker, split] = self.words.generation[worker]
        self.words.requested[worker, split] += 1

    def is_open(self, worker=0, split=0):
        return self.words.requested[worker, split] != self.words.answered[worker, split]

    def writes(self):
        return [(b.action.copy(), b.log_prob.copy(), b.policy_version.copy()) for b in self.blocks]


def assert_same(before, after):
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_rows_at_the_cursor_are_answered_and_no_others():
    setting = Setting(make_plane())
    (block,) = setting.blocks
    expected = setting.writes()[0]
    setting.ask(cursor=(1, 2))
    setting.server.run_once(timeout=0)
    expected[0][1, 2] = choice(block.obs[1, 2])
    expected[1][1, 2] = block.obs[1, 2, ..., 1] + 1000
    expected[2][1, 2] = 1
    assert_same([expected], setting.writes())
    assert not setting.is_open()
    assert setting.outboxes[0].get_many(0) == [(0, 0, 0)]
    counts = setting.words.counts["inference"][0]
    assert counts[FORWARDS] == 1 and counts[ROWS] == 4 * 2
    assert setting.words.progress["inference"][0] == 1


def test_an_answered_request_is_answered_once():
    setting = Setting(make_plane())
    setting.ask()
    setting.server.run_once(timeout=0)
    before = setting.writes()
    setting.publish(2)
    setting.server.run_once(timeout=0)
    assert_same(before, setting.writes())
    assert setting.words.progress["inference"][0] == 1
    setting.ask()
    setting.server.run_once(timeout=0)
    assert (setting.blocks[0].policy_version[0, 0] == 2).all() and not setting.is_open()


def test_without_requests_it_waits_for_a_ticket():
    setting = Setting(make_plane())
    before = setting.writes()
    setting.server.run_once(timeout=0.25)
    assert setting.inbox.waits == [0.25]
    assert setting.words.times["inference"][0, WAIT] > 0
    assert_same(before, setting.writes())
    assert setting.outboxes[0].get_many(0) == [] and setting.words.progress["inference"][0] == 0


def test_a_request_that_comes_during_the_wait_is_answered_at_once_without_any_ticket():
    setting = Setting(make_plane(), inbox=Inbox(lambda: setting.ask(cursor=(0, 1))))
    setting.server.run_once(timeout=0.1)
    assert not setting.is_open()
    assert (setting.blocks[0].action[0, 1] == choice(setting.blocks[0].obs[0, 1])).all()


def test_an_open_request_is_answered_without_waiting():
    setting = Setting(make_plane())
    setting.ask()
    setting.server.run_once(timeout=3600)
    assert setting.inbox.waits == []


def test_a_past_lifes_request_is_never_written():
    setting = Setting(make_plane(splits=2))
    setting.ask(split=0)
    setting.ask(split=1)
    setting.words.generation[0] += 1
    before = setting.writes()
    for _ in range(3):
        setting.server.run_once(timeout=0)
        assert_same(before, setting.writes())
    assert setting.is_open(split=0) and setting.is_open(split=1)
    assert setting.words.acknowledged[0] == 1
    assert setting.outboxes[0].get_many(0) == []
    # the new life asks on split 1 only
    setting.words.requested[0] = setting.words.answered[0]
    setting.ask(split=1, cursor=(2, 0))
    setting.server.run_once(timeout=0)
    assert setting.outboxes[0].get_many(0) == [(0, 1, 1)]
    for old, new in zip(before[0], setting.writes()[0], strict=True):
        np.testing.assert_array_equal(old, new)
    assert (setting.blocks[1].action[2, 0] == choice(setting.blocks[1].obs[2, 0])).all()


def test_a_new_life_is_acknowledged_before_anything_is_written():
    setting = Setting(make_plane(), on_act=lambda: seen.append(int(setting.words.acknowledged[0])))
    seen: list[int] = []
    for life in range(3):
        setting.words.generation[0] = life
        setting.ask()
        setting.server.run_once(timeout=0)
    assert seen == [0, 1, 2]


def test_a_life_that_ends_in_mid_answer_is_acknowledged_after_it():
    """Until the acknowledgement the next life waits, so what is still written for the old one disturbs nobody."""

    def worker_dies():
        setting.words.generation[0] = 1

    setting = Setting(make_plane(), on_act=worker_dies)
    setting.ask()
    setting.server.run_once(timeout=0)
    assert setting.words.acknowledged[0] == 0
    setting.words.requested[0, 0] += 1  # a request the old life had made just before it died
    before = setting.writes()
    setting.server.run_once(timeout=0)
    assert setting.words.acknowledged[0] == 1
    assert_same(before, setting.writes())


def test_a_replacement_answers_what_was_written_but_not_said(monkeypatch):
    setting = Setting(make_plane(splits=2))
    setting.ask(split=0, cursor=(0, 1))
    setting.ask(split=1, cursor=(1, 0))

    class Dies(np.ndarray):
        def __setitem__(self, key, value):
            raise Killed

    words = setting.server._words
    monkeypatch.setattr(words, "answered", words.answered.view(Dies))
    with pytest.raises(Killed):
        setting.server.run_once(timeout=0)
    assert (setting.blocks[0].policy_version[0, 1] == 1).all() and setting.is_open(split=0)
    setting.publish(2)
    setting.make_server().run_once(timeout=0)
    for block, at in zip(setting.blocks, ((0, 1), (1, 0)), strict=True):
        assert (block.action[at] == choice(block.obs[at])).all()
        assert (block.policy_version[at] == 2).all()
        np.testing.assert_array_equal(block.log_prob[at], block.obs[at][..., 1] + 2000)
    assert not setting.is_open(split=0) and not setting.is_open(split=1)
    assert sorted(setting.outboxes[0].get_many(0)) == [(0, 0, 0), (0, 1, 0)]


def test_a_replacement_does_not_answer_twice():
    setting = Setting(make_plane())
    setting.ask()
    setting.server.run_once(timeout=0)
    before = setting.writes()
    setting.publish(2)
    setting.make_server().run_once(timeout=0)
    assert_same(before, setting.writes())


def test_two_inference_workers_serve_the_congruent_workers():
    setting = Setting(make_plane(workers=5, inference_workers=2), inference_workers=2)
    setting.words.generation[:] = 1
    for worker in range(5):
        setting.ask(worker)
    odd = setting.servers[1]
    odd.run_once(timeout=0)
    assert [setting.is_open(worker) for worker in range(5)] == [True, False, True, False, True]
    assert setting.words.acknowledged.tolist() == [0, 1, 0, 1, 0]
    for block in setting.blocks:
        assert (block.policy_version[0, 0] == (1 if block.spec.worker % 2 else -1)).all()
    setting.servers[0].run_once(timeout=0)
    assert not any(setting.is_open(worker) for worker in range(5))
    assert [setting.outboxes[worker].get_many(0) for worker in range(5)] == [[(w, 0, 1)] for w in range(5)]
    assert setting.words.counts["inference"][:, ROWS].tolist() == [3 * 8, 2 * 8]
    assert setting.words.progress["inference"].tolist() == [1, 1]


def test_nobody_acts_before_weights_are_published():
    setting = Setting(make_plane(env_spec((2, 1))), publish=False)
    setting.ask()
    before = setting.writes()
    setting.server.run_once(timeout=0)
    setting.plane.weights(0).publish(np.zeros(3, np.float32), 1)  # the other policy's are still missing
    setting.server.run_once(timeout=0)
    assert_same(before, setting.writes())
    assert setting.is_open() and setting.words.progress["inference"][0] == 0
    assert setting.words.acknowledged[0] == 0 and setting.outboxes[0].get_many(0) == []
    setting.plane.weights(1).publish(np.zeros(3, np.float32), 7)
    setting.server.run_once(timeout=0)
    assert not setting.is_open()
    assert [int(block.policy_version[0, 0, 0]) for block in setting.blocks] == [1, 7]


def test_the_newest_weights_act_and_are_loaded_once():
    setting = Setting(make_plane())
    ((acting,),) = setting.actings
    for version in (1, 1, 2, 4):
        while setting.plane.weights(0).version < version:
            setting.publish(setting.plane.weights(0).version + 1)
        setting.ask()
        setting.server.run_once(timeout=0)
        assert acting.weight == version and (setting.blocks[0].policy_version[0, 0] == version).all()
    assert acting.loads == 3


def test_every_policy_answers_its_own_rows():
    setting = Setting(make_plane(env_spec((2, 3, 2)), policy_of_team=(1, 0, 1), splits=2))
    setting.ask(split=0)
    setting.ask(split=1)
    setting.server.run_once(timeout=0)
    first, second = setting.actings[0]
    assert [len(acting.calls) for acting in (first, second)] == [1, 1]
    assert first.calls[0][0].shape == (2 * 4, 3, 2) and second.calls[0][0].shape == (4 * 4, 2, 2)
    for block in setting.blocks:
        weight = 1 + block.spec.policy / 2
        np.testing.assert_array_equal(block.log_prob[0, 0], block.obs[0, 0, ..., 1] + 1000 * weight)
        assert (block.action[0, 0] == choice(block.obs[0, 0])).all()


@pytest.mark.parametrize("turn_based", [False, True])
def test_splits_answered_together_get_what_each_would_alone(turn_based):
    wants = [[0, 3, 5], [7], [1, 2, 3, 4, 6]]
    cursors = [(0, 2), (2, 0), (1, 1)]

    def answer(together: bool):
        setting = Setting(make_plane(env_spec((2,), turn_based=turn_based, mask=True), splits=3))
        for block in setting.blocks:
            block.action_mask[...] = np.random.default_rng(block.spec.split).random(block.action_mask.shape) < 0.5
        for repeat in range(2):  # the second time with reused staging rows, and fewer of them
            for split in range(3 - repeat):
                setting.ask(split=split, cursor=cursors[split - repeat], wants=wants[split - repeat])
                if not together:
                    setting.server.run_once(timeout=0)
            setting.server.run_once(timeout=0)
        return setting

    one, other = answer(together=True), answer(together=False)
    assert_same(one.writes(), other.writes())
    assert one.words.counts["inference"][0, FORWARDS] == 2 and other.words.counts["inference"][0, FORWARDS] == 5
    assert one.words.counts["inference"][0, ROWS] == other.words.counts["inference"][0, ROWS]
    joint, single = one.actings[0][0].calls, other.actings[0][0].calls
    for call, alone in ((joint[0], single[:3]), (joint[1], single[3:])):
        for argument, parts in zip(call, zip(*alone, strict=True), strict=True):
            if argument is None:
                assert not turn_based
            else:
                np.testing.assert_array_equal(argument, np.concatenate(parts))


def test_only_lanes_whose_turn_it_is_are_answered():
    setting = Setting(make_plane(env_spec((2,), turn_based=True)))
    (block,) = setting.blocks
    setting.ask(wants=[1, 6])
    block.cursor[:, 1], block.cursor[:, 6] = (2, 1), (0, 2)
    before = setting.writes()[0]
    setting.server.run_once(timeout=0)
    for ring, step, lane, agent in ((2, 1, 1, 1), (0, 2, 6, 0)):
        seen = block.obs[ring, step, lane]
        before[0][ring, step, lane] = choice(seen)
        before[1][ring, step, lane] = seen[:, 1] + 1000 + 100 * agent
        before[2][ring, step, lane] = 1
    assert_same([before], setting.writes())
    assert setting.actings[0][0].calls[0][2].tolist() == [[1], [0]]


def test_a_split_in_which_nobody_learning_moves_is_answered_without_a_forward():
    setting = Setting(make_plane(env_spec((2,), turn_based=True)))
    setting.ask(wants=[])
    setting.server.run_once(timeout=0)
    assert not setting.is_open() and setting.outboxes[0].get_many(0) == [(0, 0, 0)]
    assert setting.words.counts["inference"][0, FORWARDS] == 0


def test_weights_are_taken_from_the_device_where_they_are_offered_and_from_the_store_otherwise():
    plane = make_plane()
    store = plane.weights(0)
    acting = EchoActing()
    acting.flat = torch.zeros(3)

    class Offered:
        version = 0

        def read(self, out):
            out.fill_(7.0)
            return self.version

    slot = PolicySlot(acting, store, offered := Offered())
    store.publish(np.full(3, 1, np.float32), 1)
    assert slot.refresh() and slot.version == 1 and acting.loads == 1
    store.publish(np.full(3, 2, np.float32), 2)
    offered.version = 2
    assert slot.refresh() and slot.version == 2 and acting.loads == 1 and (acting.flat == 7).all()
