"""Numbers that are not finite: no step is taken on them, their batches are kept, many in a row end the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import safetensors.torch
import torch

from sfmarl.algorithms import register_algorithm
from sfmarl.algorithms.actor_only import ActorOnly
from sfmarl.algorithms.losses import masked_mean
from sfmarl.envs.games import MatrixGame
from sfmarl.errors import RunError
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import latest
from tests.runs.small import PAYOFF, config


class Overflowing(MatrixGame):
    """Pays 3e38, whose square is not a float32, in each of its steps from `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(PAYOFF)
        self._first, self._last, self._lived = first, last, 0

    def step(self, actions):
        self._lived += 1
        observations, rewards, *rest = super().step(actions)
        if self._first <= self._lived <= self._last:
            rewards = dict.fromkeys(rewards, 3e38)
        return observations, rewards, *rest


IN_PROCESSES = pytest.param("async", marks=pytest.mark.slow)


def overflowing(run_dir, first: int, last: int, mode="serial", **settings):
    kwargs = {"first": first, "last": last}
    workers = 1 if mode == "serial" else 2
    return config(run_dir, env="tests.faults.test_numbers:Overflowing", env_kwargs=kwargs, mode=mode,
                  num_workers=workers, **settings)  # fmt: skip


def finite_weights(run_dir) -> bool:
    state = latest(run_dir).read_policy("agent").algorithm_state["tensors"]
    return all(tensor.isfinite().all() for tensor in state.values() if tensor.is_floating_point())


@pytest.mark.parametrize("mode", ["serial", IN_PROCESSES])
def test_what_is_not_finite_is_kept_and_not_learned_from(mode, tmp_path, capsys):
    """40 steps of it: five slots' worth. Afterwards learning goes on."""
    run_dir = tmp_path / "run"
    result = train(overflowing(run_dir, 200, 239, mode))
    assert result.summary["stopped_by"] == "finished"
    skipped = [record.get("learner/agent/skipped_updates", 0.0) for record in result.metrics()]
    assert max(skipped) > 0 and finite_weights(run_dir)
    kept = sorted((run_dir / "not_finite").iterdir())
    assert 1 <= len(kept) <= 3
    batch = safetensors.torch.load_file(kept[0])
    assert batch["reward"].max() == torch.tensor(np.float32(3e38)) and batch["active"].dtype == torch.bool
    assert "The batch is in" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("mode", ["serial", IN_PROCESSES])
def test_many_in_a_row_end_the_run_with_finite_weights(mode, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(RunError, match=r"policy 'agent': in 4 updates in a row .* not finite"):
        train(overflowing(run_dir, 200, 10**9, mode, max_skipped_updates=4, env_steps=10**6))
    assert finite_weights(run_dir)


class Careless(ActorOnly):
    """Its weights are not finite after its fifth update, of which it does not tell."""

    @dataclass
    class Hyperparameters:
        lr: float = 0.01
        hidden: tuple[int, ...] = (8,)

    def loss(self, batch, log_prob, entropy, weight):
        return -masked_mean(log_prob, weight)

    def update(self, batch, progress):
        self.updates = getattr(self, "updates", 0) + 1
        if self.updates == 5:
            next(self.actor.parameters()).data.fill_(float("nan"))
        return super().update(batch, progress) | {"skipped_updates": 0.0}


def test_an_algorithm_without_a_guard_does_not_replace_a_good_checkpoint(tmp_path, capsys):
    register_algorithm("careless", Careless)
    train(config(tmp_path, algo="careless", hp=Careless.Hyperparameters(), mode="serial", num_workers=1))
    assert "policy 'agent': its weights are not finite" in " ".join(capsys.readouterr().out.split())
    assert latest(tmp_path).env_steps == 0 and finite_weights(tmp_path)


def test_a_disk_that_is_full_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sfmarl.storage.kept_batch.replace_file", full)
    result = train(overflowing(tmp_path / "run", 200, 239))
    assert result.summary["stopped_by"] == "finished"
    assert "could not be kept: No space left" in " ".join(capsys.readouterr().out.split())
