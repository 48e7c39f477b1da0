"""The network every actor and critic is: an optional image encoder, hidden layers, a linear head.

Orthogonal initialisation with gain sqrt(2) and a small last layer follow Huang et al. 2022, "The 37 Implementation
Details of PPO".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sfmarl.models.convolutions import ConvEncoder
from sfmarl.models.parts import PartsEncoder
from sfmarl.models.sharing import AgentBias, SetLinear, initialise_with_ids, into_groups, out_of_groups
from sfmarl.specs import ObsPart, is_image


@dataclass(frozen=True)
class NetConfig:
    """What a network looks like."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers, after the image encoder when there is one."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity of the hidden layers (the image encoder always uses relu)."""
    layer_norm: bool = False
    """Normalise each hidden layer's activations."""
    agent_id: bool = True
    """Tell agents that share parameters who they are (one-hot id)."""
    normalise_obs: bool = True
    """Normalise vector observations by their running mean and standard deviation."""


class SetNetwork(nn.Module):
    """Rows [..., A, *shape] -> outputs [..., A, outputs], each agent with its parameter set and, if wanted, its id.

    Without agents (a central critic) pass `parameter_set=(0,)`: rows are then [..., *shape] -> [..., outputs].
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        parameter_set: tuple[int, ...],
        config: NetConfig,
        head_gain: float,
        generator: torch.Generator,
        parts: tuple[ObsPart, ...] = (),
    ) -> None:
        """`parts` is the layout of flat rows that hold images (see `ObsSpec.parts`)."""
        super().__init__()
        self.shape, self.parameter_set = shape, parameter_set
        self.num_agents, self.num_sets = len(parameter_set), max(parameter_set) + 1
        self.activation, self.layer_norm = config.activation, config.layer_norm
        self.conv: PartsEncoder | ConvEncoder | None = None
        if parts:
            self.conv = PartsEncoder(parts, self.num_sets, generator)
        elif is_image(shape):
            self.conv = ConvEncoder(shape, self.num_sets, generator)
        width = self.conv.features if self.conv else math.prod(shape)
        self.layers = nn.ModuleList()
        for units in (*config.hidden, outputs):
            self.layers.append(SetLinear(self.num_sets, width, units))
            width = units
        wants_ids = config.agent_id and self.num_sets < self.num_agents
        self.ids = AgentBias(self.num_agents, self.layers[0].bias.shape[1]) if wants_ids else None
        for index, layer in enumerate(self.layers):
            gain = head_gain if index == len(config.hidden) else math.sqrt(2.0)
            if index == 0 and self.ids is not None:
                initialise_with_ids(layer, self.ids, parameter_set, gain, generator)
            else:
                layer.initialise(gain, generator)
        sets = torch.tensor(parameter_set)
        self.register_buffer("sets", sets, persistent=False)
        self.identity = parameter_set == tuple(range(self.num_sets))

    def forward(self, x: Tensor, agent_index: Tensor | None = None) -> Tensor:
        """Map x [..., A, *shape] to [..., A, outputs].

        `agent_index` int64 [..., A'], trailing dimensions of the rows', names the agent of each column when column a is
        not agent a.
        """
        if self.num_sets == 1:
            ids = None if self.ids is None else self.ids(agent_index)
            x = self.conv(x, [0]) if self.conv else x.flatten(x.dim() - len(self.shape))
            return self._layers(x, None, ids)
        lead = x.shape[: x.dim() - len(self.shape)]
        row_agent = None if agent_index is None else agent_index.expand(lead)
        row_set = None if row_agent is None else self.sets[row_agent]
        x = into_groups(x, self.num_agents, self.num_sets, agent_index, len(self.shape))
        ids = None
        if self.ids is not None:
            ids = self.ids.weight[:, None] if row_agent is None else self.ids(row_agent.reshape(1, -1))
        group_sets = list(self.parameter_set) if agent_index is None else list(range(self.num_sets))
        x = self.conv(x, group_sets) if self.conv else x.flatten(2)
        sets = None if self.identity or agent_index is not None else self.sets
        return out_of_groups(self._layers(x, sets, ids), lead, row_set)

    def _layers(self, x: Tensor, sets: Tensor | None, ids: Tensor | None) -> Tensor:
        last, lead = len(self.layers) - 1, x.shape[:-1]
        for index, layer in enumerate(self.layers):
            if index == 1 and self.num_sets == 1:
                # a linear map of rows of several dimensions returns a view: autograd copies what is done to it in place
                x = x.flatten(0, -2)
            x = layer(x, sets, ids if index == 0 else None)
            if index < last:
                # in place: neither a matmul's nor tanh's or relu's gradient needs the pre-activation
                x = x.tanh_() if self.activation == "tanh" else x.relu_()
                x = F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x
        return x.view(*lead, x.shape[-1]) if self.num_sets == 1 else x
