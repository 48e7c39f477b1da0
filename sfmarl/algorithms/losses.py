"""The PPO family's losses as pure functions. Means are weighted; a row of weight 0 has no influence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_mean(x: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of x [...] under `weight` [...] float: 0 or 1, or a sample's importance; 0 when none has any."""
    return x.reshape(-1).dot(weight.reshape(-1)) / weight.sum().clamp_min(1.0)


def clipped_surrogate(log_ratio: Tensor, log_lag: Tensor, advantage: Tensor, weight: Tensor, clip: float) -> Tensor:
    """Return PPO's loss (Schulman et al. 2017, eq. 7), per agent, with a trust region around two policies.

    r = exp(log_ratio) = pi / pi_k is taken against the policy at the update's start, l = exp(log_lag) = pi_k / mu is
    how far that one had moved from the policy that acted. A sample's loss is -A r until r or r l = pi / mu leaves
    [1 - clip, 1 + clip] in the direction of A; from there on it is constant and pushes no further. Where pi_k = mu
    (policy lag 0) this is -min(r A, clip(r, 1 - clip, 1 + clip) A).
    """
    ratio = log_ratio.exp()
    back = (-log_lag).clamp(max=20.0).exp()  # a bound beyond every ratio, and finite: the advantage there is nearly 0
    highest = (1.0 + clip) * back.clamp(max=1.0)
    lowest = (1.0 - clip) * back.clamp(min=1.0)
    kept = torch.where(advantage > 0.0, torch.minimum(ratio, highest), torch.maximum(ratio, lowest))
    return -masked_mean(kept * advantage, weight)


def policy_gradient(log_prob: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """Return the plain policy-gradient loss -mean A log pi."""
    return -masked_mean(log_prob * advantage, weight)


def value_loss(
    value: Tensor, target: Tensor, weight: Tensor, huber_delta: float, old_value: Tensor | None, clip: float
) -> Tensor:
    """Return the critic's loss in its normalised space: Huber (`huber_delta` > 0) or half squared error.

    With `clip` > 0, PPO's clipped value loss: the larger of the losses of `value` and of `value` kept within `clip` of
    `old_value` (Yu et al. 2022, MAPPO, appendix A).
    """

    def error(prediction: Tensor) -> Tensor:
        if huber_delta > 0.0:
            return F.huber_loss(prediction, target, reduction="none", delta=huber_delta)
        return 0.5 * (prediction - target).square()

    loss = error(value)
    if clip > 0.0:
        loss = torch.maximum(loss, error(old_value + (value - old_value).clamp(-clip, clip)))
    return masked_mean(loss, weight)


def standardise(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return x shifted and scaled to mean 0 and standard deviation 1 under `weight` [...] >= 0, and that deviation."""
    mean = masked_mean(x, weight)
    std = masked_mean((x - mean).square(), weight).sqrt()
    return (x - mean) / (std + 1e-8), std


def explained_variance(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - Var(target - value) / Var(target) over the rows of `weight` 1; 0 when the targets do not vary."""
    error = target - value
    residual = masked_mean((error - masked_mean(error, weight)).square(), weight)
    variance = masked_mean((target - masked_mean(target, weight)).square(), weight)
    return torch.where(variance > 1e-8, 1.0 - residual / variance.clamp_min(1e-8), 0.0)
