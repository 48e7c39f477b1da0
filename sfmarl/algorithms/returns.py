"""Return estimators over trajectory slots: GAE(lambda), V-trace, n-step.

Shapes and semantics are those of `Batch`. `values` [T+1, N, A] are the critic's estimates in units of return; the
others are [T, N, A]. `running` says where a return is running (`active`, or dead but still earning). One rule for all
of them:

    a step's successor value is always values[t + 1], counted unless the step terminated the recursion stops at a cut
    (terminated or truncated), before a step that is not running, and at the end of the slot

Each returns (targets, advantages): value targets, and advantages that are zero where no return is running.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    values: Tensor,
    reward: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    running: Tensor,
    gamma: float,
    trace_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16); targets are the lambda-returns."""
    advantages = _td_errors(values, reward, terminated, running, gamma)
    trace = _trace(terminated, truncated, running, gamma * trace_lambda)
    _scan(advantages, trace)
    return values[:-1] + advantages, advantages


def vtrace(
    values: Tensor,
    reward: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    running: Tensor,
    ratio: Tensor,
    gamma: float,
    trace_lambda: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """V-trace (Espeholt et al. 2018, IMPALA, eq. 1) with c_t = lambda min(c_bar, ratio_t) (their remark 2).

    `ratio` is pi / mu of the action taken; 1 where no action was chosen. Advantages are r_t + gamma q_{t+1} - V_t with
    q = lambda v + (1 - lambda) V as in rlax, so that for ratio 1 both results equal those of `gae`; for lambda 1 they
    are IMPALA's without the weight rho_t = min(rho_bar, ratio_t), which belongs to the sample, not to its advantage.
    """
    advantages = _td_errors(values, reward, terminated, running, gamma)
    trace = _trace(terminated, truncated, running, gamma * trace_lambda)
    corrections = advantages * ratio.clamp(max=rho_bar)
    _scan(corrections, trace * ratio.clamp(max=c_bar))
    advantages[:-1].addcmul_(trace[:-1], corrections[1:])
    return values[:-1] + corrections, advantages


def nstep(
    values: Tensor,
    reward: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    running: Tensor,
    gamma: float,
    n: int,
) -> tuple[Tensor, Tensor]:
    """n-step returns (Mnih et al. 2016, A3C); n = 0 or n >= T goes on to the end of the slot."""
    steps = len(reward)
    if n == 0 or n >= steps:
        return gae(values, reward, terminated, truncated, running, gamma, 1.0)
    td_errors = _td_errors(values, reward, terminated, running, gamma)
    trace = _trace(terminated, truncated, running, gamma)
    advantages = td_errors.clone()
    for _ in range(n - 1):
        # one step further for every row at once: the sum of TD errors over k steps from that over k - 1
        advantages[:-1] = td_errors[:-1] + trace[:-1] * advantages[1:]
        advantages[-1] = td_errors[-1]
    return values[:-1] + advantages, advantages


def discounted(reward: Tensor, terminated: Tensor, truncated: Tensor, running: Tensor, gamma: float) -> Tensor:
    """Return the discounted sums of the rewards inside the slot, without any bootstrap [T, N, A]."""
    sums = torch.where(running, reward, 0.0)
    _scan(sums, _trace(terminated, truncated, running, gamma))
    return sums


def _td_errors(values: Tensor, reward: Tensor, terminated: Tensor, running: Tensor, gamma: float) -> Tensor:
    successor = values[1:].masked_fill(terminated, 0.0)
    return successor.mul_(gamma).add_(reward).sub_(values[:-1]).masked_fill_(~running, 0.0)


def _trace(terminated: Tensor, truncated: Tensor, running: Tensor, decay: float) -> Tensor:
    """Return the factor that carries step t + 1's sum into step t: `decay`, or 0 where the recursion stops."""
    return (running & ~(terminated | truncated)).float().mul_(decay)


def _scan(x: Tensor, trace: Tensor) -> None:
    """x[t] += trace[t] x[t + 1], backwards over time, in place."""
    # unbind gives views whatever the strides; flattening first would copy a tensor that is not contiguous
    rows, factors = x.unbind(0), trace.unbind(0)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(factors[t], rows[t + 1])
