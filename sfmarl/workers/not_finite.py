"""Updates in which something was not finite: their optimiser steps were skipped on the device; here is what follows.

The batches of the first ones are kept for whoever looks for the cause. Many in a row are not an accident any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from torch import Tensor

from sfmarl.algorithms.base import Batch
from sfmarl.errors import RunError

KEPT_BATCHES = 3
"""Batches of one policy that are kept in a process's life: they may be large."""


class NotFinite:
    """Watches one policy's updates."""

    def __init__(
        self,
        policy: str,
        limit: int,
        keep: Callable[[str, dict[str, Tensor]], Path],
        warn: Callable[[str], None],
    ) -> None:
        """After `limit` such updates in a row learning ends (0: never); `keep(name, tensors)` writes them to a file."""
        self._policy, self._limit, self._keep, self._warn = policy, limit, keep, warn
        self._kept: list[Path] = []
        self._in_row = 0

    def updated(self, skipped_steps: float, batch: Batch, version: int) -> None:
        """Take note of an update on `batch`, which led to `version`. Raises RunError after too many in a row."""
        if not skipped_steps:
            self._in_row = 0
            return
        self._in_row += 1
        if len(self._kept) < KEPT_BATCHES:
            self._keep_batch(batch, version)
        if self._limit and self._in_row >= self._limit:
            raise RunError(
                f"policy {self._policy!r}: in {self._in_row} updates in a row the loss or its gradient was not finite "
                f"(--max-skipped-updates). No such step was taken.{self._where()} "
                "Does the environment return huge numbers, or is the learning rate too high?"
            )

    def _keep_batch(self, batch: Batch, version: int) -> None:
        tensors = {
            field.name: value for field in fields(batch) if isinstance(value := getattr(batch, field.name), Tensor)
        }
        try:
            self._kept.append(self._keep(f"{self._policy}-{version}", tensors))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            self._warn(f"a batch whose loss is not finite could not be kept: {error.strerror or error}{where}.")
            return
        self._warn(
            f"policy {self._policy!r}: optimiser steps are skipped because the loss or its gradient is not finite. The "
            f"batch is in {self._kept[-1]}."
        )

    def _where(self) -> str:
        return f" Batches are in {self._kept[0].parent}." if self._kept else ""
