"""From READY slots to one training batch: which slots, in what order, and one copy of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

from sfmarl.algorithms.base import Batch
from sfmarl.memory.block import Block
from sfmarl.transfers import DIRECT_BYTES, Transfers


@dataclass
class Chosen:
    """Slots of one ring position of one block."""

    block: Block
    """The block."""
    ring: int
    """Ring position."""
    lanes: slice | np.ndarray
    """All lanes or the first of them, or the indices of some."""
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
            # a slice of a slice stays one: it is copied without being gathered first
            lanes = slice(left) if isinstance(part.lanes, slice) else part.lanes[:left]
            part = Chosen(part.block, part.ring, lanes, left, part.number)
        kept.append(part)
        left -= part.count
    return kept


class Staging:
    """A preallocated batch on the learner's device, into which slots are copied.

    What is large goes there straight from the slot, one copy per field and slot; on a GPU small fields are gathered in
    page-locked host memory first and travel together. On the CPU that memory is the batch.
    """

    FIELDS = ("obs", "active", "is_first", "action", "log_prob", "reward", "terminated", "truncated", "policy_version",
              "action_mask", "state", "in_return")  # fmt: skip

    def __init__(
        self,
        blocks: Sequence[Block],
        lanes: int,
        device: torch.device,
        transfers: Transfers | None = None,
        direct_bytes: int = DIRECT_BYTES,
    ) -> None:
        """`blocks` are the policy's: they are alike but for their place. `lanes` is N.

        Fields of which a whole slot position has `direct_bytes` are not gathered on the host.
        """
        block, spec = blocks[0], blocks[0].spec
        self._transfers = transfers or Transfers(device)
        self._direct_bytes = direct_bytes
        self._device: dict[str, torch.Tensor] = {}
        self._host: dict[str, torch.Tensor] = {}
        for name in self.FIELDS:
            source = getattr(block, name)
            if source is None:
                continue
            dtype = torch.from_numpy(source[:0]).dtype
            self._make(name, (source.shape[1], lanes, *source.shape[3:]), dtype, source[0].nbytes >= direct_bytes)
        self._fields = tuple(self._device)
        for name in ("lane", "number", "generation"):
            self._make(name, (lanes,), torch.int64)
        if not spec.lockstep:
            self._make("agent_index", (lanes, spec.agents), torch.int64)
        if block.actor_state is not None:
            self._make("actor_state", (lanes, *block.actor_state.shape[2:]), torch.float32)
        self._arrays = {name: tensor.numpy() for name, tensor in self._host.items()}
        starts = accumulate((b.spec.lanes for b in blocks), initial=0)
        self._first_lane = {b.spec.name: start for b, start in zip(blocks, starts, strict=False)}
        self._num_lanes = sum(b.spec.lanes for b in blocks)

    def _make(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, direct: bool = False) -> None:
        kept = torch.int64 if name == "action" and dtype == torch.int32 else dtype
        self._device[name] = torch.zeros(shape, dtype=kept, device=self._transfers.device)
        if not self._transfers.separate:
            self._host[name] = self._device[name]
        elif not direct:
            self._host[name] = self._transfers.host(shape, dtype)

    def fill(self, chosen: Sequence[Chosen]) -> Batch:
        """Copy the chosen slots, lane by lane in their order, and return the batch on the learner's device.

        When this returns the slots have been read and may be released. Fewer than N lanes make a smaller batch, a view
        of the preallocated one.
        """
        first = 0
        for part in chosen:
            lanes = slice(first, first + part.count)
            for name in self._fields:
                self._fill_field(name, part, lanes)
            self._fill_lanes(part, lanes)
            first += part.count
        if self._transfers.separate:
            for name, host in self._host.items():
                self._transfers.copy(_lanes(name, self._device[name], first), _lanes(name, host, first))
        self._transfers.wait()
        return Batch(
            **{name: _lanes(name, tensor, first) for name, tensor in self._device.items()}, num_lanes=self._num_lanes
        )

    def _fill_field(self, name: str, part: Chosen, lanes: slice) -> None:
        source = getattr(part.block, name)[part.ring]
        if name not in self._host:
            self._transfers.copy(self._device[name][:, lanes], torch.from_numpy(source[:, part.lanes]))
            return
        target = self._arrays[name]
        if isinstance(part.lanes, np.ndarray) and source.nbytes >= self._direct_bytes and source.dtype == target.dtype:
            # one copy: NumPy would gather the lanes first and then copy them
            index, into = torch.from_numpy(part.lanes), self._host[name][:, lanes]
            torch.index_select(torch.from_numpy(source), 1, index, out=into)
            return
        target[:, lanes] = source[:, part.lanes]

    def _fill_lanes(self, part: Chosen, lanes: slice) -> None:
        """Copy what a slot holds once, not per step."""
        block, ring, chosen = part.block, part.ring, part.lanes
        index = np.arange(block.spec.lanes)[chosen]
        values = {
            "lane": self._first_lane[block.spec.name] + index,
            "number": block.slots.number[ring][chosen],
            "generation": block.slots.generation[ring][chosen],
        }
        if "agent_index" in self._host:
            values["agent_index"] = (index % len(block.spec.team.agents))[:, None]
        if "actor_state" in self._host:
            values["actor_state"] = block.actor_state[ring][chosen]
        for name, array in values.items():
            self._arrays[name][lanes] = array


def _lanes(name: str, tensor: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first `count` lanes of a field [T, N, ...] or of what a slot holds once [N, ...]."""
    return tensor[:, :count] if name in Staging.FIELDS else tensor[:count]
