"""The hand-written log-probability and entropy against their definitions in double."""

import pytest
import torch

from sfmarl.models import distributions
from sfmarl.specs import ActionSpec

GENERATOR = torch.Generator().manual_seed(0)


def results(spec, logits, action, mask):
    logits = logits.clone().requires_grad_()
    log_prob, entropy = distributions.evaluate(spec, logits, action, mask)
    weight = torch.linspace(-1.0, 2.0, log_prob.numel(), dtype=logits.dtype).view(log_prob.shape)
    (log_prob * weight + entropy.square() * weight.flip(0)).sum().backward()
    return log_prob.detach(), entropy.detach(), logits.grad


@pytest.mark.parametrize("actions_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("nvec", [(5,), (3, 4), (2, 2, 6)])
def test_values_and_gradients_are_those_of_autograd(nvec, masked, actions_first):
    kind, offsets = ("discrete" if len(nvec) == 1 else "multi_discrete"), (0,) * len(nvec)
    spec = ActionSpec(kind, nvec, offsets)
    lead = (6, 4, 3)
    logits = 3.0 * torch.randn((*lead, sum(nvec)), generator=GENERATOR)
    mask = None
    if masked:
        mask = torch.rand((*lead, sum(nvec)), generator=GENERATOR) > 0.4
        mask[0] = False  # nothing is legal: everything counts as legal
        mask[1] = True
    noise = distributions.draw_noise(spec, torch.empty_like(logits), GENERATOR)
    action, _ = distributions.sample(spec, logits, noise, mask)
    if actions_first:
        logits = logits.movedim(-1, 0).contiguous().movedim(0, -1)
    mine, autograd = results(spec, logits, action, mask), results_in_double(spec, logits, action, mask)
    for got, expected in zip(mine, autograd, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def results_in_double(spec, logits, action, mask):
    """`_log_probs` computes in float32 whatever it is given, so the definition is spelled out here."""
    logits = logits.double().clone().requires_grad_()
    log_prob, entropy, first = 0.0, 0.0, 0
    for k, n in enumerate(spec.nvec):
        part = logits[..., first : first + n]
        if mask is not None:
            legal = mask[..., first : first + n]
            part = part.masked_fill(~(legal | ~legal.any(-1, keepdim=True)), -1e9)
        lp = part.log_softmax(-1)
        index = action if spec.kind == "discrete" else action[..., k]
        log_prob = log_prob + lp.gather(-1, index.long()[..., None])[..., 0]
        entropy = entropy - (lp.exp() * lp).sum(-1)
        first += n
    weight = torch.linspace(-1.0, 2.0, log_prob.numel(), dtype=torch.float64).view(log_prob.shape)
    (log_prob * weight + entropy.square() * weight.flip(0)).sum().backward()
    return log_prob.detach(), entropy.detach(), logits.grad


def test_the_logit_of_an_illegal_action_gets_no_gradient():
    spec = ActionSpec("discrete", (4,), (0,))
    mask = torch.tensor([[True, False, True, True]]).expand(5, 4)
    _, _, gradient = results(spec, torch.randn((5, 4), generator=GENERATOR), torch.zeros(5, dtype=torch.int64), mask)
    assert (gradient[:, 1] == 0.0).all()
    assert (gradient[:, [0, 2, 3]] != 0.0).all()
