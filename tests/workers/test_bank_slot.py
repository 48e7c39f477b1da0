"""Frozen opponents on the inference worker: whose rows they are, with which weights, in one forward for all of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from worker_parts import CHOICES, WEIGHTS, EchoActing, choice, env_spec, make_plane

from sfmarl.errors import RunError
from sfmarl.league.snapshot import address_of
from sfmarl.memory.match_table import TableSpec
from sfmarl.memory.queues import LocalQueue
from sfmarl.workers.inference import FORWARDS, ROWS, InferenceWorker
from sfmarl.workers.policy_slots import BankSlot, PolicySlot

COLUMNS = 3
MAIN, RANDOM = COLUMNS, COLUMNS + 1
"""Players beside the snapshots: the learning player as a guest, a script."""
LEARNS = -1
address = partial(address_of, "{}")


class EchoBank:
    """Policies whose choice says what they saw and who they are; with memory, how long their life has been."""

    takes_parts = False

    def __init__(self, capacity: int, state_size: int = 0) -> None:
        self.capacity, self.flat_size, self.state_size = capacity, WEIGHTS, state_size
        self.generator = np.random.default_rng(0)
        self.weight = np.full(capacity, -1000, np.int64)
        self.loads: list[int] = []
        self.calls: list[tuple[np.ndarray, ...]] = []

    def new_state(self, rows: int, agents: int) -> torch.Tensor:
        return torch.zeros((rows, agents, 1))

    def load(self, slot: int, flat: np.ndarray) -> None:
        self.weight[slot] = int(flat[0])
        self.loads.append(slot)

    def act(self, obs, slot, action_mask=None, agent_index=None, greedy=False, rnn_state=None, is_first=None):
        self.calls.append(tuple(None if x is None else x.copy() for x in (obs, slot, action_mask, agent_index)))
        age = 0
        if rnn_state is not None:
            rnn_state.copy_(torch.where(torch.from_numpy(is_first)[..., None], 0.0, rnn_state) + 1)
            age = rnn_state[..., 0].numpy().astype(np.int64)
        action = ((choice(obs) + self.weight[slot][:, None] + age) % CHOICES).astype(np.int32)
        return action, np.zeros(action.shape, np.float32)


class Setting:
    """An inference worker of a league, and seats that are filled by hand."""

    def __init__(self, turn_based=False, mask=False, splits=2, state_size=0, team=2) -> None:
        spec = env_spec((team, team), turn_based=turn_based, mask=mask)
        table = TableSpec(learning=1, snapshots=COLUMNS, scripts=1)
        self.plane = make_plane(
            spec, policy_of_team=(0, 0), splits=splits, frozen_sizes=(WEIGHTS,) * COLUMNS, table=table
        )
        self.words, self.splits = self.plane.words(), splits
        self.blocks = self.plane.blocks()
        self.seats = [seat for split in range(splits) for seat in self.plane.scratch(0, split)]
        rng = np.random.default_rng(0)
        for block in self.blocks:
            block.obs[...] = rng.integers(0, 10_000, block.obs.shape)
            block.cursor[...] = 0
        for seat in self.seats:
            seat.obs[...] = rng.integers(0, 10_000, seat.obs.shape)
            seat.action[...] = -1
            seat.player[...] = LEARNS
            seat.active[...] = not turn_based
            seat.is_first[...] = False
            if mask:
                seat.action_mask[...] = rng.random(seat.action_mask.shape) < 0.5
        self.plane.weights(0).publish(np.zeros(WEIGHTS, np.float32), 1)
        self.stores = [self.plane.weights(1 + column) for column in range(COLUMNS)]
        for column in range(COLUMNS):
            self.publish(column, 10 + column)
        self.acting, self.bank = EchoActing(), EchoBank(COLUMNS, state_size)
        self.acting.generator = np.random.default_rng(1)
        main = PolicySlot(self.acting, self.plane.weights(0))
        self.server = InferenceWorker(
            0,
            self.blocks,
            [main],
            self.words,
            [0],
            LocalQueue(),
            {0: LocalQueue()},
            scratch=self.seats,
            frozen={MAIN: main},
            bank=BankSlot(self.bank, self.stores, address),
            turn_based=turn_based,
        )

    def publish(self, column: int, weight: int) -> None:
        flat = np.full(WEIGHTS, weight, np.float32)
        self.stores[column].publish(flat, self.stores[column].version + 1, address(flat))

    def answer(self) -> None:
        self.words.requested[0] += 1
        self.server.run_once(timeout=0)


def test_every_row_is_answered_by_its_own_player_and_all_snapshots_in_one_call():
    setting = Setting(mask=True)
    rng = np.random.default_rng(1)
    for seat in setting.seats:
        seat.player[:] = rng.choice([LEARNS, 0, 1, 2, MAIN, RANDOM], len(seat.player))
    setting.seats[2].player[:] = RANDOM
    setting.answer()
    assert len(setting.bank.calls) == 1 and len(setting.acting.calls) == 1
    obs, slot, mask, _ = setting.bank.calls[0]
    frozen = [
        (seat, row) for seat in setting.seats for row in np.flatnonzero((seat.player >= 0) & (seat.player < MAIN))
    ]
    np.testing.assert_array_equal(obs, [seat.obs[row] for seat, row in frozen])
    np.testing.assert_array_equal(mask, [seat.action_mask[row] for seat, row in frozen])
    np.testing.assert_array_equal(slot, [seat.player[row] for seat, row in frozen])
    for seat in setting.seats:
        weight = np.array([0, 10, 11, 12])[np.where(seat.player < MAIN, seat.player + 1, 0)]
        expected = (choice(seat.obs) + weight[:, None]) % CHOICES
        expected[(seat.player == LEARNS) | (seat.player == RANDOM)] = -1
        np.testing.assert_array_equal(seat.action, expected)
    guests = sum(np.count_nonzero(seat.player == MAIN) for seat in setting.seats)
    counts = setting.words.counts["inference"][0]
    assert counts[FORWARDS] == 2 and counts[ROWS] == 2 * (4 * len(setting.blocks) + guests + len(frozen))


def test_where_turns_alternate_only_who_is_to_move_is_answered():
    setting = Setting(turn_based=True, splits=1)
    for block in setting.blocks:
        block.wants_action[:] = False
    first, second = setting.seats
    first.player[:], second.player[:] = [0, 1, 2, LEARNS], [MAIN, RANDOM, 1, 0]
    first.active[[0, 2, 3], [1, 0, 0]] = True
    second.active[[0, 1, 3], [0, 1, 1]] = True
    setting.answer()
    expected = np.full((2, 4, 2), -1)
    for seat, env, agent, weight in ((0, 0, 1, 10), (0, 2, 0, 12), (1, 0, 0, 0), (1, 3, 1, 10)):
        expected[seat, env, agent] = (choice(setting.seats[seat].obs[env, agent]) + weight) % CHOICES
    np.testing.assert_array_equal([first.action, second.action], expected)
    (call,) = setting.bank.calls
    assert call[1].tolist() == [0, 2, 0] and call[3].tolist() == [[1], [0], [1]]


def test_a_slot_is_loaded_when_its_store_moves_and_not_before():
    setting = Setting()
    setting.seats[0].player[:] = [0, 1, 2, 1]
    setting.answer()
    setting.answer()
    assert setting.bank.loads == [0, 1, 2]
    setting.publish(1, 77)
    setting.answer()
    assert setting.bank.loads == [0, 1, 2, 1] and setting.bank.weight.tolist() == [10, 77, 12]


def test_weights_that_were_damaged_in_shared_memory_do_not_act():
    setting = Setting()
    setting.seats[0].player[:] = 1
    setting.answer()
    setting.publish(1, 5)
    expected = address(np.full(WEIGHTS, 5, np.float32))
    setting.stores[1].buffer.view(np.uint8)[setting.stores[1].version % 2, 5] ^= 1
    before = setting.seats[0].action.copy()
    with pytest.raises(RunError, match=f"{expected[:12]} was damaged in shared memory"):
        setting.answer()
    assert setting.bank.weight.tolist() == [10, 11, 12], "what was loaded stays"
    np.testing.assert_array_equal(setting.seats[0].action, before)


def test_weights_under_another_address_do_not_act():
    setting = Setting()
    flat = np.full(WEIGHTS, 6, np.float32)
    setting.stores[0].publish(flat, 2, address(flat + 1))
    with pytest.raises(RunError, match=address(flat + 1)[:12]):
        setting.answer()


@pytest.mark.parametrize("turn_based", [False, True])
def test_what_is_remembered_is_the_seats_until_a_life_begins(turn_based):
    setting = Setting(turn_based=turn_based, splits=1, state_size=1, team=1)
    seat = setting.seats[0]
    seat.player[:] = [0, 1, LEARNS, 2]
    seat.active[:, 0] = True
    age = np.zeros(4, int)
    for step in range(6):
        seat.is_first[:, 0] = np.arange(4) == step
        if step == 3:
            seat.player[3] = 1  # another opponent at the episode boundary
        setting.answer()
        age = np.where(np.arange(4) == step, 1, age + 1)
        weight = np.array([10, 11, 0, 12 if step < 3 else 11])
        expected = (choice(seat.obs)[:, 0] + weight + age) % CHOICES
        np.testing.assert_array_equal(seat.action[[0, 1, 3], 0], expected[[0, 1, 3]])


def test_the_stream_of_their_actions_is_saved_with_the_others():
    setting = Setting()
    states = setting.server.generator_states()
    assert len(states) == 2
    drawn = [setting.acting.generator.random(), setting.bank.generator.random()]
    setting.server.restore_generators(states)
    assert [setting.acting.generator.random(), setting.bank.generator.random()] == drawn
