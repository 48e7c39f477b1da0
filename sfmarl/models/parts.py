"""Rows that hold images beside a vector: normalised where they are a vector, encoded where they are images.

Such a row [..., D] is flat, the vector first (`ObsSpec.parts`). `PartsEncoder` has the interface of
`encoders.ConvEncoder`, `PartsNormaliser` that of `normaliser.ObsNormaliser`; whoever holds one need not know more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sfmarl.models.convolutions import ConvEncoder
from sfmarl.models.normaliser import ObsNormaliser, RunningMoments
from sfmarl.specs import ObsPart, ObsSpec, is_image


def vector_size(parts: Sequence[ObsPart]) -> int:
    """Return how many leading numbers of a row are the vector."""
    return sum(part.size for part in parts if not part.is_image)


def _split(x: Tensor, parts: Sequence[ObsPart]) -> list[Tensor]:
    """Return views [..., n] or [..., H, W, C] of the parts of x [..., D]."""
    pieces = x.split([part.size for part in parts], -1)
    return [piece.unflatten(-1, part.shape) for piece, part in zip(pieces, parts, strict=True)]


class PartsEncoder(nn.Module):
    """Rows [..., D] -> features: the vector as it is, then each image through convolutions of its own."""

    def __init__(self, parts: Sequence[ObsPart], num_sets: int, generator: torch.Generator) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.encoders = nn.ModuleList(
            ConvEncoder(part.shape, num_sets, generator) for part in self.parts if part.is_image
        )
        self.features = vector_size(self.parts) + sum(encoder.features for encoder in self.encoders)

    def forward(self, x: Tensor, group_sets: list[int]) -> Tensor:
        """Encode x [..., D] with set 0, or groups x [G, M, D], group g with set `group_sets[g]`."""
        encoders = iter(self.encoders)
        features = []
        for part, piece in zip(self.parts, _split(x, self.parts), strict=True):
            piece = piece.float()
            if part.is_image:
                # the row's dtype no longer tells bytes from numbers that are scaled already
                piece = next(encoders)(piece / 255.0 if part.is_bytes else piece, group_sets)
            features.append(piece)
        return torch.cat(features, -1)


class PartsNormaliser(ObsNormaliser):
    """Normalises the vector of rows [..., D] and leaves their images as they are."""

    def __init__(self, parts: Sequence[ObsPart]) -> None:
        super().__init__((vector_size(parts),))
        self.size = vector_size(parts)

    def forward(self, obs: Tensor) -> Tensor:
        """Normalise the vector of obs [..., D] of any dtype; the result is float32."""
        return torch.cat([super().forward(obs[..., : self.size]), obs[..., self.size :].float()], -1)

    @torch.no_grad()
    def follow(self, moments: RunningMoments, x: Tensor, weight: Tensor) -> None:
        """See `ObsNormaliser.follow`; `moments` are those of the vector."""
        super().follow(moments, x[..., : self.size], weight)


def make_normaliser(obs: ObsSpec) -> ObsNormaliser | None:
    """Return the normaliser of `obs`; None when it holds nothing but images."""
    if obs.parts:
        return PartsNormaliser(obs.parts) if vector_size(obs.parts) else None
    return None if is_image(obs.shape) else ObsNormaliser(obs.shape)


def joint_parts(parts: Sequence[ObsPart], agents: int) -> tuple[ObsPart, ...]:
    """Return the layout of the rows of `agents` agents as `join` puts them together."""
    joint = []
    for part in parts:
        *sides, last = part.shape
        joint.append(replace(part, shape=(*sides, agents * last)))
    return tuple(joint)


def join(parts: Sequence[ObsPart], x: Tensor) -> Tensor:
    """Return rows [..., A * D] of x [..., A, D]: vectors side by side, images stacked along their channels."""
    pieces = []
    for part, piece in zip(parts, _split(x, parts), strict=True):
        # [..., A, H, W, C] -> [..., H, W, A * C]
        stacked = piece.movedim(-4, -2).flatten(-2).flatten(-3) if part.is_image else piece.flatten(-2)
        pieces.append(stacked)
    return torch.cat(pieces, -1)
