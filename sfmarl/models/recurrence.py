"""Recurrent layers with one set of weights per parameter set, reset wherever a life begins.

GRU (Cho et al. 2014, in torch.nn.GRU's form) and LSTM (Hochreiter & Schmidhuber 1997). As in recurrent MAPPO (Yu et al.
2022) the layer lies between the hidden layers and the head. What it remembers of a row is its `rnn_state`, S floats: h
of a GRU, h and c side by side of an LSTM; zeros at the beginning of a life.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sfmarl.models.gru import gru
from sfmarl.models.mlp import by_hand
from sfmarl.models.sharing import SetLinear

RnnKind = Literal["none", "gru", "lstm"]

_GATES = {"gru": 3, "lstm": 4}
_STATES = {"gru": 1, "lstm": 2}
_FORGET_BIAS = 1.0
"""First bias of an LSTM's forget gate: it starts by remembering (Jozefowicz et al. 2015)."""


@dataclass
class Memory:
    """What a recurrent network needs besides rows [T, N, A, ...]; without agents (a central critic) there is no A."""

    state: Tensor
    """[N, A, S]: rnn state before the first row."""
    is_first: Tensor
    """[T, N, A] bool: the row begins a life, so what was before it is forgotten."""

    def lanes(self, index: Tensor) -> Memory:
        """Return the lanes `index` [M]."""
        return Memory(self.state[index], self.is_first[:, index])

    def until(self, steps: int) -> Memory:
        """Return the memory of the first `steps` rows."""
        return Memory(self.state, self.is_first[:steps])


class Recurrence(nn.Module):
    """One recurrent layer; rows come in groups as `SetLinear` takes them."""

    def __init__(self, kind: RnnKind, num_sets: int, inputs: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind, self.units = kind, units
        self.state_size = _STATES[kind] * units
        self._is_plain = kind == "gru" and num_sets == 1
        self.from_input = SetLinear(num_sets, inputs, _GATES[kind] * units)
        self.from_state = SetLinear(num_sets, units, _GATES[kind] * units)
        with torch.no_grad():
            for layer in (self.from_input, self.from_state):
                layer.bias.zero_()
                for weight in layer.weight:
                    for gate in weight.split(units, dim=1):
                        # a column block of a larger matrix: orthogonal_ wants memory of its own
                        gate.copy_(nn.init.orthogonal_(torch.empty(gate.shape), 1.0, generator))
            if kind == "lstm":
                self.from_input.bias[:, units : 2 * units] = _FORGET_BIAS

    def forward(
        self, x: Tensor, state: Tensor, is_first: Tensor, sets: Tensor | None = None, state_after: int = -1
    ) -> tuple[Tensor, Tensor]:
        """Run through T steps.

        x [G, T * M, in] (time before rows), state [G, M, S] before the first step, is_first bool [G, T * M, 1].
        Returns (outputs [G, T * M, units], state [G, M, S] after step `state_after`).
        """
        if self._is_plain and by_hand(x) and not torch.is_autocast_enabled("cpu"):
            return self._gru_by_hand(x, state[0], is_first, state_after)
        groups, rows = state.shape[:2]
        steps = x.shape[1] // rows
        # products may come in bfloat16 (see encoders.NetConfig.precision); what is remembered is float32
        gates = self.from_input(x, sets).to(state.dtype).view(groups, steps, rows, -1).unbind(1)
        resets = is_first.view(groups, steps, rows, 1).unbind(1)
        step = self._gru if self.kind == "gru" else self._lstm
        states = []
        for t in range(steps):
            # not a product: what is forgotten may be NaN in rows that nobody ever acted in
            state = step(gates[t], torch.where(resets[t], 0.0, state), sets)
            states.append(state)
        hidden = torch.stack([state[..., : self.units] for state in states], 1)
        return hidden.view(groups, steps * rows, self.units), states[state_after]

    def _gru(self, x: Tensor, h: Tensor, sets: Tensor | None) -> Tensor:
        units = self.units
        y = self.from_state(h, sets).to(h.dtype)
        reset, update = torch.sigmoid(x[..., : 2 * units] + y[..., : 2 * units]).split(units, -1)
        candidate = torch.tanh(torch.addcmul(x[..., 2 * units :], reset, y[..., 2 * units :]))
        return torch.lerp(candidate, h, update)

    def _lstm(self, x: Tensor, state: Tensor, sets: Tensor | None) -> Tensor:
        h, c = state.split(self.units, -1)
        y = x + self.from_state(h, sets).to(h.dtype)
        gates = torch.sigmoid(y)
        admit, forget, _, show = gates.split(self.units, -1)
        c = torch.addcmul(forget * c, admit, torch.tanh(y[..., 2 * self.units : 3 * self.units]))
        return torch.cat((show * torch.tanh(c), c), -1)

    def _gru_by_hand(self, x: Tensor, state: Tensor, is_first: Tensor, state_after: int) -> tuple[Tensor, Tensor]:
        """Run through T steps with one set of weights: x [1, T * M, in], state [M, H]."""
        gates = self.from_input(x).view(-1, len(state), 3 * self.units)
        weight, bias = self.from_state.weight[0], self.from_state.bias[0]
        hidden = gru(gates, state, is_first.view(len(gates), -1, 1), weight, bias)
        return hidden.view(1, -1, self.units), hidden[None, state_after]
