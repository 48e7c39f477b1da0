"""Means over the optimiser steps of an update, accumulated on the device."""

from __future__ import annotations

import torch
from torch import Tensor


class MetricSums:
    """Sums of named 0-dim metrics over steps; steps that were skipped count only as such."""

    def __init__(self, device: torch.device) -> None:
        self._names: tuple[str, ...] = ()
        self._steps = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)
        self._totals = torch.zeros((), device=device)
        self._first: dict[str, Tensor] = {}
        self.start_epoch()

    def start_epoch(self) -> None:
        """Begin what `epoch_mean` is taken over."""
        self._steps_before, self._totals_before = self._steps, self._totals

    def add(self, skipped: Tensor, **values: Tensor) -> None:
        """Add one step's values, the same names at every call, unless `skipped` is 1."""
        self._names = tuple(values)
        # not a product: what made the step be skipped may be NaN
        step = torch.where(skipped > 0, 0.0, torch.stack(list(values.values())))
        self._totals = self._totals + step
        self._steps = self._steps + (1.0 - skipped)
        self._skipped = self._skipped + skipped

    def keep_first(self, name: str, x: Tensor) -> None:
        """Keep the largest element of the first `x` given under `name`."""
        if name not in self._first:
            self._first[name] = x.amax()

    def epoch_mean(self, name: str) -> Tensor:
        """Return the mean of `name` since `start_epoch`."""
        steps = (self._steps - self._steps_before).clamp_min(1.0)
        return ((self._totals - self._totals_before) / steps)[self._names.index(name)]

    def means(self) -> dict[str, Tensor]:
        """Return every mean, what `keep_first` kept, and `skipped_updates`."""
        means = (self._totals / self._steps.clamp_min(1.0)).unbind()
        return dict(zip(self._names, means, strict=True)) | self._first | {"skipped_updates": self._skipped}
