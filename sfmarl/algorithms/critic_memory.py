"""What a recurrent critic remembers between a lane's slots: kept by the learner, because no worker runs the critic."""

from __future__ import annotations

import torch
from torch import Tensor

from sfmarl.algorithms.base import Batch


class CriticMemory:
    """One rnn state per lane, as the critic was when it last saw the lane; zeros where nothing is known.

    A state counts only for the slot that follows the one it was made from, in the same life of its worker. It is not
    saved: a resumed run begins new episodes.
    """

    def __init__(self, state_size: int, central: bool, device: torch.device) -> None:
        """`central`: remembered once per lane [S], not per agent [A, S]."""
        self._state_size, self._central = state_size, central
        self._after = torch.empty(0, dtype=torch.int64, device=device)
        self._generation = torch.empty(0, dtype=torch.int64, device=device)
        self._state = torch.empty(0, device=device)

    def recall(self, batch: Batch) -> Tensor:
        """Return what is remembered before `batch.obs[0]`: [N, A, S], or [N, S] if central."""
        if not len(self._state):
            agents = () if self._central else (batch.reward.shape[2],)
            # the last row is nobody's
            rows, device = batch.num_lanes + 1, self._state.device
            self._state = torch.zeros((rows, *agents, self._state_size), device=device)
            self._after = torch.full((rows,), -1, dtype=torch.int64, device=device)
            self._generation = torch.full((rows,), -1, dtype=torch.int64, device=device)
        known = (self._after[batch.lane] + 1 == batch.number) & (self._generation[batch.lane] == batch.generation)
        state = self._state[batch.lane]
        return torch.where(known.view(-1, *(1,) * (state.dim() - 1)), state, 0.0)

    def keep(self, batch: Batch, state: Tensor) -> None:
        """Remember `state`, shaped as `recall` returns it, as what the critic knew at the end of the batch's slots."""
        nobody = len(self._after) - 1
        newest = self._after.new_full((nobody,), -1).scatter_reduce(0, batch.lane, batch.number, "amax")
        # of two slots of one lane in one batch the later counts
        lane = torch.where(batch.number == newest[batch.lane], batch.lane, nobody)
        self._state[lane] = state.detach()
        self._after[lane] = batch.number
        self._generation[lane] = batch.generation
