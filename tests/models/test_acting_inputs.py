"""How rows that wait for an action reach the device: where they lie, or joined once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfmarl.models.acting_torch import Input, TorchActing
from sfmarl.transfers import Transfers
from tests.algorithms.synthetic_batches import policy_spec
from tests.late_transfers import LateTransfers
from tests.models.test_acting import lively_actor, random_inputs

CPU = torch.device("cpu")


def make_input(transfers, direct_bytes=100, **options) -> Input:
    return Input((32, 2, 5), torch.float32, transfers, direct_bytes=direct_bytes, **options)


def rows(*counts: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(count, 2, 5)).astype(np.float32) for count in counts]


def test_on_the_cpu_one_array_is_read_where_it_lies():
    (part,) = rows(7)
    assert make_input(Transfers(CPU)).put([part]).data_ptr() == part.ctypes.data


def test_what_a_users_encoder_may_overwrite_is_a_copy():
    (part,) = rows(7)
    put = make_input(Transfers(CPU), views=False).put([part])
    put.zero_()
    assert part.any()


@pytest.mark.parametrize("change", ["dtype", "order", "frozen"])
def test_rows_that_torch_cannot_read_in_place_are_copied(change):
    (part,) = rows(7)
    odd = {"dtype": part.astype(np.float16), "order": part[::-1], "frozen": part.copy()}[change]
    odd.flags.writeable = change != "frozen"
    np.testing.assert_array_equal(make_input(Transfers(CPU)).put([odd]).numpy(), odd)


@pytest.mark.parametrize("transfers", [lambda: Transfers(CPU), LateTransfers])
@pytest.mark.parametrize("counts", [(7,), (1, 9, 2), (3, 1, 1, 9, 2), (9, 9), (16, 16)])
def test_parts_lie_in_their_order(transfers, counts):
    transfers = transfers()
    target = make_input(transfers)
    for _ in range(2):
        parts = rows(*counts)
        put = target.put(parts)
        transfers.wait()
        np.testing.assert_array_equal(put.numpy(), np.concatenate(parts))


def test_large_parts_are_transferred_from_where_they_lie_and_small_neighbours_together():
    transfers = LateTransfers()
    parts = rows(1, 1, 9, 9, 1)  # of 40 and 360 bytes
    make_input(transfers).put(parts)
    sizes = [len(source) for _, source in transfers.asked]
    places = [source.data_ptr() for _, source in transfers.asked]
    assert sizes == [2, 9, 9, 1]
    assert places[1:3] == [part.ctypes.data for part in parts[2:4]]


@pytest.mark.parametrize("indexed", [False, True])
def test_rows_in_several_arrays_are_answered_as_if_they_lay_in_one(indexed):
    spec = policy_spec("continuous" if indexed else "multi_discrete", masked=not indexed)
    actor = lively_actor(spec)
    obs, mask, index = random_inputs(spec, indexed=indexed)
    answers = []
    for cut in (False, True):
        acting = TorchActing(actor, spec, CPU, seed=3)
        split = (lambda x: x if x is None else [x[:5], x[5:6], x[6:]]) if cut else (lambda x: x)
        answers.append([x.copy() for x in acting.act(split(obs), split(mask), index)])
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
