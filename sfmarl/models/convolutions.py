"""The image encoder: the Nature CNN (Mnih et al. 2015), and a smaller stack for grids and boards."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CONV_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Nature CNN: (channels, kernel, stride) of each layer."""
_SMALL_CONV_LAYERS = ((16, 3, 1), (32, 3, 1))
"""For images smaller than the Nature CNN's receptive field (36 pixels): grids and boards of `specs.IMAGE_MIN_SIDE`."""
_NATURE_MIN_SIDE = 36


class ConvEncoder(nn.Module):
    """Image rows [..., H, W, C] -> features; one stack of convolutions per parameter set."""

    def __init__(self, shape: tuple[int, ...], num_sets: int, generator: torch.Generator) -> None:
        super().__init__()
        height, width, channels = shape
        layers = _CONV_LAYERS if min(height, width) >= _NATURE_MIN_SIDE else _SMALL_CONV_LAYERS
        self.strides = [stride for _, _, stride in layers]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for outputs, kernel, stride in layers:
            weight = nn.Parameter(torch.empty(num_sets, outputs, channels, kernel, kernel))
            with torch.no_grad():
                for w in weight:
                    nn.init.orthogonal_(w, math.sqrt(2.0), generator)
            self.weights.append(weight)
            self.biases.append(nn.Parameter(torch.zeros(num_sets, outputs)))
            channels, height, width = outputs, (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.features = channels * height * width

    def forward(self, x: Tensor, group_sets: list[int]) -> Tensor:
        """Encode x [..., H, W, C] with set 0, or groups x [G, M, H, W, C], group g with set `group_sets[g]`."""
        if len(group_sets) == 1:
            return self._encode(x.reshape(-1, *x.shape[-3:]), group_sets[0]).reshape(*x.shape[:-3], -1)
        return torch.stack([self._encode(rows, s) for rows, s in zip(x, group_sets, strict=True)])

    def _encode(self, rows: Tensor, set_index: int) -> Tensor:
        x = rows.movedim(-1, -3)
        # bytes are pixels in [0, 255]; a float image is already scaled by whoever made it
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        for weight, bias, stride in zip(self.weights, self.biases, self.strides, strict=True):
            x = F.conv2d(x, weight[set_index], bias[set_index], stride).relu_()
        return x.flatten(1)
