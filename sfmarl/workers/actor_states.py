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


class ActorStates:
    """One policy's rnn states, per block [L, A, S]."""

    def __init__(self, acting: Any) -> None:
        """`acting` is the policy's `Acting`, with weights from the first `gather` on."""
        self._acting = acting
        self._of_block: dict[str, Tensor] = {}

    def gather(self, wheres: Sequence[Any]) -> tuple[Tensor, np.ndarray]:
        """Return (rnn state [B, A, S], is_first bool [B, A]) of the rows that wait for an action."""
        states = [self._rows(where.block, where.lanes) for where in wheres]
        for where, state in zip(wheres, states, strict=True):
            self._note_first_step(where, state)
        is_first = [where.block.is_first[where.index] for where in wheres]
        if len(wheres) == 1:
            return states[0], is_first[0]
        return torch.cat(states), np.concatenate(is_first)

    def scatter(self, wheres: Sequence[Any], states: Tensor) -> None:
        """Take over what is remembered now: `states` [B, A, S], in the order of `gather`."""
        first = 0
        for where in wheres:
            own = self._of_block[where.block.spec.name]
            count = len(own) if isinstance(where.lanes, slice) else len(where.lanes)
            rows = states[first : first + count]
            if isinstance(where.lanes, slice):
                own.copy_(rows)
            else:
                own[torch.from_numpy(where.lanes)] = rows
            first += count

    def _rows(self, block: Block, lanes: slice | np.ndarray) -> Tensor:
        own = self._of_block.get(block.spec.name)
        if own is None:
            own = self._of_block[block.spec.name] = self._recollect(block)
        return own.clone() if isinstance(lanes, slice) else own[torch.from_numpy(lanes)]

    @staticmethod
    def _note_first_step(where: Any, state: Tensor) -> None:
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

    def _recollect(self, block: Block) -> Tensor:
        """Return the states of a block not served before: zeros, or what its open slots tell when there are any.

        A row that waits at step t has steps 0 to t - 1 behind it, whose observations lie in the slot.
        """
        spec = block.spec
        states = self._acting.new_state(spec.lanes, spec.agents)
        lanes = np.arange(spec.lanes)
        ring, step = np.broadcast_to(block.cursor[:, :1], block.cursor.shape) if spec.lockstep else block.cursor
        behind = np.where((block.slots.state[ring, lanes] == FILLING), step, 0)
        if not behind.any():
            return states
        states.copy_(torch.from_numpy(np.where((behind > 0)[:, None, None], block.actor_state[ring, lanes], 0.0)))
        for t in range(int(behind.max())):
            rows = np.flatnonzero(behind > t)
            at = (ring[rows], t, rows)
            state = states[torch.from_numpy(rows)]
            mask = None if block.action_mask is None else block.action_mask[at]
            index = None if spec.lockstep else (rows % len(spec.team.agents))[:, None]
            self._acting.act(block.obs[at], mask, index, rnn_state=state, is_first=block.is_first[at])
            states[torch.from_numpy(rows)] = state
        return states
