"""What a bank of policies does not batch acts one policy after the other, and remembers row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfmarl.models.acting_torch import TorchActing
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import policy_spec, random_mask
from tests.models.test_acting import random_inputs
from tests.models.test_bank import alone, assert_each_row_is_its_players, filled, flat_of, mixes


@pytest.mark.parametrize("config", [{"layer_norm": True}, {"precision": "bfloat16"}, {"rnn": "gru"}, {"rnn": "lstm"}])
def test_what_is_not_batched_is_a_loop(config):
    spec = policy_spec(masked=True)
    bank, actors = filled(spec, **config)
    assert bank.batched is None
    obs, mask, _ = random_inputs(spec, rows=31)
    slot = mixes(31)[0]
    first = np.ones(obs.shape[:2], bool)
    state = bank.new_state(31, 3)
    action, log_prob = (x.copy() for x in bank.act(obs, slot, mask, None, True, state, first))
    for k in np.unique(slot):
        own = slot == k
        memory = alone(actors[k]).new_state(int(own.sum()), 3)
        expected = alone(actors[k]).act(obs[own], mask[own], None, True, memory, first[own])
        np.testing.assert_array_equal(action[own], expected[0])
        np.testing.assert_allclose(log_prob[own], expected[1], rtol=1e-5, atol=1e-5)
        if memory is not None:
            torch.testing.assert_close(state[torch.from_numpy(own)], memory)


def test_images_act_in_a_bank():
    spec = PolicySpec(
        "p", ObsSpec((8, 8, 3), np.dtype(np.uint8)), ActionSpec("discrete", (3,), (0,)), False, (0, 1), (0, 1)
    )
    bank, actors = filled(spec)
    assert bank.batched is None
    assert_each_row_is_its_players(bank.act, spec, actors, False, mixes(11)[0])


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_row_remembers_what_its_player_saw_until_another_takes_it(kind):
    """Rows change hands where lives begin; every life is as if its player had been alone in it."""
    spec = policy_spec(agents=2, masked=True)
    bank, actors = filled(spec, rnn=kind, hidden=(6,), rnn_size=5)
    rng = np.random.default_rng(0)
    steps, rows = 12, 8
    obs = rng.normal(size=(steps, rows, 2, 5)).astype(np.float32)
    mask = random_mask(rng, (steps, rows, 2), spec.action.nvec)
    is_first = np.repeat(rng.random((steps, rows, 1)) < 0.3, 2, axis=-1)
    is_first[0] = True
    slot = rng.choice([0, 1, 2, 5], (steps, rows))
    for t in range(1, steps):
        slot[t] = np.where(is_first[t, :, 0], slot[t], slot[t - 1])
    state = bank.new_state(rows, 2).fill_(torch.nan)
    answers = [
        [x.copy() for x in bank.act(obs[t], slot[t], mask[t], None, True, state, is_first[t])] for t in range(steps)
    ]
    assert len(np.unique(slot[0])) > 1
    for row in range(rows):
        own = None
        for t in range(steps):
            single = alone(actors[slot[t, row]])
            own = single.new_state(1, 2) if is_first[t, row, 0] else own
            one = slice(row, row + 1)
            action, log_prob = single.act(obs[t, one], mask[t, one], None, True, own, is_first[t, one])
            np.testing.assert_array_equal(answers[t][0][one], action)
            np.testing.assert_allclose(answers[t][1][one], log_prob, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[row : row + 1], own)


def test_in_torch_one_policy_at_a_time_lies_where_graphs_look():
    spec = policy_spec("continuous")
    bank, actors = filled(spec)
    obs, _, _ = random_inputs(spec, rows=5)
    for k in (2, 2, 0, 6):
        single = TorchActing(actors[k], spec, torch.device("cpu"), 0)
        single.load(flat_of(actors[k]))
        expected = single.act(obs, greedy=True)
        for got, wanted in zip(bank.act(obs, np.full(5, k), greedy=True), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
