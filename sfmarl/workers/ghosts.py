"""Death = "masked": a dead agent acts no more, but its return goes on until the episode ends."""

from __future__ import annotations

import numpy as np

from sfmarl.memory.block import Block


class Ghosts:
    """Turns deaths within an episode into rows that are `in_return` but not `active`, for one block."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._dead = np.zeros((block.spec.lanes, block.spec.agents), bool)

    def step(self, ring: int, step: int, finished: np.ndarray, cut: np.ndarray) -> None:
        """Rework the outcome of (ring, step) once the environment wrote it.

        `finished` are the envs whose episode ended with this step, `cut` those among them that were truncated: there
        the returns of the dead are bootstrapped, elsewhere they end.
        """
        block = self._block
        terminated, truncated = block.terminated[ring, step], block.truncated[ring, step]
        playing = np.ones(len(self._dead), bool)
        playing[finished] = False
        died = terminated & playing[:, None]
        terminated[died] = False
        truncated[cut] |= self._dead[cut]
        ends = np.setdiff1d(finished, cut)
        terminated[ends] |= self._dead[ends]
        self._dead |= died
        self._dead[finished] = False
        self._dead &= ~block.active[ring, step + 1]  # born again: it acts for its return itself
        block.in_return[ring, step + 1] = self._dead

    def forget(self, envs: np.ndarray) -> None:
        """Take note that the episodes of `envs` broke off."""
        self._dead[envs] = False

    def enter(self, ring: int) -> None:
        """Write the first row of a slot that was just claimed."""
        self._block.in_return[ring, 0] = self._dead
