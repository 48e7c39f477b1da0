"""What a recurrent actor remembers of every lane that an inference worker serves.

The states lie on the policy's device, indexed by row, and never travel; only what is remembered before a slot's first
step is written into the slot, for the learner to start from. An inference worker that replaces a killed one finds in
the open slots what it needs to remember again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfmarl.memory.block import Block
from sfmarl.memory.slots import FILLING
from sfmarl.workers.waiting import InBlock, Where


class ActorStates:
    """One policy's rnn states, per block [L, A, S] and per seat where it plays without learning."""

    def __init__(self, acting: Any) -> None:
        """`acting` is the policy's `Acting`, with weights from the first `gather` on."""
        self._acting = acting
        self._of_name: dict[str, Tensor] = {}

    def gather(self, wheres: Sequence[Where]) -> tuple[Tensor, np.ndarray]:
        """Return (rnn state [B, A, S], is_first bool [B, A]) of the rows that wait for an action.

        The state of whole rows of a single block is the kept one itself, for the actor to overwrite.
        """
        states = [self._rows(where) for where in wheres]
        for where, state in zip(wheres, states, strict=True):
            if isinstance(where, InBlock):
                _note_first_step(where, state)
        if len(wheres) == 1:
            return states[0], wheres[0].is_first
        return torch.cat(states), np.concatenate([where.is_first for where in wheres])

    def scatter(self, wheres: Sequence[Where], states: Tensor) -> None:
        """Take over what is remembered now: `states` [B, A, S], in the order of `gather`."""
        first = 0
        for where in wheres:
            own, last = self._of_name[where.name], first + len(where.obs)
            if isinstance(where.rows, slice):
                if states is not own:  # a block that acted alone was overwritten in place
                    own.copy_(states[first:last])
            else:
                own[torch.from_numpy(where.rows)] = states[first:last]
            first = last

    def _rows(self, where: Where) -> Tensor:
        own = self._of_name.get(where.name)
        if own is None:
            own = self._acting.new_state(*where.shape)
            self._of_name[where.name] = own
            if isinstance(where, InBlock):
                self._recollect(where.block, own)
        return own if isinstance(where.rows, slice) else own[torch.from_numpy(where.rows)]

    def _recollect(self, block: Block, states: Tensor) -> None:
        """Fill in what the open slots of a block tell that this worker has not served before.

        A row that waits at step t has steps 0 to t - 1 behind it, whose observations lie in the slot.
        """
        spec = block.spec
        lanes = np.arange(spec.lanes)
        ring, step = np.broadcast_to(block.cursor[:, :1], block.cursor.shape) if spec.lockstep else block.cursor
        behind = np.where((block.slots.state[ring, lanes] == FILLING), step, 0)
        if not behind.any():
            return
        states.copy_(torch.from_numpy(np.where((behind > 0)[:, None, None], block.actor_state[ring, lanes], 0.0)))
        for t in range(int(behind.max())):
            rows = np.flatnonzero(behind > t)
            at = (ring[rows], t, rows)
            state = states[torch.from_numpy(rows)]
            mask = None if block.action_mask is None else block.action_mask[at]
            index = None if spec.lockstep else (rows % len(spec.team.agents))[:, None]
            self._acting.act(block.obs[at], mask, index, rnn_state=state, is_first=block.is_first[at])
            states[torch.from_numpy(rows)] = state


def _note_first_step(where: InBlock, state: Tensor) -> None:
    """Write what is remembered before a slot's first step into the slot."""
    block = where.block
    if block.spec.lockstep:
        ring, step = where.index
        if step == 0:
            block.actor_state[ring] = state.cpu().numpy()
        return
    rings, steps, lanes = where.index
    begun = steps == 0
    if begun.any():
        block.actor_state[rings[begun], lanes[begun]] = state[torch.from_numpy(begun)].cpu().numpy()
