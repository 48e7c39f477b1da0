"""Registered encoders: one per parameter set, drawn by the seed, refused when they do not fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from sfmarl.errors import UsageError, UserCodeError
from sfmarl.models.acting import make_acting
from sfmarl.models.actor import Actor
from sfmarl.models.custom import MODELS, CustomEncoder, register_model
from sfmarl.models.encoders import NetConfig
from tests.algorithms.synthetic_batches import acted_batch, policy_spec


def build(shape, units=7):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), units), nn.Tanh())


@pytest.fixture(autouse=True)
def names(monkeypatch):
    monkeypatch.setattr(MODELS, "_values", {})
    register_model("mine", build, "for tests")


def encoder(setting="mine", shape=(5,), sets=1, seed=0) -> CustomEncoder:
    return CustomEncoder(setting, shape, sets, torch.Generator().manual_seed(seed))


def test_the_seed_draws_its_weights_and_nothing_else_does():
    state = torch.random.get_rng_state()
    first, second, other = encoder(), encoder(), encoder(seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = zip(first.parameters(), second.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)


def test_every_parameter_set_has_its_own():
    net = encoder("mine?units=3", sets=2)
    assert net.features == 3
    x = torch.randn(2, 4, 5)
    out = net(x, [1, 0])
    torch.testing.assert_close(out[0], net.encoders[1](x[0]))
    torch.testing.assert_close(out[1], net.encoders[0](x[1]))
    torch.testing.assert_close(encoder()(torch.randn(6, 2, 5), [0]).shape, torch.Size((6, 2, 7)))


@pytest.mark.parametrize("rnn", ["none", "gru"])
@pytest.mark.parametrize("sets", [(0, 0, 0), (0, 1, 0)], ids=["full", "roles"])
def test_it_learns_acts_and_is_restored_like_every_network(sets, rnn):
    spec = policy_spec(sets=sets)
    hp = Hyperparameters(critic="own", encoder="mine", actor_rnn=rnn, critic_rnn=rnn, rnn_size=4, hidden=(8,), epochs=2)
    algo = PPO(spec, hp, torch.device("cpu"), 1)
    before = copy.deepcopy(algo.actor.state_dict())
    assert algo.update(acted_batch(spec, algo.actor), 0.0)["ratio_max_first"] < 1e-4
    moved = [name for name, x in algo.actor.state_dict().items() if "encoders" in name and not x.equal(before[name])]
    assert len(moved) == 2 * len(set(sets))
    again = PPO(spec, hp, torch.device("cpu"), 2)
    again.load_state_dict(algo.state_dict())
    assert all(a.equal(b) for a, b in zip(algo.actor.parameters(), again.actor.parameters(), strict=True))


def test_acting_takes_over_its_weights():
    spec = policy_spec()
    first, second = (Actor(spec, NetConfig(encoder="mine"), seed) for seed in (0, 1))
    acting = make_acting(first, spec, "cpu", 0)
    from sfmarl.models.acting import flat_size, flatten_into

    flat = np.empty(flat_size(second), np.float32)
    flatten_into(second, flat)
    acting.load(flat)
    obs = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    greedy, _ = acting.act(obs, greedy=True)
    expected = second(torch.from_numpy(obs)).argmax(-1)
    np.testing.assert_array_equal(greedy, expected.numpy())


@pytest.mark.parametrize(
    ("thing", "error", "message"),
    [
        (lambda shape: nn.Linear(3, 2), UserCodeError, "raised RuntimeError"),
        (lambda shape: nn.Unflatten(1, (5, 1)), UsageError, r"float32 features \[M, F\]"),
        (lambda shape: nn.Linear(5, 2).double(), UserCodeError, "raised"),
        (lambda shape: nn.Sequential(nn.BatchNorm1d(5)), UsageError, "is torch.int64"),
    ],
)
def test_what_does_not_fit_is_refused(thing, error, message):
    register_model("bad", thing)
    with pytest.raises(error, match=message):
        encoder("bad")
    with pytest.raises(UsageError, match=r"no model named 'mien'\. Did you mean 'mine'"):
        encoder("mien")
