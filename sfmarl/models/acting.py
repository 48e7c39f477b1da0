"""Acting: a published actor as a function from NumPy observations to NumPy actions.

Inference workers and evaluation use nothing else. Weights arrive as one flat float32 vector: `flatten_into` writes it
on the learner's side, `Acting.load` takes it over in place. `make_acting` chooses the implementation: plain NumPy for
small categorical policies on the CPU, with a GRU or without (2-3 times cheaper than eager torch at these batch sizes),
torch for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.acting_torch import TorchActing
from sfmarl.models.actor import Actor
from sfmarl.specs import PolicySpec


class Acting(Protocol):
    """A policy that acts. Not thread-safe: work buffers are reused."""

    generator: np.random.Generator | torch.Generator
    """Draws the actions."""
    state_size: int
    """Floats a recurrent actor remembers of each row (S); 0 when it is feed-forward."""
    takes_parts: bool
    """Whether `act` takes observations and masks that lie in several arrays; else they must be joined first."""

    def load(self, flat: np.ndarray) -> None:
        """Take over weights and normaliser statistics from `flat` float32 [flat_size], as `flatten_into` wrote them."""
        ...

    def act(
        self,
        obs: np.ndarray | Sequence[np.ndarray],
        action_mask: np.ndarray | Sequence[np.ndarray] | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one action per row, or take the most probable one when `greedy`.

        obs [B, A, *obs] any dtype; action_mask [B, A, n] bool, True = legal; agent_index [B, A] int, None when column a
        is agent a. Returns (action [B, A, *action] in the spec's dtype, log-probability float32 [B, A]); both are valid
        until the next call. With `takes_parts`, obs and action_mask may each be several arrays whose rows follow each
        other; they are copied to where the policy computes and may be written again when this returns.

        A recurrent actor also needs `rnn_state` float32 [B, A, S], made by `new_state` or contiguous like that, which
        is overwritten with what it remembers now, and `is_first` bool [B, A]: rows whose life begins, for which it
        forgets first.
        """
        ...

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """Return what is remembered of [rows, agents] before anything was seen; None when nothing ever is."""
        ...


def _published(actor: Actor) -> list[Tensor]:
    """Return every parameter and persistent buffer in a fixed order; all are float32."""
    return list(actor.state_dict().values())


def flat_size(actor: Actor) -> int:
    """Return the number of float32 values `flatten_into` writes."""
    return sum(tensor.numel() for tensor in _published(actor))


def flatten_into(actor: Actor, out: np.ndarray) -> Tensor:
    """Write the actor's parameters and statistics into `out` float32 [flat_size], or raise ValueError.

    Returns them [flat_size] on the actor's device.
    """
    if out.shape != (flat_size(actor),) or out.dtype != np.float32:
        raise ValueError(f"expected float32 ({flat_size(actor)},), got {out.dtype} {out.shape}")
    target = torch.from_numpy(out)
    with torch.no_grad():
        parts = [tensor.reshape(-1) for tensor in _published(actor)]
        if parts[0].device.type == "cpu":
            return torch.cat(parts, out=target)
        # one transfer instead of one per tensor
        flat = torch.cat(parts)
        target.copy_(flat)
        return flat


def make_acting(actor: Actor, spec: PolicySpec, device: torch.device | str, seed: int) -> Acting:
    """Build the fastest implementation for `actor` on `device`, with a copy of its present weights.

    Actions are a function of `seed`, the weights and the calls made so far.
    """
    device = torch.device(device)
    if device.type == "cpu" and NumpyActing.supports(actor):
        acting: Acting = NumpyActing(actor, spec, seed)
    else:
        acting = TorchActing(actor, spec, device, seed)
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    acting.load(flat)
    return acting
