"""The network every actor and critic is: an optional image encoder, hidden layers, optional memory, a linear head.

Orthogonal initialisation with gain sqrt(2) and a small last layer follow Huang et al. 2022, "The 37 Implementation
Details of PPO"; the image encoder is the Nature CNN (Mnih et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sfmarl.errors import UsageError
from sfmarl.models.recurrence import Memory, Recurrence, RnnKind
from sfmarl.models.sharing import AgentBias, SetLinear, initialise_with_ids, into_groups, out_of_groups

_CONV_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Nature CNN: (channels, kernel, stride) of each layer."""
_SMALL_CONV_LAYERS = ((16, 3, 1), (32, 3, 1))
"""For images smaller than the Nature CNN's receptive field (36 pixels): grids and boards."""
_NATURE_MIN_SIDE = 36


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


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether observations of `shape` are images (height, width, channels)."""
    return len(shape) == 3


class ConvEncoder(nn.Module):
    """Image rows [..., H, W, C] -> features; one stack of convolutions per parameter set."""

    def __init__(self, shape: tuple[int, ...], num_sets: int, generator: torch.Generator) -> None:
        super().__init__()
        height, width, channels = shape
        layers = _CONV_LAYERS if min(height, width) >= _NATURE_MIN_SIDE else _SMALL_CONV_LAYERS
        if min(height, width) < 5:
            raise UsageError(f"Image observations need at least 5 x 5 pixels, got {shape}. Flatten them instead.")
        self.strides = [stride for _, _, stride in layers]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for outputs, kernel, stride in layers:
            weight = nn.Parameter(torch.empty(num_sets, outputs, channels, kernel, kernel))
            with torch.no_grad():
                for w in weight:
                    nn.init.orthogonal_(w, math.sqrt(2.0), generator)
            self.weights.append(weight)
            self.biases.append(nn.Parameter(torch.zeros(num_sets, outputs)))
            channels, height, width = outputs, (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.features = channels * height * width

    def forward(self, x: Tensor, group_sets: list[int]) -> Tensor:
        """Encode x [..., H, W, C] with set 0, or groups x [G, M, H, W, C], group g with set `group_sets[g]`."""
        if len(group_sets) == 1:
            return self._encode(x.reshape(-1, *x.shape[-3:]), group_sets[0]).reshape(*x.shape[:-3], -1)
        return torch.stack([self._encode(rows, s) for rows, s in zip(x, group_sets, strict=True)])

    def _encode(self, rows: Tensor, set_index: int) -> Tensor:
        x = rows.movedim(-1, -3)
        # bytes are pixels in [0, 255]; a float image is already scaled by whoever made it
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        for weight, bias, stride in zip(self.weights, self.biases, self.strides, strict=True):
            x = F.conv2d(x, weight[set_index], bias[set_index], stride).relu_()
        return x.flatten(1)


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
    ) -> None:
        super().__init__()
        self.shape, self.parameter_set = shape, parameter_set
        self.num_agents, self.num_sets = len(parameter_set), max(parameter_set) + 1
        self.activation, self.layer_norm = config.activation, config.layer_norm
        self.conv = ConvEncoder(shape, self.num_sets, generator) if is_image(shape) else None
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

    def forward(self, x: Tensor, agent_index: Tensor | None = None) -> Tensor:
        """Map x [..., A, *shape] to [..., A, outputs]; of a recurrent network every row is a life of its own.

        `agent_index` int64 [..., A'], trailing dimensions of the rows', names the agent of each column when column a is
        not agent a.
        """
        return self._map(x, agent_index, None)[0]

    def unroll(
        self, x: Tensor, memory: Memory, agent_index: Tensor | None = None, state_after: int = -1
    ) -> tuple[Tensor, Tensor]:
        """Map x [T, N, A, *shape], time first, of a recurrent network.

        Returns (outputs [T, N, A, outputs], rnn state [N, A, S] after row `state_after`). `agent_index` [N, A'].
        """
        return self._map(x, agent_index, memory, state_after)

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
            x = layer(x, sets, ids if index == 0 else None)
            if index < last:
                # in place: neither a matmul's nor tanh's or relu's gradient needs the pre-activation
                x = x.tanh_() if self.activation == "tanh" else x.relu_()
                x = F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x
        return x.view(*lead, x.shape[-1]) if self.num_sets == 1 else x, state
