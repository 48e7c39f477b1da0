import pytest
import torch
from torch import nn

from sfmarl.algorithms.optimiser import ActorCriticAdam, lr_factor
from sfmarl.algorithms.side_by_side import SideBySide


def networks():
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(3, 1)


def losses_of(actor, critic, scale=1.0):
    x = torch.arange(12.0).reshape(4, 3)
    return scale * actor(x).square().mean(), scale * 10 * critic(x).square().mean()


def our_adam(actor, critic, max_grad_norm):
    return ActorCriticAdam(actor, critic, 1e-5, max_grad_norm, SideBySide(torch.device("cpu")))


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.5])
def test_steps_are_adams_with_each_network_clipped_on_its_own(max_grad_norm):
    actor, critic = networks()
    ours = our_adam(actor, critic, max_grad_norm)
    ours.set_lr(0.1, 0.01)
    actor2, critic2 = networks()
    adams = [
        torch.optim.Adam(actor2.parameters(), 0.1, eps=1e-5),
        torch.optim.Adam(critic2.parameters(), 0.01, eps=1e-5),
    ]
    for _ in range(4):
        norm, critic_norm, skipped = ours.step(*losses_of(actor, critic))
        for module in (actor2, critic2):
            module.zero_grad()
        sum(losses_of(actor2, critic2)).backward()
        expected = [nn.utils.clip_grad_norm_(m.parameters(), max_grad_norm or float("inf")) for m in (actor2, critic2)]
        for adam in adams:
            adam.step()
        torch.testing.assert_close([norm, critic_norm], expected)
        assert skipped == 0
    for p, q in zip(
        [*actor.parameters(), *critic.parameters()], [*actor2.parameters(), *critic2.parameters()], strict=True
    ):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.5])
def test_a_non_finite_step_leaves_no_trace(bad, max_grad_norm):
    actor, critic = networks()
    optimiser = our_adam(actor, critic, max_grad_norm)
    optimiser.set_lr(0.1, 0.1)
    optimiser.step(*losses_of(actor, critic))
    before = [p.detach().clone() for p in [*actor.parameters(), *critic.parameters(), *optimiser.tensors().values()]]
    assert optimiser.step(*losses_of(actor, critic, bad))[2] == 1
    after = [*actor.parameters(), *critic.parameters(), *optimiser.tensors().values()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert optimiser.step(*losses_of(actor, critic))[2] == 0
    assert not torch.equal(actor.weight, before[0])


def test_learning_rate_schedules():
    def factors(schedule, final):
        return [lr_factor(schedule, final, progress) for progress in (0.0, 0.5, 1.0)]

    assert factors("constant", 0.2) == [1.0, 1.0, 1.0]
    assert factors("linear", 0.2) == pytest.approx([1.0, 0.6, 0.2])
    assert factors("cosine", 0.0) == pytest.approx([1.0, 0.5, 0.0])
