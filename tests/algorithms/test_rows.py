"""What an update computes on: nothing that must not be read is left, and whole batches are not copied."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic_batches import acted_batch, policy_spec

from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.rows import Rows


def batch_of(deaths: bool):
    spec = policy_spec()
    return acted_batch(spec, PPO.build_actor(spec, Hyperparameters(critic="own")), deaths=deaths)


def needed_rows(batch):
    """A return is running, or its end is bootstrapped from: one row at a time."""
    steps, needed = len(batch.reward), batch.active.clone()
    for t in range(steps):
        for n, a in torch.cartesian_prod(*map(torch.arange, batch.active.shape[1:])).tolist():
            if batch.active[t, n, a] and not batch.terminated[t, n, a]:
                needed[t + 1, n, a] = True
    return needed


@pytest.mark.parametrize("deaths", [False, True])
@pytest.mark.parametrize("part", [False, True])
def test_rows_that_nothing_reads_are_cleared(deaths, part):
    batch = batch_of(deaths)
    state = torch.randn((*batch.obs.shape[:2], 4))
    if part:
        batch = replace(batch, **{k: v[:, :5] for k, v in vars(batch).items() if torch.is_tensor(v) and v.dim() > 1})
        state = state[:, :5]
    batch = replace(batch, state=state)
    before, needed = batch.obs.clone(), needed_rows(batch)
    assert needed.all() != deaths

    rows = Rows.of(batch)

    torch.testing.assert_close(rows.obs, torch.where(needed[..., None], before, 0.0), rtol=0, atol=0)
    torch.testing.assert_close(rows.state[needed.any(-1)], state[needed.any(-1)], rtol=0, atol=0)
    assert (rows.state[~needed.any(-1)] == 0).all()
    assert rows.obs.is_contiguous()
    assert (rows.obs.data_ptr() == batch.obs.data_ptr()) == (not part)
    if part:
        torch.testing.assert_close(batch.obs, before, rtol=0, atol=0)
