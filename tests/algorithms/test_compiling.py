"""The compiled learner step: the same updates, or a warning and the uncompiled one."""

from __future__ import annotations

import pytest
import torch

from sfmarl.algorithms import compiling
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from tests.algorithms.synthetic_batches import acted_batch, policy_spec

CPU = torch.device("cpu")


def updated(device=CPU, **settings) -> torch.Tensor:
    """Return all parameters after two updates."""
    algo = PPO(policy_spec(masked=True), Hyperparameters(critic="own", target_kl=0.0, **settings), device, seed=1)
    batch = acted_batch(algo.spec, algo.build_actor(algo.spec, algo.hp, 1), deaths=True).to(device)
    for _ in range(2):
        algo.update(batch, 0.0)
    parameters = [*algo.actor.parameters(), *algo.critic.parameters()]
    return torch.cat([p.detach().flatten() for p in parameters]).cpu()


def test_without_a_compiler_a_warning_says_so_and_the_update_is_the_same(monkeypatch):
    monkeypatch.setattr(compiling, "compiler_fault", lambda kind: f"there is no compiler for {kind}")
    with pytest.warns(RuntimeWarning, match="no compiler for cpu"):
        found = updated(compile=True, epochs=2)
    assert torch.equal(found, updated(epochs=2))


def test_a_broken_tool_chain_is_noticed(monkeypatch):
    def broken(function):
        def call(*_):
            raise RuntimeError("g++: command not found\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    compiling.compiler_fault.cache_clear()
    fault = compiling.compiler_fault("cpu")
    compiling.compiler_fault.cache_clear()
    assert "g++: command not found" in fault and "long trace" not in fault


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("settings", [{"epochs": 2}, {"epochs": 2, "minibatches": 3, "surrogate": "pg"}], ids=str)
def test_compiled_updates_are_the_uncompiled_ones(settings):
    if fault := compiling.compiler_fault("cpu"):
        pytest.skip(fault)
    plain = updated(**settings)
    torch.testing.assert_close(updated(compile=True, **settings), plain, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compiled_updates_are_the_uncompiled_ones_on_a_gpu():
    assert compiling.compiler_fault("cuda") is None
    device = torch.device("cuda")
    torch.testing.assert_close(updated(device, compile=True, epochs=2), updated(device, epochs=2), rtol=1e-3, atol=2e-5)
