"""The hand-written GRU against autograd's steps, which doubles go through."""

from __future__ import annotations

import pytest
import torch

from sfmarl.models.mlp import by_hand
from sfmarl.models.recurrence import Recurrence

T, M, F, H = 7, 5, 4, 6


def layer() -> Recurrence:
    made = Recurrence("gru", 1, F, H, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


def inputs(resets: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, state = torch.randn(1, T * M, F, generator=generator), torch.randn(1, M, H, generator=generator)
    is_first = torch.zeros(T, M, 1, dtype=torch.bool)
    if resets:
        is_first[0, 1] = is_first[3, :3] = is_first[T - 1, 4] = True
    return x, state, is_first.view(1, T * M, 1)


def outputs_and_gradients(made: Recurrence, x, state, is_first, state_after: int) -> list[torch.Tensor]:
    made.zero_grad(set_to_none=True)
    x, state = x.clone().requires_grad_(), state.clone().requires_grad_()
    y, after = made(x, state, is_first, state_after=state_after)
    weight = torch.linspace(-1.0, 2.0, y.numel(), dtype=x.dtype).view(y.shape)
    ((y.square() * weight).sum() + after.square().sum()).backward()
    return [y.detach(), after.detach(), x.grad, state.grad, *(parameter.grad for parameter in made.parameters())]


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("state_after", [-1, 2])
def test_outputs_and_gradients_are_those_of_autograd(resets, state_after):
    made, (x, state, is_first) = layer(), inputs(resets)
    assert by_hand(x) and not by_hand(x.double())
    mine = outputs_and_gradients(made, x, state, is_first, state_after)
    autograd = outputs_and_gradients(made.double(), x.double(), state.double(), is_first, state_after)
    for got, expected in zip(mine, autograd, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=2e-5)


def test_without_gradients_the_same_numbers_come_out():
    made, (x, state, is_first) = layer(), inputs(resets=True)
    with torch.no_grad():
        quiet = made(x, state, is_first)
    for one, other in zip(quiet, made(x, state, is_first), strict=True):
        assert torch.equal(one, other.detach())


def test_step_by_step_it_is_the_same():
    """An actor takes one step at a time, the learner all at once: at policy lag 0 their ratio is 1."""
    made, (x, state, is_first) = layer(), inputs(resets=True)
    whole, after = made(x, state, is_first)
    parts = []
    for rows, first in zip(x.view(T, 1, M, F), is_first.view(T, 1, M, 1), strict=True):
        part, state = made(rows, state, first)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, after)


def test_what_is_forgotten_reaches_no_gradient():
    made, (x, state, is_first) = layer(), inputs(resets=True)
    state[0, 1] = float("nan")  # which the first row's reset forgets
    found = outputs_and_gradients(made, x, state, is_first, -1)
    assert all(tensor.isfinite().all() for tensor in found)
    assert (found[3][0, 1] == 0).all()
