"""Base of algorithms that learn an actor alone, one gradient step per batch: only a loss is left to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.losses import masked_mean
from sfmarl.algorithms.optimiser import moments, step_if_finite
from sfmarl.algorithms.saving import load_in_place
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import PolicySpec

_ADAM = "adam."


class ActorOnly(ABC):
    """An `Algorithm` without a critic: a feed-forward actor of `hp.hidden` units, Adam with `hp.lr`.

    `Hyperparameters` is a dataclass with at least these two. Observations are not normalised.
    """

    Hyperparameters: ClassVar[type]

    def __init__(self, spec: PolicySpec, hp: Any, device: torch.device, seed: int) -> None:
        self.spec, self.hp, self.device = spec, hp, device
        self.actor = self.build_actor(spec, hp, seed).to(device)
        self._adam = torch.optim.Adam(self.actor.parameters(), hp.lr, fused=True)
        for parameter in self.actor.parameters():
            self._adam.state[parameter] = moments(parameter)

    @staticmethod
    def build_actor(spec: PolicySpec, hp: Any, seed: int = 0) -> Actor:
        """See `Algorithm.build_actor`."""
        return Actor(spec, NetConfig(tuple(hp.hidden), normalise_obs=False), seed)

    @staticmethod
    def central_critic(hp: Any) -> bool:
        """Return False: no state is stored."""
        return False

    @abstractmethod
    def loss(self, batch: Batch, log_prob: Tensor, entropy: Tensor, weight: Tensor) -> Tensor:
        """Return what is minimised, 0-dim.

        `log_prob` and `entropy` [T, N, A] are those of the actions taken, by the current actor; `weight` [T, N, A] is
        1 where a live agent acted and 0 in padding and for the dead, whose rows must have no influence.
        """

    def update(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """See `Algorithm.update`. Metrics: loss_policy, entropy (nats), skipped_updates."""
        mask = None if batch.action_mask is None else batch.action_mask[:-1]
        weight = batch.active[:-1].float()
        obs = self.actor.prepare(batch.obs[:-1])
        log_prob, entropy = self.actor.evaluate(obs, batch.action, mask, batch.agent_index)
        loss = self.loss(batch, log_prob, entropy, weight)
        self._adam.zero_grad()
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.actor.parameters() if p.grad is not None])
        return {
            "loss_policy": loss.detach(),
            "entropy": masked_mean(entropy, weight).detach(),
            "skipped_updates": step_if_finite(self._adam, loss.detach() + norm),
        }

    def _live_tensors(self) -> dict[str, Tensor]:
        moments = {
            f"{_ADAM}{name}.{key}": moment
            for name, parameter in self.actor.named_parameters()
            for key, moment in self._adam.state[parameter].items()
        }
        return {**self.actor.state_dict(), **moments}

    def state_dict(self) -> dict[str, Any]:
        """See `Algorithm.state_dict`."""
        return {"tensors": {name: x.detach().clone() for name, x in self._live_tensors().items()}, "scalars": {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Algorithm.load_state_dict`."""
        load_in_place(self._live_tensors(), state["tensors"])

    def load_weights(self, state: dict[str, Any]) -> None:
        """See `Algorithm.load_weights`."""
        load_in_place(
            self.actor.state_dict(), {name: x for name, x in state["tensors"].items() if not name.startswith(_ADAM)}
        )
