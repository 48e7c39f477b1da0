"""Rollout worker: whom it steps, what it asks for, and what its time was spent on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from worker_parts import make_plane

from sfmarl.memory.queues import LocalQueue
from sfmarl.workers import rollout as rollout_module
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.rollout import (
    AGENT_STEPS,
    ENV,
    ENV_STEPS,
    EPISODES,
    SPLIT_STEPS,
    WAIT_ACTIONS,
    WAIT_SLOTS,
    WRITE,
    RolloutWorker,
)


class StubSplit:
    """A split of 4 envs with 2 agents; `has_room` says whether there is a row for the next step."""

    def __init__(self) -> None:
        self.episodes = EpisodeLog(4, 2)
        self.env_steps = self.agent_steps = self.steps = 0
        self.env_seconds = 0.0
        self.has_room = True
        self.closed = False

    def advance(self) -> bool:
        return self.has_room

    def step(self) -> None:
        self.steps += 1
        self.env_steps += 4
        self.agent_steps += 7
        self.env_seconds += 1000.0

    def starving(self) -> set[int]:
        return set() if self.has_room else {1}

    def close(self) -> None:
        self.closed = True


class Inbox(LocalQueue):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def get_many(self, timeout):
        self.waits.append(timeout)
        return super().get_many(timeout)


class Setting:
    """Worker 1 of two, in its third life, with two splits."""

    def __init__(self, plane=None, generation=2, **settings):
        self.plane = plane or make_plane(workers=2, splits=2)
        self.words = self.plane.words()
        self.splits = [StubSplit(), StubSplit()]
        self.inbox, self.inference = Inbox(), LocalQueue()
        self.reports: list[tuple[str, tuple]] = []
        self.worker = RolloutWorker(
            1,
            generation,
            self.splits,
            self.words,
            self.inbox,
            self.inference,
            lambda *said: self.reports.append(said),
            **settings,
        )

    def run(self, timeout=0.0):
        self.worker.run_once(timeout)

    def answer(self, *splits):
        for split in splits:
            self.words.answered[1, split] = self.words.requested[1, split]

    @property
    def counts(self):
        return self.words.counts["rollout"][1]

    @property
    def times(self):
        return self.words.times["rollout"][1]

    @property
    def progress(self):
        return int(self.words.progress["rollout"][1])


def test_the_first_pass_asks_for_every_splits_actions():
    setting = Setting()
    setting.run()
    assert setting.words.requested.tolist() == [[0, 0], [1, 1]]
    assert setting.words.request_generation.tolist() == [[0, 0], [2, 2]]
    assert setting.inference.get_many(0) == [(1, 0, 2), (1, 1, 2)]
    assert [split.steps for split in setting.splits] == [0, 0] and setting.progress == 1


def test_a_split_steps_once_its_actions_are_there():
    setting = Setting()
    setting.run()
    setting.answer(1)
    setting.run()
    assert [split.steps for split in setting.splits] == [0, 1]
    assert setting.words.requested[1].tolist() == [1, 2]
    setting.answer(0, 1)
    setting.run()
    assert [split.steps for split in setting.splits] == [1, 2]
    setting.run()
    assert [split.steps for split in setting.splits] == [1, 2], "no answer is used twice"
    assert setting.counts[[ENV_STEPS, AGENT_STEPS, SPLIT_STEPS]].tolist() == [12, 21, 3]
    assert not setting.words.counts["rollout"][0].any()
    assert setting.progress == 3
    assert setting.times[ENV] == 3000 and setting.times[WRITE] != 0


def test_an_answer_is_noticed_without_its_ticket():
    setting = Setting()
    setting.run()
    setting.answer(0)
    setting.run(timeout=3600)
    assert setting.splits[0].steps == 1 and setting.inbox.waits == []


def test_a_ticket_without_an_answer_moves_nothing():
    setting = Setting()
    setting.run()
    setting.inbox.put((1, 0, 2))
    setting.run()
    setting.run()
    assert [split.steps for split in setting.splits] == [0, 0] and setting.progress == 1


def test_waiting_for_actions_sleeps_on_the_inbox():
    setting = Setting()
    setting.run()
    setting.run(timeout=0.25)
    assert setting.inbox.waits == [0.25]
    assert setting.times[WAIT_ACTIONS] > 0 and setting.times[WAIT_SLOTS] == 0
    assert setting.progress == 1


@pytest.mark.parametrize("full", [(0,), (1,), (0, 1)])
def test_waiting_for_a_slot_is_a_category_of_its_own(monkeypatch, full):
    naps: list[float] = []
    monkeypatch.setattr(rollout_module, "sleep", naps.append)
    setting = Setting()
    for split in full:
        setting.splits[split].has_room = False
    setting.run()  # asks for the other split, if there is one
    naps.clear()
    before = setting.times[WAIT_SLOTS]
    setting.run(timeout=0)
    assert naps == []
    setting.run(timeout=0.25)
    assert len(naps) == 1, "it looks at its ring again soon, whatever the timeout"
    assert setting.times[WAIT_SLOTS] > before and setting.times[WAIT_ACTIONS] == 0
    assert setting.inbox.waits == []
    assert all(setting.words.requested[1, split] == 0 for split in full)
    for split in full:
        setting.splits[split].has_room = True
    setting.run()
    assert setting.words.requested[1].tolist() == [1, 1]


def test_a_split_without_room_does_not_hold_up_the_other():
    setting = Setting()
    setting.splits[0].has_room = False
    for _ in range(5):
        setting.run()
        setting.answer(1)
    assert [split.steps for split in setting.splits] == [0, 4]


def test_a_split_that_ran_out_of_room_is_not_stepped_until_it_asked_again():
    setting = Setting()
    setting.run()
    setting.splits[0].has_room = False
    setting.answer(0)
    for _ in range(3):
        setting.run()
    assert setting.splits[0].steps == 1 and setting.words.requested[1, 0] == 1
    setting.splits[0].has_room = True
    setting.run()
    assert setting.splits[0].steps == 1 and setting.words.requested[1, 0] == 2


def test_a_past_lifes_request_is_not_waited_for():
    plane = make_plane(workers=2, splits=2)
    past = Setting(plane, generation=1)
    past.run()
    past.answer(0)
    past.run()
    assert plane.words().requested.tolist() == [[0, 0], [2, 1]]
    plane.words().generation[1] = 2
    setting = Setting(plane, generation=2)
    assert setting.words.requested[1].tolist() == setting.words.answered[1].tolist() == [1, 0]
    setting.run()
    setting.run()
    assert [split.steps for split in setting.splits] == [0, 0], "what was open is not an answer either"
    assert setting.words.request_generation[1].tolist() == [2, 2]
    setting.answer(0, 1)
    setting.run()
    assert [split.steps for split in setting.splits] == [1, 1]


def test_counters_outlive_a_worker():
    first = Setting()
    first.run()
    first.answer(0, 1)
    first.run()
    second = Setting(first.plane, generation=3)
    second.run()
    second.answer(0)
    second.run()
    assert second.counts[[ENV_STEPS, AGENT_STEPS, SPLIT_STEPS]].tolist() == [12, 21, 3]


def test_episodes_are_reported_once():
    setting = Setting()
    first, second = (split.episodes for split in setting.splits)
    first.add([np.array([[1.0], [2], [3], [4]]), np.array([[10.0], [20], [30], [40]])], np.ones(4, bool))
    first.finish([2, 0])
    second.add([np.full((4, 2), 5.0)], np.array([True, False, True, True]))
    second.finish([1])
    setting.worker.report()
    ((kind, (returns, lengths, shaped, infos, _)),) = setting.reports
    assert kind == "episodes" and shaped is None and infos == {}
    assert returns.tolist() == [[3, 30], [1, 10], [5, 5]] and lengths.tolist() == [1, 1, 0]
    assert setting.counts[EPISODES] == 3
    setting.worker.report()
    assert len(setting.reports) == 1 and setting.counts[EPISODES] == 3
    first.add([np.full((4, 2), 1.0)], np.ones(4, bool))
    first.finish([0])
    setting.worker.report()
    assert setting.reports[1][1][0].tolist() == [[1, 1]] and setting.counts[EPISODES] == 4


def test_nothing_is_reported_of_running_episodes():
    setting = Setting()
    setting.splits[0].episodes.add([np.ones((4, 2))], np.ones(4, bool))
    setting.worker.report()
    assert setting.reports == []


@pytest.mark.parametrize(
    ("seconds", "reports"), [({}, 0), ({"report_seconds": 0.0}, 1), ({"report_seconds": math.inf}, 0)]
)
def test_reports_come_by_themselves_after_a_while(seconds, reports):
    setting = Setting(**seconds)
    setting.splits[0].episodes.finish([0])
    setting.run()
    assert len(setting.reports) == reports
    setting.worker.report()
    assert len(setting.reports) == 1


def test_closing_closes_every_split():
    setting = Setting()
    setting.worker.close()
    assert all(split.closed for split in setting.splits)


def test_a_turn_based_episode_counts_turns_and_every_agents_reward():
    log = EpisodeLog(2, 2)
    for agent, reward in ((0, 1.0), (1, 2.0), (0, 4.0)):
        log.add_steps([1])
        log.add_agent(1, agent, reward)
    assert log.drain() is None
    log.finish([1])
    log.add_steps([1])
    log.finish([1])
    returns, lengths, *_ = log.drain()
    assert returns.tolist() == [[5, 2], [0, 0]] and lengths.tolist() == [3, 1]
    assert log.drain() is None
