"""What the losses aim at: advantages, their importance weights, and the baseline that must carry them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.rows import Rows
from sfmarl.algorithms.targets import estimate
from tests.algorithms.test_returns import GAMMA, vtrace_oracle

SHAPE = (7, 5, 2)
T, N, A = SHAPE


def rows(seed=0) -> tuple[Rows, torch.Tensor, torch.Tensor]:
    """Return lagging rows, the critic's outputs and the policy's log-probabilities; some rows are dead."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(SHAPE, generator=generator) < 0.8
    behaviour = -torch.rand(SHAPE, generator=generator) * active
    log_prob = behaviour + 0.7 * torch.randn(SHAPE, generator=generator) * active
    never = torch.zeros(SHAPE, dtype=torch.bool)
    found = Rows(
        obs=torch.zeros(T + 1, N, A, 1),
        state=None,
        action=torch.zeros(SHAPE, dtype=torch.int64),
        action_mask=None,
        behaviour_log_prob=behaviour,
        reward=torch.randn(SHAPE, generator=generator) * active,
        terminated=never,
        truncated=never,
        active=active,
        running=active,
        agent_index=None,
        is_first=torch.zeros((T + 1, N, A), dtype=torch.bool),
        actor_state=None,
    )
    return found, torch.randn((T + 1, N, A), generator=generator), log_prob


def advantages(found, value, log_prob, **settings):
    hp = Hyperparameters(normalise_values=False, **settings)
    return estimate(hp, found, value, log_prob, None, None)[0].advantage


@pytest.mark.parametrize("rho_bar", [1.0, 1.5])
@pytest.mark.parametrize("normalised", [True, False])
def test_vtrace_advantages_row_by_row(rho_bar, normalised):
    """Each advantage is standardised under the weights rho and then carries its own weight."""
    found, value, log_prob = rows()
    settings = {"rho_bar": rho_bar, "gamma": GAMMA, "trace_lambda": 0.8, "normalise_advantages": normalised}
    got = advantages(found, value, log_prob, **settings).numpy()
    active = found.active.numpy()
    ratio = np.where(active, np.exp((log_prob - found.behaviour_log_prob).numpy()), 1.0)
    weight = np.minimum(ratio, rho_bar) * active
    plain = np.zeros(SHAPE)
    for n, a in np.ndindex(N, A):
        columns = (value, found.reward, found.terminated, found.truncated, found.running)
        arrays = [x[:, n, a].numpy() for x in columns]
        plain[:, n, a] = vtrace_oracle(*arrays, ratio[:, n, a], 0.8, rho_bar, 1.0)[1]
    if normalised:
        mean = np.average(plain, weights=weight)
        plain = (plain - mean) / np.sqrt(np.average((plain - mean) ** 2, weights=weight))
    np.testing.assert_allclose(got, weight * plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", ["vtrace", "gae", "nstep"])
def test_an_equal_bonus_for_every_action_teaches_nothing(estimator):
    """What all actions earn alike says nothing about them, however often the acting policy took each."""
    found, value, log_prob = rows()
    settings = {"returns": estimator, "gamma": 0.0}
    before = advantages(found, value, log_prob, **settings)
    found.reward = (found.reward + 3.0) * found.active
    torch.testing.assert_close(advantages(found, value, log_prob, **settings), before, rtol=1e-4, atol=1e-5)


def test_dead_rows_have_no_advantage():
    found, value, log_prob = rows()
    for estimator in ("vtrace", "gae", "nstep"):
        assert not advantages(found, value, log_prob, returns=estimator)[~found.active].any()
