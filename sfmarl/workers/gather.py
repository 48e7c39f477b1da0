"""From READY slots to one training batch: which slots, in what order, and one copy of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

from sfmarl.algorithms.base import Batch
from sfmarl.memory.block import Block


@dataclass
class Chosen:
    """Slots of one ring position of one block."""

    block: Block
    """The block."""
    ring: int
    """Ring position."""
    lanes: slice | np.ndarray
    """All lanes, or the indices of some."""
    count: int
    """How many lanes that is."""
    number: int
    """Slot number of the oldest of them."""

    def versions(self) -> np.ndarray:
        """Return the policy versions [T, lanes] int64, -1 where nobody acted."""
        return self.block.policy_version[self.ring][:, self.lanes]

    def samples(self) -> int:
        """Return the number of valid samples in the slots."""
        return int(np.count_nonzero(self.block.active[self.ring][:-1, self.lanes]))

    def take(self) -> None:
        """READY -> TAKEN."""
        self.block.slots.take(self.ring, self.lanes)

    def release(self) -> None:
        """TAKEN -> FREE."""
        self.block.slots.release(self.ring, self.lanes)


def find_ready(blocks: Sequence[Block]) -> list[Chosen]:
    """Return what is READY in `blocks`, oldest slot number first."""
    found = []
    for block in blocks:
        rings, lanes = block.slots.ready()
        for ring in dict.fromkeys(rings.tolist()):
            of_ring = np.sort(lanes[rings == ring])
            whole = len(of_ring) == block.spec.lanes
            number = int(block.slots.number[ring, of_ring].min())
            found.append(Chosen(block, ring, slice(None) if whole else of_ring, len(of_ring), number))
    return sorted(found, key=lambda chosen: chosen.number)


def limit(chosen: Sequence[Chosen], lanes: int) -> list[Chosen]:
    """Return the first of `chosen` that make up exactly `lanes` lanes; the last may be cut."""
    kept, left = [], lanes
    for part in chosen:
        if left == 0:
            break
        if part.count > left:
            indices = np.arange(part.block.spec.lanes)[part.lanes][:left]
            part = Chosen(part.block, part.ring, indices, left, part.number)
        kept.append(part)
        left -= part.count
    return kept


class Staging:
    """A preallocated batch in host memory, pinned when the learner is on a GPU: slots are copied into it once."""

    FIELDS = ("obs", "active", "is_first", "action", "log_prob", "reward", "terminated", "truncated", "policy_version",
              "action_mask", "state", "in_return")  # fmt: skip

    def __init__(self, blocks: Sequence[Block], lanes: int, device: torch.device) -> None:
        """`blocks` are the policy's: they are alike but for their place. `lanes` is N."""
        block, spec = blocks[0], blocks[0].spec
        self._device = device
        self._tensors: dict[str, torch.Tensor] = {}
        for name in self.FIELDS:
            source = getattr(block, name)
            if source is None:
                continue
            dtype = torch.int64 if name == "action" and source.dtype == np.int32 else torch.from_numpy(source[:0]).dtype
            shape = (source.shape[1], lanes, *source.shape[3:])
            self._tensors[name] = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self._arrays = {name: tensor.numpy() for name, tensor in self._tensors.items()}
        starts = accumulate((b.spec.lanes for b in blocks), initial=0)
        self._first_lane = {b.spec.name: start for b, start in zip(blocks, starts, strict=False)}
        self._num_lanes = sum(b.spec.lanes for b in blocks)
        self._whose = {name: torch.zeros(lanes, dtype=torch.int64) for name in ("lane", "number", "generation")}
        self._actor_state = None
        if block.actor_state is not None:
            shape = (lanes, *block.actor_state.shape[2:])
            self._actor_state = torch.zeros(shape, pin_memory=device.type == "cuda")
        self._agent_index = None if spec.lockstep else torch.zeros((lanes, spec.agents), dtype=torch.int64)

    def fill(self, chosen: Sequence[Chosen]) -> Batch:
        """Copy the chosen slots, lane by lane in their order, and return the batch on the learner's device."""
        first = 0
        for part in chosen:
            lanes = slice(first, first + part.count)
            for name, target in self._arrays.items():
                target[:, lanes] = getattr(part.block, name)[part.ring][:, part.lanes]
            self._fill_lanes(part, lanes)
            first += part.count
        batch = Batch(
            **self._tensors,
            **self._whose,
            agent_index=self._agent_index,
            actor_state=self._actor_state,
            num_lanes=self._num_lanes,
        )
        return batch if self._device.type == "cpu" else batch.to(self._device)

    def _fill_lanes(self, part: Chosen, lanes: slice) -> None:
        """Copy what a slot holds once, not per step."""
        block, ring, chosen = part.block, part.ring, part.lanes
        index = np.arange(block.spec.lanes)[chosen]
        if self._agent_index is not None:
            self._agent_index[lanes, 0] = torch.from_numpy(index % len(block.spec.team.agents))
        if self._actor_state is not None:
            self._actor_state.numpy()[lanes] = block.actor_state[ring][chosen]
        self._whose["lane"].numpy()[lanes] = self._first_lane[block.spec.name] + index
        self._whose["number"].numpy()[lanes] = block.slots.number[ring][chosen]
        self._whose["generation"].numpy()[lanes] = block.slots.generation[ring][chosen]
