"""Log-probability and entropy of categorical actions on the CPU, forward and backward by hand.

What autograd would do in a dozen passes over [..., P] and as many back takes five and five here. Probabilities lie
actions first, [n, M], so that every pass runs along contiguous rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax


def evaluate_categoricals(
    logits: Tensor, nvec: Sequence[int], action: Tensor, illegal: Tensor | None, illegal_logit: float
) -> tuple[Tensor, Tensor]:
    """Return (log-probability, entropy in nats), float32 [M] each, of K categoricals side by side.

    logits float32 [P, M], P the sum of `nvec`; action int64 [K, M]; illegal bool [P, M] or None: these logits are
    replaced by `illegal_logit`.
    """
    return _Evaluate.apply(logits, tuple(nvec), action, illegal, illegal_logit)


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, nvec: tuple[int, ...], action: Tensor, illegal: Tensor | None, illegal_logit: float
    ) -> tuple[Tensor, Tensor]:
        if illegal is not None:
            logits = logits.masked_fill(illegal, illegal_logit)
        log_probs = [log_softmax(logits[part], 0) for part in _parts(nvec)]
        probs = [lp.exp() for lp in log_probs]
        entropies = [(p * lp).sum(0).neg_() for p, lp in zip(probs, log_probs, strict=True)]
        chosen = [lp.gather(0, index[None])[0] for lp, index in zip(log_probs, action, strict=True)]
        ctx.nvec = nvec
        ctx.save_for_backward(action, illegal, *log_probs, *probs, *entropies)
        return _sum(chosen), _sum(entropies).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_log_prob: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        action, illegal, *saved = ctx.saved_tensors
        count = len(ctx.nvec)
        log_probs, probs, entropies = saved[:count], saved[count : 2 * count], saved[2 * count :]
        grad = torch.empty((sum(ctx.nvec), action.shape[1]))
        against = grad_entropy.neg()
        for k, part in enumerate(_parts(ctx.nvec)):
            # d entropy / d logit = -p (log p + entropy);  d log p[chosen] / d logit = [chosen] - p
            g = torch.add(log_probs[k], entropies[k], out=grad[part])
            g.mul_(probs[k]).mul_(against).addcmul_(probs[k], grad_log_prob, value=-1.0)
            g.scatter_add_(0, action[k][None], grad_log_prob[None])
        if illegal is not None:
            grad.masked_fill_(illegal, 0.0)
        return grad, None, None, None, None


def _parts(nvec: Sequence[int]) -> list[slice]:
    return [slice(first, last) for first, last in pairwise(accumulate(nvec, initial=0))]


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
