"""One step of a GRU for acting on the CPU, without allocation per call.

The same mathematics as `gru.py`, which learns from many steps. What differs is where things lie: the rnn state is
overwritten where the caller keeps it, and both products of a gate are summed by the matmul itself. tanh(x) =
2 sigmoid(2 x) - 1 as in the hidden layers; the factor of its argument is moved into the weights at each load.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sfmarl.models.buffers import Buffers


class GruWeights:
    """Weights of one parameter set: views of the actor's, folded in place."""

    def __init__(self, views: Mapping[str, np.ndarray], prefix: str) -> None:
        """`views` are the actor's published tensors by name, those of the recurrence begin with `prefix`."""
        sides = ("from_input", "from_state")
        weights = [views[f"{prefix}.{side}.weight"][0] for side in sides]
        biases = [views[f"{prefix}.{side}.bias"][0] for side in sides]
        self.units = units = len(weights[1])
        """H."""
        (self._input, self._state), (self._input_bias, self._state_bias) = weights, biases
        self._switch_bias = np.empty(2 * units, np.float32)
        # as the products take them: the reset and update gates side by side, and the candidate
        self.switch = [torch.from_numpy(weight[:, : 2 * units]) for weight in weights]
        """Of the reset and update gates [F, 2H] and [H, 2H]: from the input and from the state."""
        self.switch_bias = torch.from_numpy(self._switch_bias)
        """[2H], both sides together."""
        self.candidate = [torch.from_numpy(weight[:, 2 * units :]) for weight in weights]
        """Of the candidate [F, H] and [H, H]."""
        self.candidate_bias = [torch.from_numpy(bias[2 * units :]) for bias in biases]
        """[H] each."""

    @property
    def nbytes(self) -> int:
        """Bytes beside the views."""
        return self._switch_bias.nbytes

    def fold(self, from_sigmoid: bool) -> None:
        """Rewrite weights that were just loaded; `from_sigmoid`: inputs s stand for 2 s - 1."""
        units = self.units
        if from_sigmoid:
            self._input_bias -= self._input.sum(axis=0)
            self._input *= 2.0
        for parameter in (self._input, self._input_bias, self._state, self._state_bias):
            parameter[..., 2 * units :] *= 2.0
        np.add(self._input_bias[: 2 * units], self._state_bias[: 2 * units], out=self._switch_bias)


def gru_step(weights: GruWeights, buffers: Buffers, x: np.ndarray, state: np.ndarray, is_first: np.ndarray) -> None:
    """Replace state [M, H] by that after inputs x [M, F], from nothing where is_first bool [M]; float32."""
    # not a product: what is forgotten may be NaN in rows that nobody ever acted in
    state[is_first] = 0.0
    rows, units = state.shape
    inputs, states = torch.from_numpy(x), torch.from_numpy(state)
    switch, from_state, candidate = (
        torch.from_numpy(buffers(f"gru.{name}", rows, width))
        for name, width in (("switch", 2 * units), ("from_state", units), ("candidate", units))
    )
    torch.addmm(weights.switch_bias, inputs, weights.switch[0], out=switch)
    switch.addmm_(states, weights.switch[1]).sigmoid_()
    reset, update = switch[:, :units], switch[:, units:]
    torch.addmm(weights.candidate_bias[0], inputs, weights.candidate[0], out=candidate)
    torch.addmm(weights.candidate_bias[1], states, weights.candidate[1], out=from_state)
    candidate.addcmul_(reset, from_state).sigmoid_().mul_(2.0).sub_(1.0)
    torch.lerp(candidate, states, update, out=states)
