"""The network every actor and critic is: an optional image encoder, hidden layers, optional memory, a linear head.

Orthogonal initialisation with gain sqrt(2) and a small last layer follow Huang et al. 2022, "The 37 Implementation
Details of PPO".
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sfmarl.models.convolutions import ConvEncoder
from sfmarl.models.custom import CustomEncoder
from sfmarl.models.mlp import by_hand, mlp, tanh_
from sfmarl.models.parts import PartsEncoder
from sfmarl.models.recurrence import Memory, Recurrence, RnnKind
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
    rnn: RnnKind = "none"
    """Recurrent layer between the hidden layers and the head."""
    rnn_size: int = 64
    """Units of the recurrent layer."""
    encoder: str = ""
    """What stands before the hidden layers: a registered model; empty: convolutions for images, nothing else."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products before the head; parameters, the head, rnn states and what follows are float32."""


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
        self.precision = config.precision
        self.conv: CustomEncoder | PartsEncoder | ConvEncoder | None = None
        if config.encoder:
            self.conv = CustomEncoder(config.encoder, shape, self.num_sets, generator)
        elif parts:
            self.conv = PartsEncoder(parts, self.num_sets, generator)
        elif is_image(shape):
            self.conv = ConvEncoder(shape, self.num_sets, generator)
        width = self.conv.features if self.conv else math.prod(shape)
        self.layers = nn.ModuleList()
        for units in config.hidden:
            self.layers.append(SetLinear(self.num_sets, width, units))
            width = units
        self.recurrence = None
        if config.rnn != "none":
            self.recurrence = Recurrence(config.rnn, self.num_sets, width, config.rnn_size, generator)
            width = config.rnn_size
        self.state_size = 0 if self.recurrence is None else self.recurrence.state_size
        self.layers.append(SetLinear(self.num_sets, width, outputs))
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
        self._is_plain = (
            self.num_sets == 1 and bool(config.hidden) and self.recurrence is None and not config.layer_norm
        )

    def forward(self, x: Tensor, agent_index: Tensor | None = None) -> Tensor:
        """Map x [..., A, *shape] to [..., A, outputs]; of a recurrent network every row is a life of its own.

        `agent_index` int64 [..., A'], trailing dimensions of the rows', names the agent of each column when column a is
        not agent a.
        """
        with self._autocast(x):
            return self._map(x, agent_index, None)[0]

    def unroll(
        self, x: Tensor, memory: Memory, agent_index: Tensor | None = None, state_after: int = -1
    ) -> tuple[Tensor, Tensor]:
        """Map x [T, N, A, *shape], time first, of a recurrent network.

        Returns (outputs [T, N, A, outputs], rnn state [N, A, S] after row `state_after`). `agent_index` [N, A'].
        """
        with self._autocast(x):
            return self._map(x, agent_index, memory, state_after)

    def _autocast(self, x: Tensor, enabled: bool = True) -> AbstractContextManager:
        """Have matrix products take bfloat16 operands, if that is the network's precision, and sum up in float32."""
        if self.precision == "float32":
            return nullcontext()
        # without the cache of cast weights: a captured graph would go on with those it was captured with
        return torch.autocast(x.device.type, torch.bfloat16, enabled, cache_enabled=False)

    def _map(
        self, x: Tensor, agent_index: Tensor | None, memory: Memory | None, state_after: int = -1
    ) -> tuple[Tensor, Tensor | None]:
        lead = x.shape[: x.dim() - len(self.shape)]
        if self.num_sets == 1:
            ids = None if self.ids is None else self.ids(agent_index)
            x = self.conv(x, [0]) if self.conv else x.flatten(x.dim() - len(self.shape))
            outputs, state = self._layers(x, None, ids, self._grouped(memory, lead, None), state_after)
            return outputs, None if memory is None else state.view(memory.state.shape)
        row_agent = None if agent_index is None else agent_index.expand(lead)
        row_set = None if row_agent is None else self.sets[row_agent]
        x = into_groups(x, self.num_agents, self.num_sets, agent_index, len(self.shape))
        ids = None
        if self.ids is not None:
            ids = self.ids.weight[:, None] if row_agent is None else self.ids(row_agent.reshape(1, -1))
        group_sets = list(self.parameter_set) if agent_index is None else list(range(self.num_sets))
        x = self.conv(x, group_sets) if self.conv else x.flatten(2)
        sets = None if self.identity or agent_index is not None else self.sets
        outputs, state = self._layers(x, sets, ids, self._grouped(memory, lead, agent_index), state_after)
        if memory is not None:
            state = out_of_groups(state, memory.state.shape[:-1], None if row_set is None else row_set[0])
        return out_of_groups(outputs, lead, row_set), state

    def _grouped(self, memory: Memory | None, lead: torch.Size, agent_index: Tensor | None) -> Memory | None:
        """Return the memory of rows [*lead] as groups: state [G, M, S] and is_first [G, T * M, 1]."""
        if self.recurrence is None:
            return None
        if memory is None:
            # rows without a history: each is one step from nothing
            state = next(self.parameters()).new_zeros((*lead, self.recurrence.state_size))
            memory = Memory(state, torch.ones(lead, dtype=torch.bool, device=state.device))
        state, is_first = memory.state, memory.is_first[..., None]
        if self.num_sets == 1:
            return Memory(state.reshape(1, -1, state.shape[-1]), is_first.reshape(1, -1, 1))
        return Memory(
            into_groups(state, self.num_agents, self.num_sets, agent_index, 1),
            into_groups(is_first, self.num_agents, self.num_sets, agent_index, 1),
        )

    def _layers(
        self, x: Tensor, sets: Tensor | None, ids: Tensor | None, memory: Memory | None, state_after: int
    ) -> tuple[Tensor, Tensor | None]:
        if self._is_plain and self.precision == "float32" and by_hand(x):
            return self._plain(x, ids), None
        last, lead, state = len(self.layers) - 1, x.shape[:-1], None
        for index, layer in enumerate(self.layers):
            if index == 1 and self.num_sets == 1:
                # a linear map of rows of several dimensions returns a view: autograd copies what is done to it in place
                x = x.flatten(0, -2)
            if index == last and memory is not None:
                rows = x.reshape(memory.state.shape[0], -1, x.shape[-1])
                x, state = self.recurrence(rows, memory.state, memory.is_first, sets, state_after)
                x = F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x
                x = x.view(*lead, -1) if self.num_sets == 1 else x
            if index == last:
                with self._autocast(x, enabled=False):
                    x = layer(x.to(layer.weight.dtype), sets, ids if index == 0 else None)
            else:
                x = layer(x, sets, ids if index == 0 else None)
                # in place: neither a matmul's nor tanh's or relu's gradient needs the pre-activation
                x = tanh_(x) if self.activation == "tanh" else x.relu_()
                x = F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x
        return x.view(*lead, x.shape[-1]) if self.num_sets == 1 else x, state

    def _plain(self, x: Tensor, ids: Tensor | None) -> Tensor:
        """Map x [..., in] to [..., outputs] with one set of hidden layers and nothing else."""
        weights, biases = [layer.weight[0] for layer in self.layers], [layer.bias[0] for layer in self.layers]
        first = biases[0] if ids is None else biases[0] + ids
        first = first.reshape(-1, first.shape[-1])
        outputs = mlp(x.reshape(-1, x.shape[-1]), first, weights, biases[1:], self.activation == "tanh")
        return outputs.view(*x.shape[:-1], outputs.shape[-1])
