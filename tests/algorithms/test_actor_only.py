"""The base class for algorithms without a critic: the loss is followed, dead rows are ignored, resuming is exact."""

from dataclasses import dataclass

import pytest
import torch

from sfmarl.algorithms.actor_only import ActorOnly
from sfmarl.algorithms.losses import masked_mean
from tests.algorithms.synthetic_batches import acted_batch, policy_spec


@dataclass
class Settings:
    lr: float = 0.01
    hidden: tuple[int, ...] = (8,)


class Imitate(ActorOnly):
    Hyperparameters = Settings

    def loss(self, batch, log_prob, entropy, weight):
        return -masked_mean(log_prob, weight)


def imitator(seed=1, **settings):
    return Imitate(policy_spec(), Settings(**settings), torch.device("cpu"), seed)


def weights_of(algorithm):
    return torch.cat([p.detach().flatten() for p in algorithm.actor.parameters()])


def test_a_step_is_adams_on_the_loss():
    ours, theirs = imitator(), imitator()
    adam = torch.optim.Adam(theirs.actor.parameters(), 0.01)
    for seed in range(3):
        batch = acted_batch(ours.spec, ours.actor, seed=seed, deaths=True)
        active = batch.active[:-1]
        log_prob, entropy = theirs.actor.evaluate(theirs.actor.prepare(batch.obs[:-1]), batch.action, None, None)
        adam.zero_grad()
        (-log_prob[active].mean()).backward()
        adam.step()
        metrics = ours.update(batch, 0.0)
        assert metrics["loss_policy"].item() == pytest.approx(-log_prob[active].mean().item(), rel=1e-5)
        assert metrics["entropy"].item() == pytest.approx(entropy[active].mean().item(), rel=1e-5)
        torch.testing.assert_close(weights_of(ours), weights_of(theirs))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_not_taken(bad):
    ours, theirs = imitator(), imitator()
    batches = [acted_batch(ours.spec, ours.actor, seed=seed) for seed in range(2)]
    ours.loss = lambda *args: Imitate.loss(ours, *args) * bad
    assert ours.update(batches[0], 0.0)["skipped_updates"].item() == 1.0
    del ours.loss
    for algorithm in (ours, theirs):
        assert algorithm.update(batches[1], 0.0)["skipped_updates"].item() == 0.0
    assert torch.equal(weights_of(ours), weights_of(theirs))


def test_dead_rows_have_no_influence():
    ours, theirs = imitator(), imitator()
    batch = acted_batch(ours.spec, ours.actor, seed=0, deaths=True)
    ours.update(batch, 0.0)
    batch.obs[~batch.active] = 7.0
    batch.action[~batch.active[:-1]] = 0
    theirs.update(batch, 0.0)
    torch.testing.assert_close(weights_of(ours), weights_of(theirs), rtol=0, atol=0)


def test_a_restored_state_goes_on_to_the_bit_and_weights_alone_begin_anew():
    ours, theirs = imitator(), imitator(seed=2)
    batches = [acted_batch(ours.spec, ours.actor, seed=seed) for seed in range(3)]
    ours.update(batches[0], 0.0)
    saved = ours.state_dict()
    theirs.load_state_dict(saved)
    fresh = imitator(seed=3)
    fresh.load_weights(saved)
    assert torch.equal(weights_of(fresh), weights_of(ours))
    for algorithm in (ours, theirs, fresh):
        algorithm.update(batches[1], 0.0)
    assert torch.equal(weights_of(ours), weights_of(theirs))
    assert not torch.equal(weights_of(ours), weights_of(fresh)), "Adam's moments are not taken over"
    with pytest.raises(ValueError, match="expected"):
        imitator(hidden=(9,)).load_weights(saved)
