import numpy as np
import pytest
import torch

from sfmarl.algorithms import losses
from sfmarl.models import distributions
from tests.algorithms.synthetic_batches import ACTIONS, random_mask


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    weight = (rng.random((6, 5)) < 0.6).astype(np.float64)
    return rng.normal(size=(6, 5)) * 0.5, rng.normal(size=(6, 5)), weight, rng


@pytest.mark.parametrize("lag", [0.0, 0.4])
def test_clipped_surrogate_by_plain_loops(rows, lag):
    log_ratio, advantage, weight, rng = rows
    log_lag = lag * rng.normal(size=weight.shape)
    total = 0.0
    for lr, ll, adv, w in zip(log_ratio.flat, log_lag.flat, advantage.flat, weight.flat, strict=True):
        r, moved = np.exp(lr), np.exp(ll)
        if adv > 0:
            total += w * adv * min(r, 1.2, 1.2 / moved)
        else:
            total += w * adv * max(r, 0.8, 0.8 / moved)
    got = losses.clipped_surrogate(*map(torch.from_numpy, (log_ratio, log_lag, advantage, weight)), 0.2)
    assert got.item() == pytest.approx(-total / weight.sum())


def test_at_lag_zero_the_clipped_surrogate_is_ppos(rows):
    log_ratio, advantage, weight, _ = rows
    total = 0.0
    for lr, adv, w in zip(log_ratio.flat, advantage.flat, weight.flat, strict=True):
        r = np.exp(lr)
        total += w * min(r * adv, min(max(r, 0.8), 1.2) * adv)
    none = np.zeros_like(log_ratio)
    got = losses.clipped_surrogate(*map(torch.from_numpy, (log_ratio, none, advantage, weight)), 0.2)
    assert got.item() == pytest.approx(-total / weight.sum())


@pytest.mark.parametrize(
    ("moved", "advantage", "pushes"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (1.1, 1.0, True), (1.1, -1.0, True)],
)
def test_no_sample_pushes_the_policy_further_from_the_one_that_acted_than_the_clip_range(moved, advantage, pushes):
    """At the update's start, where the ratio to its own first policy is 1 and would let everything through."""
    log_ratio = torch.zeros(1, requires_grad=True)
    args = (torch.tensor([moved]).log(), torch.tensor([advantage]), torch.ones(1))
    losses.clipped_surrogate(log_ratio, *args, 0.2).backward()
    assert log_ratio.grad.item() == (-advantage if pushes else 0.0)


@pytest.mark.parametrize("log_lag", [-200.0, 200.0])
@pytest.mark.parametrize("advantage", [-1e-30, 0.0, 1e-30])
def test_an_action_that_has_become_all_but_impossible_or_certain_leaves_the_loss_finite(log_lag, advantage):
    log_ratio = torch.zeros(1, requires_grad=True)
    args = (torch.tensor([log_lag]), torch.tensor([advantage]), torch.ones(1))
    loss = losses.clipped_surrogate(log_ratio, *args, 0.2)
    loss.backward()
    assert loss.isfinite() and log_ratio.grad.isfinite().all()


@pytest.mark.parametrize("huber_delta", [0.0, 0.5])
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_value_loss_by_plain_loops(rows, huber_delta, clip):
    value, target, weight, rng = rows
    old = value + rng.normal(size=value.shape)

    def error(e):
        if huber_delta == 0.0 or abs(e) <= huber_delta:
            return 0.5 * e * e
        return huber_delta * (abs(e) - 0.5 * huber_delta)

    total = 0.0
    for v, t, o, w in zip(value.flat, target.flat, old.flat, weight.flat, strict=True):
        loss = error(v - t)
        if clip > 0:
            loss = max(loss, error(o + min(max(v - o, -clip), clip) - t))
        total += w * loss
    value, target, weight, old = map(torch.from_numpy, (value, target, weight, old))
    got = losses.value_loss(value, target, weight, huber_delta, old, clip)
    assert got.item() == pytest.approx(total / weight.sum().item())


@pytest.mark.parametrize("name", ["clip", "pg", "value"])
def test_gradients_by_finite_differences(rows, name):
    x, other, weight, rng = (torch.from_numpy(r) if isinstance(r, np.ndarray) else r for r in rows)
    old = torch.from_numpy(rng.normal(size=x.shape))

    def loss(x):
        if name == "clip":
            return losses.clipped_surrogate(x, 0.3 * old, other, weight, 0.2)
        if name == "pg":
            return losses.policy_gradient(x, other, weight)
        return losses.value_loss(x, other, weight, 0.5, old, 0.2)

    assert torch.autograd.gradcheck(loss, x.clone().requires_grad_())


@pytest.mark.parametrize("kind", list(ACTIONS))
def test_policy_gradients_by_finite_differences(kind):
    """d(log-probability + entropy) / d(head outputs), masks included, against central differences."""
    spec, rng = ACTIONS[kind], np.random.default_rng(1)
    params = torch.from_numpy(rng.normal(size=(3, spec.param_size)).astype(np.float32)).requires_grad_()
    log_std = torch.tensor([0.3, -0.2], requires_grad=True) if kind == "continuous" else None
    mask = None if kind == "continuous" else torch.from_numpy(random_mask(rng, (3,), spec.nvec))
    action = distributions.mode(spec, params.detach(), mask)
    action = action + 0.7 if kind == "continuous" else action

    def objective():
        log_prob, entropy = distributions.evaluate(spec, params, action, mask, log_std)
        return (log_prob + 0.5 * entropy).sum()

    objective().backward()
    for leaf in (params, log_std):
        if leaf is None:
            continue
        flat = leaf.detach().view(-1)
        for i, gradient in enumerate(leaf.grad.view(-1).tolist()):
            kept, values = flat[i].item(), []
            for step in (1e-2, -1e-2):
                flat[i] = kept + step
                values.append(objective().item())
            flat[i] = kept
            assert (values[0] - values[1]) / 2e-2 == pytest.approx(gradient, abs=2e-3)


def test_standardise_and_explained_variance_see_active_rows_only(rows):
    x, target, weight, _ = rows
    chosen = weight > 0
    spoiled = np.where(chosen, x, 1e6)
    scaled, std = losses.standardise(torch.from_numpy(spoiled), torch.from_numpy(weight))
    expected = (x - x[chosen].mean()) / x[chosen].std()
    np.testing.assert_allclose(scaled.numpy()[chosen], expected[chosen], rtol=1e-6)
    assert std.item() == pytest.approx(x[chosen].std())
    got = losses.explained_variance(*map(torch.from_numpy, (spoiled, target, weight)))
    assert got.item() == pytest.approx(1 - (target - x)[chosen].var() / target[chosen].var())


def test_weights_standardise_like_copies():
    """A row of weight 3 counts as three rows."""
    x, weight = torch.tensor([1.0, -2.0, 5.0, 9.0]), torch.tensor([1.0, 3.0, 0.0, 2.0])
    copies = x.repeat_interleave(weight.int())
    scaled, std = losses.standardise(x, weight)
    assert std.item() == pytest.approx(copies.std(correction=0).item())
    expected = ((copies - copies.mean()) / copies.std(correction=0)).unique()
    torch.testing.assert_close(scaled[weight > 0].unique(), expected)


def test_no_active_row_means_zero_not_nan():
    nothing = torch.zeros(4)
    assert losses.masked_mean(torch.ones(4), nothing) == 0
    assert losses.standardise(torch.ones(4), nothing)[0].isfinite().all()
    assert losses.explained_variance(torch.ones(4), torch.ones(4), nothing) == 0
