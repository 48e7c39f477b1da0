"""The policy: observation rows of a team -> head outputs of its action distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfmarl.models import distributions
from sfmarl.models.encoders import NetConfig, SetNetwork, is_image
from sfmarl.models.normaliser import ObsNormaliser
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec

HEAD_GAIN = 0.01
"""Gain of the policy head: the first policy is nearly uniform (Andrychowicz et al. 2021)."""


class Actor(nn.Module):
    """What is published: network, normaliser statistics and, for continuous actions, log standard deviations."""

    def __init__(self, spec: PolicySpec, config: NetConfig, seed: int = 0) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        generator = torch.Generator().manual_seed(seed)
        self.normaliser = (
            ObsNormaliser(spec.obs.shape) if config.normalise_obs and not is_image(spec.obs.shape) else None
        )
        self.network = SetNetwork(
            spec.obs.shape, spec.action.param_size, spec.parameter_set, config, HEAD_GAIN, generator
        )
        self.state_size: int = self.network.state_size
        """Floats that the actor remembers of each agent; 0 when it is feed-forward."""
        self.log_std = None
        if spec.action.kind == "continuous":
            self.log_std = nn.Parameter(torch.zeros(spec.num_sets, spec.action.param_size))

    def prepare(self, obs: Tensor) -> Tensor:
        """Return what the network reads: normalised float32 vectors; images as they are stored."""
        if self.normaliser is not None:
            return self.normaliser(obs)
        return obs if is_image(self.spec.obs.shape) else obs.float()

    def head(self, prepared: Tensor, agent_index: Tensor | None = None, memory: Memory | None = None) -> Tensor:
        """Return head outputs float32 [..., A, P] for rows [..., A, *obs] that went through `prepare`.

        With `memory` the rows are [T, N, A, *obs] and a recurrent actor is unrolled over them.
        """
        return self.network(prepared, agent_index) if memory is None else self.unroll(prepared, memory, agent_index)[0]

    def unroll(self, prepared: Tensor, memory: Memory, agent_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (head outputs float32 [T, N, A, P], rnn state [N, A, S] after the last row) of a recurrent actor."""
        return self.network.unroll(prepared, memory, agent_index)

    def forward(self, obs: Tensor, agent_index: Tensor | None = None) -> Tensor:
        """Return head outputs float32 [..., A, P] for obs [..., A, *obs].

        `agent_index` int64 [..., A] (trailing dimensions of the rows') names each column's agent; None: column a is a.
        """
        return self.head(self.prepare(obs), agent_index)

    def log_std_of(self, agent_index: Tensor | None = None) -> Tensor | None:
        """Return log standard deviations [A, D] (or [..., A, D] for `agent_index` [..., A]); None if not continuous."""
        if self.log_std is None:
            return None
        sets = self.network.sets
        return self.log_std[sets if agent_index is None else sets[agent_index]]

    def evaluate(
        self,
        prepared: Tensor,
        action: Tensor,
        mask: Tensor | None = None,
        agent_index: Tensor | None = None,
        memory: Memory | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (log-probability, entropy), float32 [..., A], of `action` on rows that went through `prepare`."""
        params = self.head(prepared, agent_index, memory)
        return distributions.evaluate(self.spec.action, params, action, mask, self.log_std_of(agent_index))
