"""The hand-written layers against autograd's, which doubles go through."""

import pytest
import torch

from sfmarl.models.encoders import NetConfig, SetNetwork
from sfmarl.models.mlp import by_hand, tanh_

A, F = 3, 7


def network(hidden, activation, agent_id=True, outputs=5) -> SetNetwork:
    config = NetConfig(hidden=hidden, activation=activation, agent_id=agent_id)
    net = SetNetwork((F,), outputs, (0,) * A, config, 1.0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return net


def outputs_and_gradients(net: SetNetwork, x: torch.Tensor, index: torch.Tensor | None) -> list[torch.Tensor]:
    net.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    y = net(x, index)
    weight = torch.linspace(-1.0, 2.0, y.numel(), dtype=x.dtype).view(y.shape)
    (y.square() * weight).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize("agent_id", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(8,), (8, 6), (4, 9, 5)])
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize("turns", [False, True])
def test_outputs_and_gradients_are_those_of_autograd(agent_id, activation, hidden, outputs, turns):
    net = network(hidden, activation, agent_id, outputs)
    generator = torch.Generator().manual_seed(2)
    # turn-based lanes hold one agent each, whose index they name; else column a is agent a
    x = torch.randn((4, 6, 1 if turns else A, F), generator=generator)
    index = torch.randint(A, (6, 1), generator=generator) if turns else None
    assert by_hand(x)
    assert not by_hand(x.double())
    mine = outputs_and_gradients(net, x, index)
    autograd = outputs_and_gradients(net.double(), x.double(), index)
    for got, expected in zip(mine, autograd, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=2e-5)


def test_outputs_lie_with_their_columns_together():
    y = network((8,), "tanh")(torch.randn(4, 6, A, F))
    assert y.movedim(-1, 0).is_contiguous()


def test_without_gradients_the_same_numbers_come_out():
    net, x = network((8, 8), "tanh"), torch.randn(5, A, F)
    with torch.no_grad():
        quiet = net(x)
    assert torch.equal(quiet, net(x).detach())


def test_what_does_not_learn_gets_no_gradient():
    net = network((8, 8), "tanh")
    x = torch.randn(5, A, F)
    net(x).sum().backward()
    assert x.grad is None
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("value", [0.0, 1e-7, -1e-3, 0.5, 20.0, -1e30, float("inf")])
def test_tanh_is_tanh(value):
    x = torch.full((9,), value, requires_grad=True)
    y = tanh_(x * 1.0)
    y.sum().backward()
    expected = torch.tensor(value, dtype=torch.float64).tanh()
    torch.testing.assert_close(y.detach().double(), expected.expand(9), rtol=0.0, atol=2.5e-7)
    torch.testing.assert_close(x.grad.double(), (1.0 - expected.square()).expand(9), rtol=0.0, atol=5e-7)


def test_nan_stays_nan():
    assert tanh_(torch.tensor([float("nan"), 1.0])).isnan().tolist() == [True, False]
