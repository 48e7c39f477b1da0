"""A GRU unrolled over many steps on the CPU, forward and backward by hand (see `mlp.py`).

What does not depend on the step before is computed for all steps at once: the gradient of the gates is that of the
state times factors known beforehand, and the weights' gradient is one matmul instead of one per step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru(gates: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the states [T, M, H] after each step.

    gates [T, M, 3H] what comes from the inputs (reset, update, candidate); state [M, H] before the first step; is_first
    bool [T, M, 1]; weight [H, 3H] and bias [3H] of what comes from the state.
    """
    needs_gradient = any(x.requires_grad for x in (gates, state, weight, bias))
    if torch.is_grad_enabled() and needs_gradient:
        return _Gru.apply(gates, state, is_first, weight, bias)
    return _forward(gates, state, is_first, weight, bias)[0]


def _forward(
    gates: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return states, states that each step began with, and from the state, sigmoid gates and candidates, time first."""
    steps, rows, units = len(gates), *state.shape
    states, before, candidate = (gates.new_empty(steps, rows, units) for _ in range(3))
    from_state, switches = gates.new_empty(steps, rows, 3 * units), gates.new_empty(steps, rows, 2 * units)
    nothing = gates.new_zeros(())
    for t in range(steps):
        # not a product: what is forgotten may be NaN in rows that nobody ever acted in
        torch.where(is_first[t], nothing, state, out=before[t])
        torch.addmm(bias, before[t], weight, out=from_state[t])
        switch = torch.add(gates[t, :, : 2 * units], from_state[t, :, : 2 * units], out=switches[t]).sigmoid_()
        reset, update = switch[:, :units], switch[:, units:]
        torch.addcmul(gates[t, :, 2 * units :], reset, from_state[t, :, 2 * units :], out=candidate[t]).tanh_()
        state = torch.lerp(candidate[t], before[t], update, out=states[t])
    return states, before, from_state[..., 2 * units :], switches, candidate


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        states, *kept = _forward(gates, state, is_first, weight, bias)
        ctx.save_for_backward(*kept, is_first, weight)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        before, from_state, switches, candidate, is_first, weight = ctx.saved_tensors
        steps, rows, units = before.shape
        reset, update = switches[..., :units], switches[..., units:]
        to_candidate = (1.0 - update).mul_(1.0 - candidate.square())
        # gradient of what comes from the state, over that of the states: reset, update, candidate
        factors = grad.new_empty(steps, rows, 3, units)
        torch.mul(to_candidate, reset, out=factors[..., 2, :])
        torch.mul(factors[..., 2, :], (1.0 - reset).mul_(from_state), out=factors[..., 0, :])
        torch.mul((before - candidate).mul_(update), 1.0 - update, out=factors[..., 1, :])
        grad, backwards = grad.clone(), weight.t()
        later = torch.zeros_like(grad[0])
        for t in range(steps - 1, -1, -1):
            here = grad[t].add_(later)
            gate = factors[t].mul_(here[:, None])
            torch.mul(here, update[t], out=later)
            later.addmm_(gate.view(rows, -1), backwards).masked_fill_(is_first[t], 0.0)
        gate_grads = factors.view(steps * rows, -1)
        weight_grad, bias_grad = torch.mm(before.view(-1, units).t(), gate_grads), gate_grads.sum(0)
        torch.mul(grad, to_candidate, out=factors[..., 2, :])
        return factors.view(steps, rows, -1), later, None, weight_grad, bias_grad
