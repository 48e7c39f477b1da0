"""What an algorithm is to the rest of the house: hyperparameters, an actor to publish, and one update on a batch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from sfmarl.specs import PolicySpec


@dataclass
class Batch:
    """Closed trajectory slots of one policy, time first, on the learner's device.

    N lanes of A agents. Row `[t, n, a]` is a training sample where `active` holds; if it is not `terminated`,
    `obs[t + 1, n, a]` is its true successor, also at a truncation (design invariant 1).
    """

    obs: Tensor
    """[T+1, N, A, *obs], stored dtype."""
    active: Tensor
    """[T+1, N, A] bool: the agent was alive and acted; everything else is padding, phantom or dead."""
    is_first: Tensor
    """[T+1, N, A] bool: first observation of an agent's life."""
    action: Tensor
    """[T, N, A, *action]: int64 for discrete kinds, float32 before clipping for continuous."""
    log_prob: Tensor
    """[T, N, A] float32: log-probability of `action` under the policy that acted."""
    reward: Tensor
    """[T, N, A] float32."""
    terminated: Tensor
    """[T, N, A] bool: the return ends with this step."""
    truncated: Tensor
    """[T, N, A] bool: the episode was cut after this step; bootstrap from `obs[t + 1]`."""
    policy_version: Tensor
    """[T, N] int64: version of the policy that acted."""
    action_mask: Tensor | None = None
    """[T+1, N, A, n] bool, True = legal."""
    state: Tensor | None = None
    """[T+1, N, *state] float32: stored global state."""
    in_return: Tensor | None = None
    """[T+1, N, A] bool: the agent's return is running although it is dead (death = "masked"); None otherwise."""
    agent_index: Tensor | None = None
    """[N, A] int64: agent of each lane column; None when column a is agent a (parallel environments)."""
    actor_state: Tensor | None = None
    """[N, A, S] float32: what a recurrent actor remembered before `obs[0]`; None for a feed-forward one."""
    lane: Tensor | None = None
    """[N] int64: place of the lane among all lanes of the policy."""
    number: Tensor | None = None
    """[N] int64: slots that the lane had claimed before this one; one more than the lane's slot before."""
    generation: Tensor | None = None
    """[N] int64: life of the worker that filled the slot; a new life begins new episodes."""
    num_lanes: int = 0
    """Lanes that feed the policy."""

    def rows(self) -> tuple[int, int, int]:
        """Return (T, N, A)."""
        t, n, a = self.reward.shape
        return t, n, a

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`; copies from pinned memory do not block."""
        moved = {
            f.name: x.to(device, non_blocking=True) if isinstance(x := getattr(self, f.name), Tensor) else x
            for f in fields(self)
        }
        return Batch(**moved)


class Algorithm(Protocol):
    """One policy's learning rule. Knows nothing of processes, queues or slots."""

    Hyperparameters: ClassVar[type]
    """Dataclass of this algorithm's settings; its attribute docstrings are the command line's help."""

    actor: nn.Module
    """What is published to the inference workers after every update: parameters and normaliser statistics.

    A recurrent one has `state_size` > 0 floats per agent, which the slots then hold for their first step.
    """

    def __init__(self, spec: PolicySpec, hp: Any, device: torch.device, seed: int) -> None: ...

    @staticmethod
    def build_actor(spec: PolicySpec, hp: Any, seed: int = 0) -> nn.Module:
        """Build the actor whose weights are published, loaded and saved; `seed` draws the first ones."""
        ...

    @staticmethod
    def central_critic(hp: Any) -> bool:
        """Whether the critic is fed a central state: the run then sees to it that there is one."""
        ...

    def update(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Learn from one batch.

        `progress` in [0, 1] is the fraction of the run's step budget that is used (schedules read it).
        Returns the update's metrics as 0-dim tensors on the device (or floats), keyed by their documented short names.
        A step that is not finite is not to be taken (`optimiser.step_if_finite`); how many were not is the metric
        `skipped_updates`, by which the learner keeps such batches and ends a run that takes no step any more.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs: {"tensors": {name: Tensor}, "scalars": {name: JSON value}}."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises KeyError or ValueError when it does not fit."""
        ...

    def load_weights(self, state: dict[str, Any]) -> None:
        """Take over parameters and normaliser statistics from another run's `state_dict`, and nothing else.

        Optimiser, schedules and random streams stay as they are: a fine-tuning run begins anew with old weights.
        Raises KeyError or ValueError, before anything is changed, that names the tensor which does not fit.
        An algorithm without this method cannot be fine-tuned (`init_from`).
        """
        ...
