"""The value function: own observations per agent, or a central state once per lane with one output per agent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sfmarl.models.encoders import NetConfig, SetNetwork, is_image
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec, StateSource

HEAD_GAIN = 1.0
"""Gain of the value head."""


class Critic(nn.Module):
    """Values float32 [..., A] from `source`:

    own     the agent's observation [..., A, *obs], with the actor's parameter sets and ids
    joint   the lane's observations side by side, [..., A * F]; images are stacked along their channels
    env     the stored state [..., *state]
    """

    def __init__(self, spec: PolicySpec, config: NetConfig, source: StateSource, seed: int = 0) -> None:
        super().__init__()
        self.spec, self.source = spec, source
        generator = torch.Generator().manual_seed(seed)
        if source == "own":
            shape, outputs, sets = spec.obs.shape, 1, spec.parameter_set
        elif source == "joint":
            height_width, last = spec.obs.shape[:-1], spec.num_agents * spec.obs.shape[-1]
            image = is_image(spec.obs.shape)
            shape = (*height_width, last) if image else (spec.num_agents * math.prod(spec.obs.shape),)
            outputs, sets = spec.num_agents, (0,)
        else:
            shape, outputs, sets = spec.state_shape, spec.num_agents, (0,)
        self.network = SetNetwork(shape, outputs, sets, config, HEAD_GAIN, generator)
        self.state_size: int = self.network.state_size
        """Floats it remembers of each agent, or of each lane if it is central; 0 when it is feed-forward."""

    def gather(self, prepared: Tensor, state: Tensor | None) -> Tensor:
        """Return the critic's input from prepared observations [..., A, *obs] and prepared state [..., *state]."""
        if self.source == "own":
            return prepared
        if self.source == "env":
            return state
        dims = len(self.spec.obs.shape)
        if is_image(self.spec.obs.shape):
            return prepared.movedim(-4, -2).flatten(-2)
        return prepared.flatten(-1 - dims)

    def forward(self, rows: Tensor, agent_index: Tensor | None = None) -> Tensor:
        """Return values [..., A] for rows from `gather`; `agent_index` names columns as in `Actor.forward`."""
        if self.source == "own":
            return self.network(rows, agent_index).squeeze(-1)
        return _of_agents(self.network(rows), agent_index)

    def unroll(
        self, rows: Tensor, memory: Memory, agent_index: Tensor | None = None, state_after: int = -1
    ) -> tuple[Tensor, Tensor]:
        """Return (values [T, N, A], rnn state after row `state_after`) of a recurrent critic for rows from `gather`.

        The state is [N, A, S] for own observations, [N, S] for a central critic, which remembers once per lane.
        """
        if self.source == "own":
            values, state = self.network.unroll(rows, memory, agent_index, state_after)
            return values.squeeze(-1), state
        values, state = self.network.unroll(rows, memory, None, state_after)
        return _of_agents(values, agent_index), state


def _of_agents(values: Tensor, agent_index: Tensor | None) -> Tensor:
    """Return of a central critic's outputs [..., A] those of the lanes' agents."""
    return values if agent_index is None else values.gather(-1, agent_index.expand(*values.shape[:-1], -1))
