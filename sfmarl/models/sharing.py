"""Parameter sets: which agents of a team share weights, and linear layers that hold one weight matrix per set.

With one set (`full` sharing) every row goes through one plain matmul. With several sets (`none`, roles) the rows are
grouped first, [G, M, in], and all groups go through one batched matmul:

    parallel environments   G = A: column a is agent a, its group uses the weights of parameter_set[a]
    turn-based lanes        G = R: every row goes through every set and its own set's output is taken (static shapes,
                            no host synchronisation; lanes of one agent are few)

An agent's id one-hot, concatenated to the observation, is one extra row of the first weight matrix: a bias of its own.
That is how it is implemented (`agent_bias`): same mathematics, no wider matmul.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SetLinear(nn.Module):
    """Linear layer with R weight matrices [R, in, out] and biases [R, out]."""

    def __init__(self, num_sets: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_sets, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(num_sets, outputs))

    def initialise(self, gain: float, generator: torch.Generator) -> None:
        """Draw every set's weights orthogonal with `gain`; biases are zero."""
        with torch.no_grad():
            for weight in self.weight:
                nn.init.orthogonal_(weight, gain, generator)
            self.bias.zero_()

    def forward(self, x: Tensor, sets: Tensor | None = None, agent_bias: Tensor | None = None) -> Tensor:
        """Map x [..., in] to [..., out].

        R == 1: any leading dimensions. R > 1: x [G, M, in], group g uses set `sets[g]` (None: set g, G == R).
        `agent_bias` broadcasts to the output and is added to it.
        """
        if len(self.weight) == 1:
            weight, bias = self.weight[0], self.bias[0]
            if agent_bias is None:
                return F.linear(x, weight.t(), bias)
            return (x @ weight).add_(bias + agent_bias)
        weight, bias = self.weight, self.bias
        if sets is not None:
            weight, bias = weight[sets], bias[sets]
        out = torch.baddbmm(bias.unsqueeze(1), x, weight)
        return out if agent_bias is None else out.add_(agent_bias)


class AgentBias(nn.Module):
    """The agent-id one-hot's rows of the first weight matrix: [A, out]."""

    def __init__(self, num_agents: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_agents, outputs))

    def forward(self, agent_index: Tensor | None) -> Tensor:
        """Return [A, out] for all agents in order, or [..., A', out] for `agent_index` [..., A']."""
        return self.weight if agent_index is None else self.weight[agent_index]


def initialise_with_ids(
    layer: SetLinear, ids: AgentBias, parameter_set: tuple[int, ...], gain: float, generator: torch.Generator
) -> None:
    """Initialise `layer` and `ids` as the orthogonal [in + A, out] matrices of the concatenated one-hot."""
    inputs, outputs = layer.weight.shape[1:]
    with torch.no_grad():
        layer.bias.zero_()
        for r, weight in enumerate(layer.weight):
            joint = torch.empty(inputs + len(parameter_set), outputs)
            nn.init.orthogonal_(joint, gain, generator)
            weight.copy_(joint[:inputs])
            for agent, own_set in enumerate(parameter_set):
                if own_set == r:
                    ids.weight[agent].copy_(joint[inputs + agent])


def into_groups(x: Tensor, num_agents: int, num_sets: int, agent_index: Tensor | None, feature_dims: int) -> Tensor:
    """Group rows x [..., A, *feature] as [G, M, *feature] (see the module's head)."""
    lead = x.dim() - feature_dims
    if agent_index is None:
        return x.movedim(lead - 1, 0).reshape(num_agents, -1, *x.shape[lead:])
    return x.reshape(1, -1, *x.shape[lead:]).expand(num_sets, -1, *x.shape[lead:])


def out_of_groups(y: Tensor, lead: torch.Size, row_set: Tensor | None) -> Tensor:
    """Undo `into_groups`: y [G, M, out] -> [*lead, out], `lead` = (..., A); `row_set` [*lead] picks each row's set."""
    if row_set is None:
        return y.reshape(lead[-1], *lead[:-1], -1).movedim(0, -2)
    rows = torch.arange(y.shape[1], device=y.device)
    return y[row_set.reshape(-1), rows].reshape(*lead, -1)
