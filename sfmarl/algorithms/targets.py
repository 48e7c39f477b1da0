"""What an update aims at: advantages and value targets of a whole batch, made from the critic's outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfmarl.algorithms import losses, returns
from sfmarl.algorithms.rows import Rows, take
from sfmarl.models.normaliser import ValueNormaliser

if TYPE_CHECKING:
    from sfmarl.algorithms.hyperparameters import Hyperparameters


@dataclass
class Targets:
    """What the losses compare the networks' outputs with, on the same rows as `Inputs`; all [..., A] float32."""

    reference_log_prob: Tensor
    """Log-probability under the policy that the surrogate's ratio is taken against."""
    log_lag: Tensor
    """How far that policy had moved from the one that acted: the logarithm of their probabilities' ratio."""
    advantage: Tensor
    """With V-trace times the sample's importance weight rho; zero where no action was chosen."""
    value_target: Tensor
    """In the critic's normalised space."""
    old_value: Tensor
    """The critic's outputs when the targets were made."""

    def take(self, index: Tensor) -> Targets:
        """See `Inputs.take`."""
        return self._map(lambda x: take(x, index))

    def take_lanes(self, index: Tensor) -> Targets:
        """See `Inputs.take_lanes`."""
        return self._map(lambda x: x.index_select(1, index))

    def _map(self, select: Callable[[Tensor], Tensor]) -> Targets:
        return Targets(
            select(self.reference_log_prob),
            select(self.log_lag),
            select(self.advantage),
            select(self.value_target),
            select(self.old_value),
        )


@torch.no_grad()
def estimate(
    hp: Hyperparameters,
    rows: Rows,
    value: Tensor,
    log_prob: Tensor | None,
    previous: Targets | None,
    value_norm: ValueNormaliser | None,
) -> tuple[Targets, dict[str, Tensor]]:
    """Return targets and the metrics about them, from the critic's outputs `value` [T+1, N, A] (normalised space).

    `log_prob` [T, N, A] is the policy's at the update's start; V-trace needs it when there are no `previous` targets
    of this update. The first call of an update moves `value_norm` on.
    """
    active, running = rows.active.float(), rows.running.float()
    values = value if value_norm is None else value_norm.denormalise(value)
    arguments = (values, rows.reward, rows.terminated, rows.truncated, rows.running)
    reference = rows.behaviour_log_prob if previous is None else previous.reference_log_prob
    metrics: dict[str, Tensor] = {}
    weight = active
    if hp.returns == "vtrace":
        reference = log_prob if previous is None else reference
        # a dead agent whose return is running chose nothing: there is nothing to correct
        ratio = torch.where(rows.active, (reference - rows.behaviour_log_prob).exp(), 1.0)
        target, advantage = returns.vtrace(*arguments, ratio, hp.gamma, hp.trace_lambda, hp.rho_bar, hp.c_bar)
        weight = ratio.clamp(max=hp.rho_bar) * active
        metrics["rho_mean"] = losses.masked_mean(weight, active)
        metrics["ratio_max_first"] = (ratio - 1.0).abs().amax()
    elif hp.returns == "gae":
        target, advantage = returns.gae(*arguments, hp.gamma, hp.trace_lambda)
    else:
        target, advantage = returns.nstep(*arguments, hp.gamma, hp.n_step)
    # by the weighted mean: what is subtracted from every advantage is a baseline, which is unbiased only if it carries
    # the sample's weight (E_mu[rho grad log pi] = 0, E_mu[grad log pi] is not)
    standardised, metrics["advantage_std"] = losses.standardise(advantage, weight)
    metrics["value_mean"] = losses.masked_mean(values[:-1], running)
    metrics["return_mean"] = losses.masked_mean(target, running)
    metrics["explained_variance"] = losses.explained_variance(values[:-1], target, running)
    if previous is None and value_norm is not None:
        value_norm.update(target, running)
    targets = Targets(
        reference_log_prob=reference,
        log_lag=torch.where(rows.active, reference - rows.behaviour_log_prob, 0.0),
        advantage=weight * (standardised if hp.normalise_advantages else advantage),
        value_target=target if value_norm is None else value_norm.normalise(target),
        old_value=value[:-1],
    )
    return targets, metrics
