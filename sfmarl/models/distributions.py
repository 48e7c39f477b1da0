"""Action distributions as pure functions of the policy head's outputs, for the three action kinds.

`params` are the head's outputs [..., P]: logits of one categorical (`discrete`), logits of K categoricals side by side
(`multi_discrete`), or the mean of a diagonal Gaussian (`continuous`), whose `log_std` [..., D] does not depend on the
observation. `mask` [..., P] is True where an action is legal. Everything is computed in float32.

The same mask enters when acting and when learning, so the probability ratio is 1 at policy lag 0. An illegal logit is
replaced by a large negative finite value: its probability and its gradient are exactly zero and nothing becomes NaN.
A row without any legal action (padding, dead agents) behaves as if everything were legal.

Continuous actions are stored as drawn; the environment clips them to its bounds, as in Stable-Baselines3. The
log-probability is then the density of what was really drawn, and the ratio of two policies is exact; a clipped action's
density would not be.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sfmarl.models.categorical import evaluate_categoricals
from sfmarl.models.mlp import by_hand
from sfmarl.specs import ActionSpec

ILLEGAL = -1e9
"""Logit of an illegal action: exp(ILLEGAL - any logit) is 0 in float32, yet the value is finite."""

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def _log_probs(spec: ActionSpec, logits: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Return the masked log-probabilities [..., n_k] of every categorical component."""
    logits = logits.float()
    parts = logits.split(spec.nvec, -1) if len(spec.nvec) > 1 else (logits,)
    if mask is None:
        return [_log_softmax(part) for part in parts]
    illegal = _illegal(spec, mask)
    return [_log_softmax(part.masked_fill(bad, ILLEGAL)) for part, bad in zip(parts, illegal, strict=True)]


def _illegal(spec: ActionSpec, mask: Tensor) -> list[Tensor]:
    """Return what must not be drawn, bool [..., n_k] per component: nothing where a component has no legal action."""
    masks = mask.split(spec.nvec, -1) if len(spec.nvec) > 1 else (mask,)
    return [~part & part.any(-1, keepdim=True) for part in masks]


def _log_softmax(logits: Tensor) -> Tensor:
    """Return log-probabilities along the last dimension, in the memory order of `logits` (`mlp` puts actions first)."""
    actions_first = logits.movedim(-1, 0)
    if actions_first.is_contiguous() and not logits.is_contiguous():
        return F.log_softmax(actions_first, 0).movedim(0, -1)
    return F.log_softmax(logits, -1)


def _components(spec: ActionSpec, action: Tensor) -> list[Tensor]:
    """Return the int64 action of every categorical component, each [...]."""
    action = action.long()
    return [action] if spec.kind == "discrete" else list(action.unbind(-1))


def _sum(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def evaluate(
    spec: ActionSpec, params: Tensor, action: Tensor, mask: Tensor | None = None, log_std: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (log-probability of `action`, entropy), both float32 [...]: what a policy-gradient loss needs."""
    if spec.kind == "continuous":
        return _gaussian_log_prob(params, action, log_std), _gaussian_entropy(params, log_std)
    if by_hand(params):
        return _evaluate_by_hand(spec, params, action, mask)
    log_probs = _log_probs(spec, params, mask)
    return _pick(spec, log_probs, action), _sum([-(lp.exp() * lp).sum(-1) for lp in log_probs])


def _evaluate_by_hand(spec: ActionSpec, logits: Tensor, action: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    lead = logits.shape[:-1]
    illegal = None if mask is None else _actions_first(torch.cat(_illegal(spec, mask), -1))
    components = torch.stack([index.reshape(-1) for index in _components(spec, action)])
    chosen, entropies = evaluate_categoricals(_actions_first(logits), spec.nvec, components, illegal, ILLEGAL)
    return chosen.view(lead), entropies.view(lead)


def _actions_first(x: Tensor) -> Tensor:
    """Return x [..., P] as [P, M]; without a copy if it lies like that already (`mlp`)."""
    return x.movedim(-1, 0).reshape(x.shape[-1], -1)


def log_prob(
    spec: ActionSpec, params: Tensor, action: Tensor, mask: Tensor | None = None, log_std: Tensor | None = None
) -> Tensor:
    """Return the log-probability (continuous: log-density) of `action` [..., *action], float32 [...]."""
    if spec.kind == "continuous":
        return _gaussian_log_prob(params, action, log_std)
    return _pick(spec, _log_probs(spec, params, mask), action)


def entropy(spec: ActionSpec, params: Tensor, mask: Tensor | None = None, log_std: Tensor | None = None) -> Tensor:
    """Return the entropy in nats (continuous: differential), float32 [...]."""
    if spec.kind == "continuous":
        return _gaussian_entropy(params, log_std)
    return _sum([-(lp.exp() * lp).sum(-1) for lp in _log_probs(spec, params, mask)])


def mode(spec: ActionSpec, params: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the most probable action: int64 [...] or [..., K], float32 [..., D]; ties go to the smallest index."""
    if spec.kind == "continuous":
        return params.float()
    return _stack(spec, [lp.argmax(-1) for lp in _log_probs(spec, params, mask)])


def draw_noise(spec: ActionSpec, out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill `out` float32 [..., P] with the noise `sample` turns into actions: standard Gumbel or standard normal."""
    if spec.kind == "continuous":
        return out.normal_(generator=generator)
    tiny = torch.finfo(torch.float32).tiny
    return out.exponential_(generator=generator).clamp_min_(tiny).log_().neg_()


def sample(
    spec: ActionSpec, params: Tensor, noise: Tensor, mask: Tensor | None = None, log_std: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (action, log-probability) drawn with `noise` [..., P] from `draw_noise`.

    Categorical components are drawn by the Gumbel-max trick, which cannot round onto an illegal action.
    """
    if spec.kind == "continuous":
        params = params.float()
        action = params + noise * log_std.exp()
        return action, _gaussian_log_prob(params, action, log_std)
    log_probs = _log_probs(spec, params, mask)
    noises = noise.split(spec.nvec, -1)
    action = _stack(spec, [(lp + g).argmax(-1) for lp, g in zip(log_probs, noises, strict=True)])
    return action, _pick(spec, log_probs, action)


def kl(
    spec: ActionSpec,
    params_p: Tensor,
    params_q: Tensor,
    mask: Tensor | None = None,
    log_std_p: Tensor | None = None,
    log_std_q: Tensor | None = None,
) -> Tensor:
    """Return KL(p || q) in nats, float32 [...]; both distributions share `mask`."""
    if spec.kind == "continuous":
        ratio = (2.0 * (log_std_p - log_std_q)).exp()
        distance = ((params_p.float() - params_q.float()) * (-log_std_q).exp()).square()
        return 0.5 * (ratio + distance - 1.0 - ratio.log()).sum(-1)
    pairs = zip(_log_probs(spec, params_p, mask), _log_probs(spec, params_q, mask), strict=True)
    return _sum([(p.exp() * (p - q)).sum(-1) for p, q in pairs])


def _pick(spec: ActionSpec, log_probs: list[Tensor], action: Tensor) -> Tensor:
    pairs = zip(log_probs, _components(spec, action), strict=True)
    return _sum([lp.gather(-1, index.unsqueeze(-1)).squeeze(-1) for lp, index in pairs])


def _stack(spec: ActionSpec, components: list[Tensor]) -> Tensor:
    return components[0] if spec.kind == "discrete" else torch.stack(components, -1)


def _gaussian_log_prob(mean: Tensor, action: Tensor, log_std: Tensor) -> Tensor:
    z = (action.float() - mean.float()) * (-log_std).exp()
    return -0.5 * z.square().sum(-1) - (log_std + _HALF_LOG_TWO_PI).sum(-1)


def _gaussian_entropy(mean: Tensor, log_std: Tensor) -> Tensor:
    return (log_std + (0.5 + _HALF_LOG_TWO_PI)).sum(-1).expand(mean.shape[:-1])
