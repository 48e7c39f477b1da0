"""Plain hidden layers and a linear head on the CPU, forward and backward by hand.

The same mathematics as the layers one by one in autograd; what differs is how it is laid out and computed:

* outputs are few (actions, a value), so the head works transposed, [P, M]: a matmul that is a few numbers wide takes
  longer row by row. What follows (softmax, sampling) then also runs along contiguous rows.
* tanh(x) = 2 sigmoid(2 x) - 1: torch's vectorised sigmoid is faster than its tanh.
* nothing is kept that the gradient does not need, and gradients overwrite what nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


def by_hand(x: Tensor) -> bool:
    """Whether the functions of this file compute rows like `x` faster than autograd's own."""
    recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not recorded


def tanh_(x: Tensor) -> Tensor:
    """Replace `x` by its tanh. `x` must be the result of a linear map: its own gradient does not need it."""
    if not by_hand(x):
        return x.tanh_()
    return _Tanh.apply(x) if torch.is_grad_enabled() and x.requires_grad else _tanh_into(x)


def mlp(x: Tensor, first_bias: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], tanh: bool) -> Tensor:
    """Map rows x [M, in] through at least one hidden layer and a linear head.

    `weights[i]` is [in_i, out_i]; the first layer's bias `first_bias` is [R, out_0], repeated every R rows, and
    `biases` [out_i] are those of the others. Returns [M, P], a view of [P, M].
    """
    needs_gradient = x.requires_grad or first_bias.requires_grad or weights[0].requires_grad
    if torch.is_grad_enabled() and needs_gradient:
        return _Mlp.apply(x, tanh, len(weights), first_bias, *weights, *biases)
    return _forward(x, tanh, first_bias, weights, biases)[0]


def _tanh_into(x: Tensor) -> Tensor:
    return x.mul_(2.0).sigmoid_().mul_(2.0).sub_(1.0)


def _forward(
    x: Tensor, tanh: bool, first_bias: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return (outputs [M, P], every hidden layer's activations [M, H])."""
    hidden: list[Tensor] = []
    # the factor of tanh's argument goes into the linear map, where it costs nothing
    scale = 2.0 if tanh else 1.0
    for index, weight in enumerate(weights[:-1]):
        if index == 0 and len(first_bias) > 1:
            h = torch.mm(x, weight * scale)
            h.view(-1, *first_bias.shape).add_(first_bias * scale)
        else:
            bias = first_bias[0] if index == 0 else biases[index - 1]
            h = torch.addmm(bias, x, weight, beta=scale, alpha=scale)
        x = h.sigmoid_().mul_(2.0).sub_(1.0) if tanh else h.relu_()
        hidden.append(x)
    return torch.addmm(biases[-1][:, None], weights[-1].t(), x.t()).t(), hidden


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(_tanh_into(x))
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return aten.tanh_backward(grad, *ctx.saved_tensors)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, tanh: bool, layers: int, first_bias: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[:layers], parameters[layers:]
        outputs, hidden = _forward(x, tanh, first_bias, weights, biases)
        ctx.tanh, ctx.bias_rows = tanh, first_bias.shape
        ctx.save_for_backward(x, *hidden, *weights)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        layers = len(saved) // 2
        inputs, weights = saved[:layers], saved[layers:]
        grad = grad.t().contiguous()
        weight_grads, bias_grads = [torch.mm(grad, inputs[-1]).t()], [grad.sum(1)]
        grad = torch.mm(grad.t(), weights[-1].t())
        for index in range(layers - 2, -1, -1):
            through_activation(grad, inputs[index + 1], ctx.tanh)
            weight_grads.append(torch.mm(inputs[index].t(), grad))
            if index:
                bias_grads.append(grad.sum(0))
                grad = torch.mm(grad, weights[index].t())
        first_bias_grad = grad.view(-1, *ctx.bias_rows).sum(0)
        x_grad = torch.mm(grad, weights[0].t()) if ctx.needs_input_grad[0] else None
        return x_grad, None, None, first_bias_grad, *reversed(weight_grads), *reversed(bias_grads)


def through_activation(grad: Tensor, activated: Tensor, tanh: bool) -> None:
    """Turn the gradient of an activation's output into that of its input, in place."""
    if tanh:
        aten.tanh_backward.grad_input(grad, activated, grad_input=grad)
    else:
        aten.threshold_backward.grad_input(grad, activated, 0.0, grad_input=grad)
