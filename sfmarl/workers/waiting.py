"""Rows that wait for an action: of a block, whose player learns, or of scratch rows, whose player does not.

Both are read the same way. What is delivered differs: a slot takes the action, its log-probability and the version that
chose it; scratch rows take the action alone.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sfmarl.memory.block import Block
from sfmarl.memory.seats import Scratch

Rows = slice | np.ndarray


class Where(Protocol):
    """Some rows of one block or seat, B of them with A agents each."""

    name: str
    """Of the arrays they lie in."""
    shape: tuple[int, int]
    """(rows, agents) of all rows that there are."""
    rows: Rows
    """Which of them wait: all, or their indices."""
    agent_index: np.ndarray | None
    """[B, A] int64; None when column a is agent a."""
    obs: np.ndarray
    """[B, A, *obs]."""
    action_mask: np.ndarray | None
    """[B, A, n] bool, or None."""
    is_first: np.ndarray
    """[B, A] bool."""

    def deliver(self, action: np.ndarray, log_prob: np.ndarray, version: int) -> None:
        """Write the answer [B, A, ...]."""
        ...


class InBlock:
    """The rows at a block's cursors. `index` points into its [ring, T, L] arrays."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.name = block.spec.name
        self.shape = block.spec.lanes, block.spec.agents
        if block.spec.lockstep:
            # whole rows of one step: views, not copies
            self.index: tuple = (int(block.cursor[0, 0]), int(block.cursor[1, 0]))
            self.rows: Rows = slice(None)
            self.agent_index = None
        else:
            self.rows = lanes = np.flatnonzero(block.wants_action)
            self.index = (block.cursor[0, lanes], block.cursor[1, lanes], lanes)
            self.agent_index = (lanes % len(block.spec.team.agents))[:, None]
        self.obs = block.obs[self.index]
        self.action_mask = None if block.action_mask is None else block.action_mask[self.index]

    @property
    def is_first(self) -> np.ndarray:
        """See Where; only memory asks."""
        return self.block.is_first[self.index]

    def deliver(self, action: np.ndarray, log_prob: np.ndarray, version: int) -> None:
        """See Where."""
        block, index = self.block, self.index
        block.action[index] = action
        block.log_prob[index] = log_prob
        block.policy_version[index] = version


def waiting_rows(scratch: Scratch, turn_based: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows int64 [n], their players int64 [n]) that wait in a seat for a player who does not learn.

    In lock-step a row is an env, and all agents of the player act; where turns alternate it is an agent that is
    `active`, numbered env * agents + agent.
    """
    if not turn_based:
        rows = np.flatnonzero(scratch.player >= 0)
        return rows, scratch.player[rows]
    rows = np.flatnonzero(scratch.active)
    player = scratch.player[rows // scratch.active.shape[1]]
    here = player >= 0
    return rows[here], player[here]


class InScratch:
    """Rows of a seat of a split, whose players do not learn."""

    def __init__(self, scratch: Scratch, rows: np.ndarray, player: np.ndarray, turn_based: bool) -> None:
        """`rows` and `player` int64 [n], n >= 1, are (some of) what `waiting_rows` returns."""
        envs, agents = scratch.active.shape
        self.name = scratch.spec.name
        self.rows, self.player = rows, player
        self._scratch = scratch
        if turn_based:
            # rows of one agent each, as lanes are
            self.shape = (envs * agents, 1)
            self._index: tuple = (rows // agents, rows % agents)
            self.agent_index = self._index[1][:, None]
        else:
            self.shape = (envs, agents)
            self._index, self.agent_index = (rows,), None
        self._lone = turn_based
        self.obs = self._read(scratch.obs)
        self.action_mask = None if scratch.action_mask is None else self._read(scratch.action_mask)

    @property
    def is_first(self) -> np.ndarray:
        """See Where; only memory asks."""
        return self._read(self._scratch.is_first)

    def _read(self, array: np.ndarray) -> np.ndarray:
        rows = array[self._index]
        return rows[:, None] if self._lone else rows

    def deliver(self, action: np.ndarray, log_prob: np.ndarray, version: int) -> None:
        """See Where; nobody learns from it, so nothing else is kept."""
        self._scratch.action[self._index] = action[:, 0] if self._lone else action
