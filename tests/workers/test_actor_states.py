"""What an inference worker remembers of lanes that take turns, and what it writes into their slots."""

from __future__ import annotations

import numpy as np
import pytest
from worker_parts import AgeingActing, env_spec, make_plane

from sfmarl.memory.queues import LocalQueue
from sfmarl.workers.inference import InferenceWorker, PolicySlot

STEPS = 6


class Turns:
    """Two envs of three agents that take turns, and the inference worker that serves them."""

    def __init__(self) -> None:
        self.plane = make_plane(
            env_spec((3,), turn_based=True, mask=True), envs_per_split=2, rollout=STEPS, rnn_sizes=(1,)
        )
        self.words = self.plane.words()
        (self.block,) = self.plane.blocks()
        self.plane.weights(0).publish(np.ones(3, np.float32), 1)
        self.block.obs[...] = self.block.log_prob[...] = 0
        self.block.is_first[...] = False
        self.server = self.replace()

    def replace(self) -> InferenceWorker:
        self.server = InferenceWorker(
            0,
            [self.block],
            [PolicySlot(AgeingActing(), self.plane.weights(0))],
            self.words,
            [0],
            LocalQueue(),
            {0: LocalQueue()},
        )
        return self.server

    def claim(self, ring: int, lane: int) -> None:
        self.block.slots.claim(ring, lane, 0, 1)

    def move(self, lanes: list[int], ring: list[int], step: list[int], first: list[bool]) -> list[float]:
        """Ask for the actions of `lanes` at their cursors; return what the actor remembered then."""
        block = self.block
        block.wants_action[...] = False
        block.wants_action[lanes] = True
        block.cursor[0, lanes], block.cursor[1, lanes] = ring, step
        block.is_first[ring, step, lanes, 0] = first
        self.words.requested[0, 0] += 1
        self.server.run_once(timeout=0)
        assert self.words.requested[0, 0] == self.words.answered[0, 0]
        return block.log_prob[ring, step, lanes, 0].tolist()


def test_every_lane_remembers_its_own_turns_only():
    turns = Turns()
    for lane in range(6):
        turns.claim(0, lane)
    assert turns.move([0, 3], [0, 0], [0, 0], [True, True]) == [1, 1]
    assert turns.move([1, 3], [0, 0], [0, 1], [True, False]) == [1, 2]
    assert turns.move([0, 4], [0, 0], [1, 0], [False, True]) == [2, 1]
    assert turns.move([0, 3], [0, 0], [2, 2], [True, False]) == [1, 3], "a new life forgets"


def test_the_memory_before_a_slots_first_step_is_written_for_that_lane():
    turns = Turns()
    for lane in range(6):
        turns.claim(0, lane)
        turns.claim(1, lane)
    turns.block.actor_state[...] = -1
    for step in range(3):
        turns.move([2, 5], [0, 0], [step, step], [step == 0, step == 0])
    assert turns.block.actor_state[0, [2, 5], 0, 0].tolist() == [0, 0]
    turns.move([2, 5], [1, 0], [0, 3], [False, False])
    assert turns.block.actor_state[1, 2, 0, 0] == 3
    others = np.delete(turns.block.actor_state[..., 0, 0].ravel(), [2, 5, 6 + 2])
    assert (others == -1).all()


@pytest.mark.parametrize("reset_at", [None, 2])
def test_a_replacement_remembers_what_the_open_slots_tell(reset_at):
    turns = Turns()
    for lane in (1, 4, 5):
        turns.claim(0, lane)
    for step in range(4):
        turns.move([4], [0], [step], [step in (0, reset_at)])
    turns.move([1], [0], [0], [True])
    turns.block.actor_state[0, 4] += 10  # as if the slot had begun in the middle of a life
    expected = turns.move([4], [0], [4], [False])[0]
    assert expected == (5 if reset_at is None else 3)
    turns.replace()
    later = turns.move([1, 4, 5], [0, 0, 0], [1, 4, 0], [False, False, True])
    # without a reset in the slot what came before it counts; is_first at step 0 is a reset, too
    assert later == [2, expected, 1]
    turns.block.is_first[0, 0, 4] = False
    turns.replace()
    assert turns.move([4], [0], [4], [False]) == [15 if reset_at is None else 3]
