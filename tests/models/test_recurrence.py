"""Recurrent layers against torch's own, step by step, and across resets, groups and parameter sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sfmarl.models.acting import flat_size, flatten_into, make_acting
from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.acting_torch import TorchActing
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig, SetNetwork
from sfmarl.models.recurrence import Memory, Recurrence
from tests.algorithms.synthetic_batches import policy_spec, random_mask
from tests.models.test_acting import lively_actor

CPU = torch.device("cpu")
KINDS = ["gru", "lstm"]
T, N, F, H = 6, 3, 4, 5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def reference(layer: Recurrence, which: int = 0) -> nn.Module:
    """torch's layer with the weights of one set."""
    other = (nn.GRU if layer.kind == "gru" else nn.LSTM)(layer.from_input.weight.shape[1], layer.units)
    with torch.no_grad():
        other.weight_ih_l0.copy_(layer.from_input.weight[which].T)
        other.weight_hh_l0.copy_(layer.from_state.weight[which].T)
        other.bias_ih_l0.copy_(layer.from_input.bias[which])
        other.bias_hh_l0.copy_(layer.from_state.bias[which])
    return other


def run_reference(other: nn.Module, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x [T, N, F], state [N, S] as ours."""
    if isinstance(other, nn.GRU):
        out, h = other(x, state[None])
        return out, h[0]
    out, (h, c) = other(x, tuple(part[None].contiguous() for part in state.split(H, -1)))
    return out, torch.cat((h[0], c[0]), -1)


def randomised(layer: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5, generator=generator())
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_torch(kind):
    layer = randomised(Recurrence(kind, 1, F, H, generator()))
    x, state = torch.randn(T, N, F), torch.randn(N, layer.state_size)
    never = torch.zeros(1, T * N, 1, dtype=torch.bool)
    out, after = layer(x.view(1, T * N, F), state[None], never)
    expected, expected_after = run_reference(reference(layer), x, state)
    torch.testing.assert_close(out.view(T, N, H), expected)
    torch.testing.assert_close(after[0], expected_after)


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_begins_from_nothing(kind):
    """At a reset the past has no influence, not even if it is NaN; the others go on."""
    layer = randomised(Recurrence(kind, 1, F, H, generator()))
    x, state = torch.randn(T, N, F), torch.randn(N, layer.state_size)
    is_first = torch.zeros(T, N, 1, dtype=torch.bool)
    is_first[0, 0] = is_first[2, 1] = True
    state[0] = float("nan")
    out, after = layer(x.view(1, T * N, F), state[None], is_first.view(1, -1, 1))
    other, nothing = reference(layer), torch.zeros(1, layer.state_size)
    torch.testing.assert_close(out.view(T, N, H)[:, :1], run_reference(other, x[:, :1], nothing)[0])
    begun_anew, state_anew = run_reference(other, x[2:, 1:2], nothing)
    torch.testing.assert_close(out.view(T, N, H)[2:, 1:2], begun_anew)
    torch.testing.assert_close(after[0, 1:2], state_anew)
    torch.testing.assert_close(out.view(T, N, H)[:, 2:], run_reference(other, x[:, 2:], state[2:])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_first_step_and_stop_at_a_reset(kind):
    layer = Recurrence(kind, 1, F, H, generator())
    x = torch.randn(1, T, F, requires_grad=True)
    is_first = torch.zeros(1, T, 1, dtype=torch.bool)
    for reset_at in (None, 3):
        if reset_at is not None:
            is_first[0, reset_at] = True
        out, _ = layer(x, torch.zeros(1, 1, layer.state_size), is_first)
        (gradient,) = torch.autograd.grad(out[0, -1].sum(), x)
        reached = gradient[0].abs().sum(-1) > 0
        assert reached.tolist() == [reset_at is None or t >= reset_at for t in range(T)]


@pytest.mark.parametrize("hidden", [(8,), ()], ids=["hidden", "no hidden layer"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("sets", [(0, 0, 0), (0, 1, 2), (0, 1, 0)], ids=["full", "none", "roles"])
@pytest.mark.parametrize("kind", KINDS)
def test_agents_and_lanes_do_not_mix(kind, sets, indexed, layer_norm, hidden):
    """Unrolling everybody at once equals unrolling each lane and agent alone, one step at a time."""
    config = NetConfig(hidden=hidden, rnn=kind, rnn_size=H, layer_norm=layer_norm)
    net = randomised(SetNetwork((F,), 2, sets, config, 1.0, generator()))
    agents = 2 if indexed else 3
    index = torch.tensor([[2, 0], [1, 1], [0, 2]]) if indexed else None
    x, state = torch.randn(T, N, agents, F), torch.randn(N, agents, net.state_size)
    is_first = torch.rand(T, N, agents) < 0.3
    out, after = net.unroll(x, Memory(state, is_first), index)
    assert out.shape == (T, N, agents, 2) and after.shape == state.shape
    for n, a in np.ndindex(N, agents):
        who = torch.tensor([[a if index is None else int(index[n, a])]])
        own = state[n, a].view(1, 1, -1)
        for t in range(T):
            memory = Memory(own, is_first[t, n, a].view(1, 1, 1))
            step, own = net.unroll(x[t, n, a].view(1, 1, 1, F), memory, who)
            torch.testing.assert_close(out[t, n, a], step[0, 0, 0])
        torch.testing.assert_close(after[n, a], own[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_state_after_a_chosen_row(kind):
    net = SetNetwork((F,), 2, (0, 1), NetConfig(rnn=kind, rnn_size=H), 1.0, generator())
    x, state = torch.randn(T, N, 2, F), torch.randn(N, 2, net.state_size)
    is_first = torch.zeros(T, N, 2, dtype=torch.bool)
    _, early = net.unroll(x, Memory(state, is_first), state_after=T - 2)
    _, expected = net.unroll(x[:-1], Memory(state, is_first[:-1]))
    torch.testing.assert_close(early, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["discrete", "continuous"])
@pytest.mark.parametrize("sets", [(0, 0, 0), (0, 1, 2), (0, 1, 0)], ids=["full", "none", "roles"])
def test_acting_step_by_step_is_what_learning_unrolls(kind, action, sets):
    spec = policy_spec(action, sets=sets)
    actor = lively_actor(spec, hidden=(8,), rnn=kind, rnn_size=H)
    assert_acts_as_it_learns(make_acting(actor, spec, "cpu", 0), actor, spec)


@pytest.mark.parametrize("make", [NumpyActing, lambda *args: TorchActing(args[0], args[1], CPU, args[2])])
@pytest.mark.parametrize("indexed", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("action", ["discrete", "multi_discrete"])
@pytest.mark.parametrize(
    "config",
    [{}, {"activation": "relu"}, {"hidden": ()}, {"hidden": (), "normalise_obs": False, "agent_id": False}],
    ids=lambda config: "-".join(config),
)
def test_both_implementations_of_a_gru_act_as_it_learns(make, config, action, masked, indexed):
    spec = policy_spec(action, masked=masked)
    actor = lively_actor(spec, **{"hidden": (8, 7), "rnn": "gru", "rnn_size": H, **config})
    acting = make(actor, spec, 0)
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    for _ in range(2):  # weights that are rewritten at each load are so from what is loaded
        acting.load(flat)
    assert_acts_as_it_learns(acting, actor, spec, indexed)


def assert_acts_as_it_learns(acting, actor, spec, indexed=False) -> None:
    """Actions drawn step by step have the log-probabilities, and leave the state, that unrolling gives."""
    rng = np.random.default_rng(0)
    agents = 2 if indexed else 3
    rows = (T, N, agents)
    obs = rng.normal(size=(*rows, 5)).astype(np.float32)
    mask = random_mask(rng, rows, spec.action.nvec) if spec.has_mask else None
    index = rng.integers(3, size=rows[1:]) if indexed else None
    is_first = rng.random(rows) < 0.3
    assert is_first.any((1, 2)).sum() > 1 and not is_first.all()
    start = torch.randn((*rows[1:], acting.state_size), generator=generator())
    start[torch.from_numpy(is_first[0])] = float("nan")
    state, taken, said = start.clone(), [], []
    for t in range(T):
        move, log_prob = acting.act(
            obs[t], None if mask is None else mask[t], index, t % 2 == 1, rnn_state=state, is_first=is_first[t]
        )
        taken.append(torch.from_numpy(move.copy()))
        said.append(torch.from_numpy(log_prob.copy()))
    memory = Memory(start, torch.from_numpy(is_first))
    whose = None if index is None else torch.from_numpy(index)
    prepared = actor.prepare(torch.from_numpy(obs))
    with torch.no_grad():
        log_prob, _ = actor.evaluate(
            prepared, torch.stack(taken), None if mask is None else torch.from_numpy(mask), whose, memory
        )
        torch.testing.assert_close(torch.stack(said), log_prob, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state, actor.unroll(prepared, memory, whose)[1])


def test_a_gru_whose_batch_grows_and_shrinks_mixes_no_rows():
    spec = policy_spec(agents=1)
    actor = lively_actor(spec, rnn="gru")
    acting = make_acting(actor, spec, "cpu", 0)
    assert isinstance(acting, NumpyActing)
    obs = np.random.default_rng(0).normal(size=(40, 1, 5)).astype(np.float32)
    never = np.zeros((40, 1), bool)
    whole = torch.randn((40, 1, acting.state_size), generator=generator())
    start = whole.clone()
    expected = acting.act(obs, greedy=True, rnn_state=whole, is_first=never)[1].copy()
    for rows in (slice(3, 5), slice(0, 40), slice(39, 40)):
        state = start[rows].clone()
        _, log_prob = acting.act(obs[rows], greedy=True, rnn_state=state, is_first=never[rows])
        np.testing.assert_allclose(log_prob, expected[rows], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(state, whole[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_a_recurrent_policy_does_not_act_without_its_memory(kind):
    spec = policy_spec()
    acting = make_acting(Actor(spec, NetConfig(rnn=kind)), spec, "cpu", 0)
    with pytest.raises(ValueError, match="new_state"):
        acting.act(np.zeros((2, 3, 5), np.float32))


def test_first_weights():
    layer = Recurrence("lstm", 2, F, F, generator())
    for weight in (*layer.from_input.weight, *layer.from_state.weight):
        for gate in weight.split(F, 1):
            torch.testing.assert_close(gate.T @ gate, torch.eye(F))
    assert (layer.from_input.bias[:, F : 2 * F] == 1).all() and layer.from_input.bias.sum() == 2 * F
