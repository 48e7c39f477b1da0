import math

import numpy as np
import pytest
import torch
from scipy import stats

from sfmarl.models import distributions
from tests.algorithms.synthetic_batches import ACTIONS, random_mask

KINDS = list(ACTIONS)
CATEGORICAL = ["discrete", "multi_discrete"]


def categorical_oracle(logits, mask, nvec):
    """Probabilities of every component by plain loops: [rows][component] -> vector."""
    rows = []
    for row, legal in zip(logits, mask, strict=True):
        start, parts = 0, []
        for n in nvec:
            weights = [
                math.exp(x) if ok else 0.0
                for x, ok in zip(row[start : start + n], legal[start : start + n], strict=True)
            ]
            if not any(legal[start : start + n]):
                weights = [math.exp(x) for x in row[start : start + n]]
            parts.append([w / sum(weights) for w in weights])
            start += n
        rows.append(parts)
    return rows


@pytest.mark.parametrize("kind", CATEGORICAL)
@pytest.mark.parametrize("masked", [False, True])
def test_categorical_matches_plain_loops(kind, masked):
    spec, rng = ACTIONS[kind], np.random.default_rng(0)
    logits = rng.normal(size=(7, spec.mask_size)).astype(np.float32) * 3
    mask = random_mask(rng, (7,), spec.nvec) if masked else np.ones((7, spec.mask_size), bool)
    mask[3] = False if masked else mask[3]
    probabilities = categorical_oracle(logits, mask, spec.nvec)
    action = [[int(rng.choice(len(p), p=p)) for p in row] for row in probabilities]
    expected = [
        sum(math.log(p[a]) for p, a in zip(row, acts, strict=True))
        for row, acts in zip(probabilities, action, strict=True)
    ]
    entropies = [-sum(q * math.log(q) for p in row for q in p if q > 0) for row in probabilities]
    best = [[int(np.argmax(p)) for p in row] for row in probabilities]
    action, best = torch.tensor(action), torch.tensor(best)
    if kind == "discrete":
        action, best = action[:, 0], best[:, 0]
    torch_mask = torch.from_numpy(mask) if masked else None
    log_prob, entropy = distributions.evaluate(spec, torch.from_numpy(logits), action, torch_mask)
    np.testing.assert_allclose(log_prob, expected, atol=1e-5)
    np.testing.assert_allclose(entropy, entropies, atol=1e-5)
    assert torch.equal(log_prob, distributions.log_prob(spec, torch.from_numpy(logits), action, torch_mask))
    assert torch.equal(entropy, distributions.entropy(spec, torch.from_numpy(logits), torch_mask))
    assert torch.equal(distributions.mode(spec, torch.from_numpy(logits), torch_mask), best)


def test_gaussian_matches_scipy():
    spec, rng = ACTIONS["continuous"], np.random.default_rng(0)
    mean, action = rng.normal(size=(2, 6, 3, 2)).astype(np.float32)
    log_std = rng.normal(size=(3, 2)).astype(np.float32)
    log_prob, entropy = distributions.evaluate(
        spec, torch.from_numpy(mean), torch.from_numpy(action), log_std=torch.from_numpy(log_std)
    )
    normal = stats.norm(mean, np.exp(log_std))
    np.testing.assert_allclose(log_prob, normal.logpdf(action).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(entropy, normal.entropy().sum(-1), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_is_the_expected_log_ratio(kind):
    spec, generator = ACTIONS[kind], torch.Generator().manual_seed(0)
    p, q = torch.randn(2, spec.param_size, generator=generator)
    std_p, std_q = (
        (0.3 * torch.randn(2, spec.param_size, generator=generator)) if kind == "continuous" else (None, None)
    )
    rows = torch.empty(200_000, spec.param_size)
    action, log_p = distributions.sample(
        spec, p.expand_as(rows), distributions.draw_noise(spec, rows, generator), log_std=std_p
    )
    log_ratio = log_p - distributions.log_prob(spec, q.expand_as(rows), action, log_std=std_q)
    exact = distributions.kl(spec, p, q, log_std_p=std_p, log_std_q=std_q)
    standard_error = log_ratio.std() / math.sqrt(len(rows))
    assert abs(log_ratio.mean() - exact) < 4 * standard_error
    assert distributions.kl(spec, p, p, log_std_p=std_p, log_std_q=std_p).abs() < 1e-6


@pytest.mark.parametrize("kind", CATEGORICAL)
def test_illegal_actions_have_neither_probability_nor_gradient(kind):
    spec, rng = ACTIONS[kind], np.random.default_rng(1)
    mask = torch.from_numpy(random_mask(rng, (64,), spec.nvec))
    logits = torch.from_numpy(rng.normal(size=mask.shape).astype(np.float32) * 20).requires_grad_()
    noise = distributions.draw_noise(spec, torch.empty(64, spec.mask_size), torch.Generator().manual_seed(0))
    action, log_prob = distributions.sample(spec, logits, noise, mask)
    (log_prob.sum() + distributions.entropy(spec, logits, mask).sum()).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).any()
    starts = torch.tensor([0, *np.cumsum(spec.nvec)[:-1]])
    assert mask.gather(-1, action.reshape(64, -1) + starts).all()


@pytest.mark.parametrize("kind", CATEGORICAL)
def test_a_row_without_legal_actions_counts_as_unmasked(kind):
    spec = ACTIONS[kind]
    logits = torch.randn(5, spec.mask_size, generator=torch.Generator().manual_seed(0))
    nothing_legal = torch.zeros(5, spec.mask_size, dtype=torch.bool)
    action = distributions.mode(spec, logits)
    assert torch.equal(
        distributions.log_prob(spec, logits, action, nothing_legal), distributions.log_prob(spec, logits, action)
    )


def test_half_precision_heads_are_evaluated_in_float32():
    logits = torch.randn(4, 4).bfloat16()
    log_prob, entropy = distributions.evaluate(ACTIONS["discrete"], logits, torch.zeros(4, dtype=torch.int64))
    assert log_prob.dtype == entropy.dtype == torch.float32


@pytest.mark.parametrize("kind", CATEGORICAL)
def test_sampling_frequencies(kind):
    spec, rng = ACTIONS[kind], np.random.default_rng(2)
    logits, mask = rng.normal(size=spec.mask_size).astype(np.float32), np.ones(spec.mask_size, bool)
    mask[1] = False
    rows = 40_000
    noise = distributions.draw_noise(spec, torch.empty(rows, spec.mask_size), torch.Generator().manual_seed(0))
    lead = (rows, spec.mask_size)
    action, _ = distributions.sample(
        spec, torch.from_numpy(logits).expand(lead), noise, torch.from_numpy(mask).expand(lead)
    )
    for drawn, p in zip(action.reshape(rows, -1).T, categorical_oracle([logits], [mask], spec.nvec)[0], strict=True):
        counts, p = np.bincount(drawn, minlength=len(p)), np.array(p)
        assert (counts[p == 0] == 0).all()
        assert stats.chisquare(counts[p > 0], rows * p[p > 0]).pvalue > 1e-3
