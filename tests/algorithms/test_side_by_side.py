import threading
from collections.abc import Iterator

import pytest
import torch

from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.registry import get_algorithm
from sfmarl.algorithms.side_by_side import SideBySide
from sfmarl.threads import use_threads
from tests.algorithms.synthetic_batches import acted_batch, policy_spec

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    undo = use_threads(2)
    yield
    undo()


def test_with_one_thread_one_follows_the_other():
    names = SideBySide(CPU)(threading.current_thread, threading.current_thread)
    assert names == (threading.current_thread(),) * 2


@pytest.mark.usefixtures("two_threads")
def test_with_two_threads_both_run_at_once():
    meeting = threading.Barrier(2, timeout=20)
    first, second = SideBySide(CPU)(meeting.wait, meeting.wait)
    assert {first, second} == {0, 1}


@pytest.mark.usefixtures("two_threads")
def test_each_gets_half_of_the_threads_and_the_callers_gradient_mode():
    pair = SideBySide(CPU)
    assert pair(torch.get_num_threads, torch.get_num_threads) == (1, 1)
    with torch.no_grad():
        assert pair(torch.is_grad_enabled, torch.is_grad_enabled) == (False, False)
    assert pair(torch.is_grad_enabled, torch.is_grad_enabled) == (True, True)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("which", [0, 1])
def test_what_fails_is_raised_after_both_have_ended(which):
    ended = []

    def fails():
        ended.append(1)
        raise ValueError("it failed")

    works = [lambda: ended.append(0)] * 2
    works[which] = fails
    with pytest.raises(ValueError, match="it failed"):
        SideBySide(CPU)(*works)
    assert sorted(ended) == [0, 1]


def learner(minibatches: int) -> PPO:
    hp = get_algorithm("ippo").hyperparameters()
    hp.epochs, hp.minibatches = 2, minibatches
    return PPO(policy_spec(), hp, CPU, seed=1)


def updated(algorithm: PPO) -> dict[str, torch.Tensor]:
    for seed in range(3):
        algorithm.update(acted_batch(policy_spec(), algorithm.actor, seed=seed), 0.0)
    return algorithm.state_dict()["tensors"]


@pytest.mark.parametrize("minibatches", [1, 3])
def test_weights_are_those_of_one_thread_to_the_bit(minibatches):
    one = learner(minibatches)
    start = one.state_dict()
    undo = use_threads(2)
    try:
        two = learner(minibatches)
        # what is drawn at first comes out of a library that rounds differently with two threads
        two.load_state_dict(start)
        together = updated(two)
    finally:
        undo()
    alone = updated(one)
    assert all(torch.equal(alone[name], together[name]) for name in alone)
    assert not torch.equal(alone["actor.network.layers.0.weight"], start["tensors"]["actor.network.layers.0.weight"])
