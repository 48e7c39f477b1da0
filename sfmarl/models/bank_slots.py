"""Where a bank's weights lie, and acting for one of its policies alone.

On the CPU what acts in NumPy is pointed at other weights. What acts in torch has them copied to where its captured
graphs look: within the device, which costs little beside the forward pass of anything that is not batched instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.acting_torch import TorchActing
from sfmarl.models.actor import Actor
from sfmarl.models.buffers import Buffers
from sfmarl.models.folded import FoldedWeights
from sfmarl.specs import PolicySpec


class NumpySlots:
    """K sets of weights for a policy that acts in NumPy."""

    def __init__(self, actor: Actor, spec: PolicySpec, capacity: int, seed: int) -> None:
        self.acting = NumpyActing(actor, spec, seed)
        """Acts for one of them at a time."""
        self.weights = [FoldedWeights(actor) for _ in range(capacity)]
        """By bank slot."""
        self.acting.weights = self.weights[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return sum(weights.nbytes for weights in self.weights)

    def load(self, slot: int, flat: np.ndarray) -> None:
        """Take over `flat` float32 [flat_size] in place."""
        self.weights[slot].load(flat)

    def acting_of(self, slot: int) -> NumpyActing:
        """Return the actor with the weights of `slot`, until the next call."""
        self.acting.weights = self.weights[slot]
        return self.acting


class TorchSlots:
    """K sets of weights for a policy that acts in torch."""

    def __init__(self, actor: Actor, spec: PolicySpec, capacity: int, device: torch.device, seed: int) -> None:
        self.acting = TorchActing(actor, spec, device, seed)
        """Acts for one of them at a time."""
        self.flat = torch.zeros((capacity, len(self.acting.flat)), device=device)
        """[K, flat_size] on the device."""
        self._chosen = -1

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return self.flat.nbytes + self.acting.flat.nbytes

    @torch.inference_mode()
    def load(self, slot: int, flat: np.ndarray) -> None:
        """Take over `flat` float32 [flat_size] in place."""
        self.acting.load(flat)
        self.flat[slot].copy_(self.acting.flat)
        self._chosen = slot

    @torch.inference_mode()
    def acting_of(self, slot: int) -> TorchActing:
        """Return the actor with the weights of `slot`, until the next call."""
        if slot != self._chosen:
            self.acting.flat.copy_(self.flat[slot])
            self._chosen = slot
        return self.acting


class Order(NamedTuple):
    """Rows in the order of their keys."""

    rows: np.ndarray
    """Which row comes first, second, ...: int64 [M]."""
    keys: np.ndarray
    """Keys that occur, ascending."""
    counts: np.ndarray
    """How often each of them occurs."""

    def parts(self) -> list[slice]:
        """Return where the rows of each key lie in that order."""
        ends = np.cumsum(self.counts).tolist()
        return [slice(end - count, end) for end, count in zip(ends, self.counts.tolist(), strict=True)]


def in_order(keys: np.ndarray) -> Order:
    """Return rows with int keys [M] >= 0 sorted by key; equal ones keep their order."""
    counts = np.bincount(keys)
    used = np.flatnonzero(counts)
    # 16 bits are sorted by radix
    narrow = keys.astype(np.uint16) if len(counts) <= 1 << 16 else keys
    return Order(np.argsort(narrow, kind="stable"), used, counts[used])


def take_rows(buffers: Buffers, name: str, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the `rows` [M] int64 of an array [N, ...] in the work array `name`."""
    out = buffers(f"rows.{name}", len(rows), *array.shape[1:], dtype=array.dtype)
    # "clip": to check the bounds NumPy would fill an array of its own first
    return np.take(array, rows, axis=0, out=out, mode="clip")
