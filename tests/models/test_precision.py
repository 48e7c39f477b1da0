"""bfloat16: in the matrix products before the head and nowhere else, the same for acting and for learning."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from sfmarl.evaluation.policy import build_actor
from sfmarl.models.acting import make_acting
from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import acted_batch, policy_spec
from tests.models.test_acting import lively_actor

CPU = torch.device("cpu")
SETS = [(0, 0, 0), (0, 1, 2), (1, 0, 1)]
BF16_ULP = 2.0**-8


def image_spec() -> PolicySpec:
    obs, action = ObsSpec((12, 12, 2), np.dtype(np.uint8)), ActionSpec("discrete", (4,), (0,))
    return PolicySpec("team", obs, action, False, ("a", "b", "c"), (0, 0, 0))


@pytest.mark.parametrize("rnn", ["none", "gru", "lstm"])
@pytest.mark.parametrize("sets", SETS)
def test_outputs_are_float32_and_those_of_float32_within_bfloat16(sets, rnn):
    spec = policy_spec(sets=sets)
    outputs = []
    for precision in ("float32", "bfloat16"):
        actor = Actor(spec, NetConfig(precision=precision, rnn=rnn), 0)
        params = actor(torch.randn(50, 3, 5, generator=torch.Generator().manual_seed(0)))
        params.square().sum().backward()
        assert params.dtype == torch.float32
        assert all(p.grad.dtype == torch.float32 for p in actor.parameters() if p.grad is not None)
        outputs.append(params.detach())
    scale = outputs[0].abs().max()
    assert 0 < (outputs[0] - outputs[1]).abs().max() < 8 * BF16_ULP * scale


def test_the_head_is_a_float32_product():
    """Its weights differ by less than bfloat16 tells apart, and the outputs show it."""
    spec = policy_spec()
    actor = lively_actor(spec, precision="bfloat16")
    obs = torch.randn(20, 3, 5)
    head = actor.network.layers[-1].weight
    with torch.no_grad():
        before = actor(obs)
        head[0, :, 0].mul_(1 + 2.0**-14)
        after = actor(obs)
    assert torch.equal(before[..., 1:], after[..., 1:])
    assert not torch.equal(before[..., 0], after[..., 0])


def test_hidden_layers_are_bfloat16_products():
    spec = policy_spec()
    actor = lively_actor(spec, precision="bfloat16", agent_id=False)
    obs = torch.randn(20, 3, 5)
    with torch.no_grad():
        before = actor(obs)
        weight = actor.network.layers[0].weight
        weight.copy_(weight.bfloat16().float())
        assert torch.equal(before, actor(obs))


def test_memory_is_kept_in_float32():
    actor = lively_actor(policy_spec(), precision="bfloat16", rnn="gru")
    acting = make_acting(actor, actor.spec, "cpu", 0)
    state = acting.new_state(6, 3)
    obs = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)
    acting.act(obs, rnn_state=state, is_first=np.zeros((6, 3), bool))
    assert state.dtype == torch.float32 and not torch.equal(state, state.bfloat16().float())


def test_the_numpy_path_is_for_float32_only():
    spec = policy_spec()
    assert NumpyActing.supports(Actor(spec, NetConfig()))
    assert not NumpyActing.supports(Actor(spec, NetConfig(precision="bfloat16")))


@pytest.mark.parametrize("rnn", ["none", "gru"])
@pytest.mark.parametrize("make_spec", [policy_spec, image_spec], ids=["vector", "image"])
def test_what_acted_is_what_learns(make_spec, rnn):
    """At policy lag 0 the ratio is 1 within the rounding of bfloat16, though batches are of other sizes."""
    spec = make_spec()
    settings = {"critic": "own", "epochs": 1, "precision": "bfloat16", "actor_rnn": rnn}
    algo = PPO(spec, Hyperparameters(**settings), CPU, 0)
    if make_spec is policy_spec:
        metrics = algo.update(acted_batch(spec, algo.actor), 0.0)
        assert float(metrics["ratio_max_first"]) < 4 * BF16_ULP
        return
    obs = np.random.default_rng(0).integers(256, size=(40, 3, *spec.obs.shape)).astype(np.uint8)
    acting = make_acting(algo.actor, spec, "cpu", 0)
    memory = {"rnn_state": acting.new_state(40, 3), "is_first": np.ones((40, 3), bool)} if rnn != "none" else {}
    action, log_prob = acting.act(obs, **memory)
    rows = torch.from_numpy(obs)[:7]
    with torch.no_grad():
        again, _ = algo.actor.evaluate(algo.actor.prepare(rows), torch.from_numpy(action[:7]))
    assert again.dtype == torch.float32
    np.testing.assert_allclose(np.exp(again.numpy() - log_prob[:7]), 1.0, atol=4 * BF16_ULP)


def test_a_trained_policy_acts_in_float32():
    spec, hp = policy_spec(), Hyperparameters(critic="own", precision="bfloat16")
    trained = PPO.build_actor(spec, hp, 3)
    state = SimpleNamespace(algo="ippo", spec=spec, hp=asdict(hp), actor_tensors=trained.state_dict())
    actor = build_actor(state)
    obs = torch.randn(20, 3, 5)
    with torch.no_grad():
        assert torch.equal(actor(obs), PPO.build_actor(spec, replace(hp, precision="float32"), 3)(obs))
        assert not torch.equal(actor(obs), trained(obs))
    assert NumpyActing.supports(actor)
