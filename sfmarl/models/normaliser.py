"""Running statistics: of observations (published with the actor), of value targets, of returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLIP = 10.0
"""Normalised observations are clipped to +- this many standard deviations."""
_MIN_VARIANCE = 1e-4
"""Floor of a feature's variance, so that a constant feature stays small."""


class ObsNormaliser(nn.Module):
    """Frozen map clip((obs - mean) * inv_std); part of the actor, so that acting and learning see the same."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("inv_std", torch.ones(shape))

    def forward(self, obs: Tensor) -> Tensor:
        """Normalise obs [..., *shape] of any dtype to float32."""
        return (obs.float() - self.mean).mul_(self.inv_std).clamp_(-CLIP, CLIP)

    @torch.no_grad()
    def follow(self, moments: RunningMoments, x: Tensor, weight: Tensor) -> None:
        """Merge the rows x [..., *shape] with weight [...] 1 into `moments` and take over what they have become."""
        moments.merge(x, weight)
        self.mean.copy_(moments.mean)
        self.inv_std.copy_(moments.variance.clamp_min(_MIN_VARIANCE).rsqrt())


class RunningMoments(nn.Module):
    """Mean and variance of everything merged so far, in float64.

    Chan, Golub & LeVeque 1979: a batch's moments, taken about the batch's own mean, are merged with the running ones.
    The batch is reduced in float32, only the moments themselves are double: what rounding takes from the sum of large
    values, the sum of their small deviations gives back.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def merge(self, x: Tensor, weight: Tensor) -> None:
        """Merge the rows x [..., *shape] with weight [...] 1 (0: ignored). Non-finite batches are ignored whole."""
        rows = x.reshape(weight.numel(), -1).float()
        w = weight.reshape(-1).float()
        count = w.sum()
        safe = count.clamp_min(1.0)
        near = (w @ rows) / safe
        deviations = rows - near
        rest = (w @ deviations) / safe
        variance = (w @ deviations.sub_(rest).square_()) / safe
        mean = near.double() + rest
        self._merge_moments(mean.view_as(self.mean), variance.view_as(self.mean), count)

    def _merge_moments(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        finite = (mean.isfinite() & variance.isfinite()).all()
        # not a product: NaN * 0 is NaN
        mean = torch.where(finite, mean, 0.0)
        variance = torch.where(finite, variance, 0.0).double()
        count = torch.where(finite, count, 0.0).double()
        total = self.count + count
        share = count / total.clamp_min(1.0)
        delta = mean - self.mean
        merged = self.variance * (1.0 - share) + variance * share + delta.square() * share * (1.0 - share)
        self.variance.copy_(torch.where(total > 0, merged, self.variance))
        self.mean.add_(delta * share)
        self.count.copy_(total)


class ValueNormaliser(nn.Module):
    """Mean and standard deviation of value targets, so that the critic is trained in a space of unit scale.

    Debiased exponential moving averages of the first two moments, as in MAPPO (Yu et al. 2022, section 5.1). Until the
    first update, `normalise` and `denormalise` are the identity.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("first", torch.zeros((), dtype=torch.float64))
        self.register_buffer("second", torch.zeros((), dtype=torch.float64))
        self.register_buffer("debias", torch.zeros((), dtype=torch.float64))

    def _moments(self) -> tuple[Tensor, Tensor]:
        known = self.debias > 0
        debias = torch.where(known, self.debias, 1.0)
        mean = self.first / debias
        variance = (self.second / debias - mean.square()).clamp_min(1e-2)
        return mean.float(), torch.where(known, variance, 1.0).sqrt().float()

    @torch.no_grad()
    def update(self, targets: Tensor, weight: Tensor) -> None:
        """Move the averages towards the moments of `targets` [...] where `weight` [...] is 1, if finite."""
        # in double: the variance is the small difference of two moments that may be large
        x, w = targets.double(), weight.double()
        count = w.sum()
        first = (x * w).sum() / count.clamp_min(1.0)
        second = (x.square() * w).sum() / count.clamp_min(1.0)
        step = (1.0 - self.decay) * (first.isfinite() & second.isfinite() & (count > 0)).double()
        self.first.lerp_(torch.where(step > 0, first, 0.0), step)
        self.second.lerp_(torch.where(step > 0, second, 0.0), step)
        self.debias.lerp_(torch.ones_like(self.debias), step)

    def normalise(self, values: Tensor) -> Tensor:
        """Return values in the critic's space."""
        mean, std = self._moments()
        return (values - mean) / std

    def denormalise(self, values: Tensor) -> Tensor:
        """Return the critic's outputs in units of return."""
        mean, std = self._moments()
        return values * std + mean
