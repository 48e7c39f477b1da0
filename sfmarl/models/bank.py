"""A bank of K frozen policies of one architecture: any row of a batch may be played by any of them.

    load(slot, flat)            one policy's weights, in place
    act(obs, slot, ...)         slot [B] says who plays each row

Many policies with few rows each are what a league's opponents are. Rows are sorted by policy and all policies in use go
through each layer together: `bank_segments.py` in NumPy, `bank_blocks.py` in torch. What that does not cover - images,
layer norm, memory, bfloat16 - and what it does not pay for is a loop over the policies in use (`bank_slots.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfmarl.models.acting import flat_size
from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.actor import Actor
from sfmarl.models.bank_blocks import Blocks
from sfmarl.models.bank_segments import Segments
from sfmarl.models.bank_slots import NumpySlots, TorchSlots, in_order, take_rows
from sfmarl.models.buffers import Buffers
from sfmarl.specs import PolicySpec


def at_once(in_use: int, rows: int, device: torch.device, in_numpy: bool) -> bool:
    """Whether to act on `rows` rows for `in_use` policies together rather than one by one, where both are possible.

    What `benchmarks/bank.py` shows on a CPU, hidden layers 64-64 and 128-128: in NumPy together is faster from two
    policies on (1.3 to 1.4 times with 64 rows, as fast with 2048) and 3 to 11 times as fast with 64. In torch, where
    blocks are padded and their weights copied, it is slower once a policy has more than about 256 rows. On a GPU each
    policy costs the launches of a call, which few policies repay; the bound there is not measured.
    """
    if device.type == "cuda":
        return in_use > 4
    return in_use > 1 and (in_numpy or rows <= 256 * in_use)


def bank_bytes(actor: Actor, spec: PolicySpec, capacity: int, device: torch.device | str) -> int:
    """Return the memory of a `WeightBank` of these arguments, work buffers aside, without allocating it."""
    if _in_numpy(actor, device):
        return capacity * WeightBank(actor, spec, 1, device, seed=0).nbytes
    return (capacity + 1) * flat_size(actor) * np.dtype(np.float32).itemsize


def _in_numpy(actor: Actor, device: torch.device | str) -> bool:
    return torch.device(device).type == "cpu" and NumpyActing.supports(actor)


class WeightBank:
    """K policies that act. Not thread-safe: work buffers are reused."""

    takes_parts = False
    """See `Acting.takes_parts`."""

    def __init__(self, actor: Actor, spec: PolicySpec, capacity: int, device: torch.device | str, seed: int) -> None:
        """Room for `capacity` policies of the shape of `actor`, allocated here; its weights are not used.

        Actions are a function of `seed`, the weights and the calls made so far.
        """
        if capacity < 1:
            raise ValueError(f"a bank of {capacity} policies")
        device = torch.device(device)
        self.capacity = capacity
        """K."""
        self.flat_size = flat_size(actor)
        """Floats of one policy."""
        self.batched: Segments | Blocks | None = None
        """What acts for many at once; None: nothing does."""
        if _in_numpy(actor, device):
            self._slots: NumpySlots | TorchSlots = NumpySlots(actor, spec, capacity, seed)
            self.batched = Segments(actor, spec, self._slots) if Segments.supports(actor) else None
        else:
            self._slots = TorchSlots(actor, spec, capacity, device, seed)
            self.batched = Blocks(actor, spec, self._slots) if Blocks.supports(actor) else None
        self._spec, self._device = spec, device
        self.state_size: int = actor.state_size
        """See `Acting.state_size`."""
        self._loaded = np.zeros(capacity, bool)
        self._buffers = Buffers()

    @property
    def generator(self) -> np.random.Generator | torch.Generator:
        """Draws the actions of all policies."""
        return self._slots.acting.generator

    @property
    def nbytes(self) -> int:
        """Bytes of weights and statistics, however they are laid out."""
        return self._slots.nbytes + (self.batched.nbytes if isinstance(self.batched, Segments) else 0)

    def load(self, slot: int, flat: np.ndarray) -> None:
        """Put weights and statistics `flat` float32 [flat_size], as `flatten_into` wrote them, into bank slot `slot`.

        The others stay as they are.
        """
        self._slots.load(slot, flat)
        if isinstance(self.batched, Segments):
            self.batched.loaded(slot)
        self._loaded[slot] = True

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """See `Acting.new_state`. A row's state is its player's, who changes only where `is_first` forgets it."""
        return self._slots.acting.new_state(rows, agents)

    def act(
        self,
        obs: np.ndarray,
        slot: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one action per row, or take the most probable one when `greedy`.

        slot [B] int is the bank slot that plays each row; everything else is as `Acting.act` takes and returns it.
        Raises ValueError when nothing was ever loaded into one of them.
        """
        if len(slot) == 0 or slot.min() < 0 or slot.max() >= self.capacity or not self._loaded[slot].all():
            raise ValueError(f"bank slots {np.unique(slot).tolist()}, of which only those loaded may act")
        in_use = np.flatnonzero(np.bincount(slot))
        if len(in_use) == 1:
            acting = self._slots.acting_of(int(in_use[0]))
            return acting.act(obs, action_mask, agent_index, greedy, rnn_state, is_first)
        if self.batched is not None and self.takes_at_once(len(in_use), obs.shape[0] * obs.shape[1]):
            return self.batched.act(obs, slot, action_mask, agent_index, greedy)
        return self.one_by_one(obs, slot, action_mask, agent_index, greedy, rnn_state, is_first)

    def takes_at_once(self, in_use: int, rows: int) -> bool:
        """See `at_once`."""
        return at_once(in_use, rows, self._device, in_numpy=isinstance(self.batched, Segments))

    def one_by_one(
        self,
        obs: np.ndarray,
        slot: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do what `act` does, for one policy after the other."""
        order = in_order(slot)
        inputs = (("obs", obs), ("mask", action_mask), ("agent", agent_index), ("is_first", is_first))
        obs, action_mask, agent_index, is_first = (
            None if array is None else take_rows(self._buffers, name, array, order.rows) for name, array in inputs
        )
        if rnn_state is not None:
            where = torch.from_numpy(order.rows).to(rnn_state.device)
            state = rnn_state[where]
        b, a = obs.shape[:2]
        action = self._buffers("action", b, a, *self._spec.action.shape, dtype=self._spec.action.dtype)
        log_prob = self._buffers("log_prob", b, a)
        for key, part in zip(order.keys.tolist(), order.parts(), strict=True):
            rest = (None if array is None else array[part] for array in (action_mask, agent_index))
            memory = (None, None) if rnn_state is None else (state[part], is_first[part])
            chosen, said = self._slots.acting_of(key).act(obs[part], *rest, greedy, *memory)
            action[order.rows[part]], log_prob[order.rows[part]] = chosen, said
        if rnn_state is not None:
            rnn_state[where] = state
        return action, log_prob
