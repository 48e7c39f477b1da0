"""Adam for an actor and a critic: schedule, separate gradient clipping, a guard against non-finite steps."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from sfmarl.algorithms.side_by_side import SideBySide


def lr_factor(schedule: str, final: float, progress: float) -> float:
    """Return the learning rate's factor at `progress` in [0, 1] of the run: from 1 to `final`, or constantly 1."""
    if schedule == "constant":
        return 1.0
    left = 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return final + (1.0 - final) * left


def step_if_finite(adam: torch.optim.Adam, numbers: Tensor) -> Tensor:
    """Take a step unless one of `numbers` (losses, gradient norms) is NaN or infinite; return 1.0 if not, else 0.0.

    It is skipped on the device, without a host synchronisation: fused Adam reads a `found_inf` flag, the mechanism
    automatic mixed precision uses. `adam` must have been made with `fused=True`.
    """
    skipped = (~numbers.isfinite().all()).float()
    adam.found_inf = skipped
    adam.step()
    return skipped


def moments(parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return Adam's state of a parameter before its first step.

    Made then rather than at the first step, so that a state can be loaded in place at any time.
    """
    return {
        "step": torch.zeros((), device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


class ActorCriticAdam:
    """One fused Adam over two networks, whose steps are taken if they are finite."""

    def __init__(
        self, actor: nn.Module, critic: nn.Module, eps: float, max_grad_norm: float, side_by_side: SideBySide
    ) -> None:
        self._named = [
            (f"{owner}.{name}", parameter)
            for owner, module in (("actor", actor), ("critic", critic))
            for name, parameter in module.named_parameters()
        ]
        self._groups = (list(actor.parameters()), list(critic.parameters()))
        self._max_grad_norm = max_grad_norm
        self._side_by_side = side_by_side
        self._adam = torch.optim.Adam([{"params": group} for group in self._groups], lr=0.0, eps=eps, fused=True)
        for _, parameter in self._named:
            self._adam.state[parameter] = moments(parameter)

    def set_lr(self, actor_lr: float, critic_lr: float) -> None:
        """Set both learning rates."""
        for group, lr in zip(self._adam.param_groups, (actor_lr, critic_lr), strict=True):
            group["lr"] = lr

    def step(self, actor_loss: Tensor, critic_loss: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Minimise both losses by one step: the networks share no parameter.

        Returns the actor's and the critic's gradient norm before clipping and 1.0 if the step was skipped, else 0.0.
        """
        self._adam.zero_grad(set_to_none=True)
        norms = self._side_by_side(
            partial(self._gradients, actor_loss, self._groups[0]),
            partial(self._gradients, critic_loss, self._groups[1]),
        )
        skipped = step_if_finite(self._adam, actor_loss.detach() + critic_loss.detach() + norms[0] + norms[1])
        return norms[0], norms[1], skipped

    def _gradients(self, loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
        loss.backward()
        return self._clip(parameters)

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        if self._max_grad_norm > 0.0:
            return nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def tensors(self) -> dict[str, Tensor]:
        """Return Adam's live moments and step counts by parameter name; writing into them restores a state."""
        return {
            f"{name}.{key}": value
            for name, parameter in self._named
            for key, value in self._adam.state[parameter].items()
        }
