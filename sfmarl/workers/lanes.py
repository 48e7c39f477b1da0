"""Per-lane cursors into a block whose lanes act at their own pace: one agent of one env each."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sfmarl.memory.block import Block


class Observe(Protocol):
    """Writes the observation of the agent whose turn it is into the row it is handed."""

    def __call__(self, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None) -> None: ...


class Lanes:
    """The lanes of one block and the steps they have open.

    A step is opened when its observation is written and an action is asked for; it is closed when the lane's next
    observation is written or its life ends. A slot is published when its last step is closed.
    """

    def __init__(self, block: Block, generation: int, sync: bool) -> None:
        lanes = block.spec.lanes
        self.block = block
        self._generation = generation
        self._sync = sync
        # a new life begins behind what its predecessor published
        self._ring = block.slots.newest_published()
        self._step = np.zeros(lanes, np.int64)
        self._number = np.full(lanes, 1 + int(block.slots.number.max()))
        self.has_slot = np.zeros(lanes, bool)
        """[L]: the lane owns a slot it is filling."""
        self.is_open = np.zeros(lanes, bool)
        """[L]: the lane acted (or is asked to) and the outcome is not known yet."""
        self._fresh = np.ones(lanes, bool)
        self._written = np.zeros(lanes, bool)

    def open_step(self, lane: int, reward: float, observe: Observe) -> bool:
        """Close the lane's open step with `reward` and open the next one; False while there is no slot for it.

        May be called again with the same arguments after False: what was closed stays closed.
        """
        block = self.block
        if self.is_open[lane]:
            ring, step = self._ring[lane], self._step[lane]
            block.reward[ring, step, lane, 0] = reward
            self._observe(lane, ring, step + 1, observe)
            self._advance(lane, 1)
            self._written[lane] = True
        if not self.has_slot[lane] and not self._claim(lane):
            return False
        ring, step = self._ring[lane], self._step[lane]
        if not self._written[lane]:
            self._observe(lane, ring, step, observe)
        block.active[ring, step, lane, 0] = True
        block.is_first[ring, step, lane, 0] = self._fresh[lane]
        block.cursor[0, lane], block.cursor[1, lane] = ring, step
        block.wants_action[lane] = True
        self._fresh[lane] = self._written[lane] = False
        self.is_open[lane] = True
        return True

    def end_life(self, lane: int, reward: float, terminated: bool, observe: Observe) -> None:
        """Close the lane's open step, if it has one, as the last of a life; a truncated one spends a phantom step."""
        if self.is_open[lane]:
            block, ring, step = self.block, self._ring[lane], self._step[lane]
            block.reward[ring, step, lane, 0] = reward
            if terminated:
                block.terminated[ring, step, lane, 0] = True
                self._advance(lane, 1)
            else:
                block.truncated[ring, step, lane, 0] = True
                self._observe(lane, ring, step + 1, observe)
                self._advance(lane, 2)
        self._fresh[lane] = True
        self._written[lane] = False

    def close_short(self, lane: int) -> None:
        """Publish the lane's slot as it is, the rest inactive. A step whose outcome is not known is given up.

        In sync mode a lane that has no slot publishes an empty one: the update waits for every lane.
        """
        if not self.has_slot[lane] and not (self._sync and self._claim(lane)):
            return
        if self.is_open[lane]:
            self.block.active[self._ring[lane], self._step[lane], lane, 0] = False
            self.is_open[lane] = False
        self._publish(lane)

    def action(self, lane: int) -> np.ndarray:
        """Return the stored action of the lane's open step [*action]."""
        return self.block.action[self._ring[lane], self._step[lane], lane, 0]

    def oldest_version(self, lane: int) -> int:
        """Return the version that acted first in the lane's slot, or -1 when nobody has."""
        versions = self.block.policy_version[self._ring[lane], : self._step[lane] + 1, lane]
        acted = versions[versions >= 0]
        return int(acted[0]) if self.has_slot[lane] and acted.size else -1

    def _observe(self, lane: int, ring: int, step: int, observe: Observe) -> None:
        block = self.block
        observe(
            block.obs[ring, step, lane, 0],
            None if block.action_mask is None else block.action_mask[ring, step, lane, 0],
            None if block.state is None else block.state[ring, step, lane],
        )

    def _advance(self, lane: int, steps: int) -> None:
        self.is_open[lane] = False
        self._step[lane] += steps
        if self._step[lane] >= self.block.spec.rollout:
            self._publish(lane)

    def _publish(self, lane: int) -> None:
        self.has_slot[lane] = self._written[lane] = False
        self.block.slots.publish(int(self._ring[lane]), lane)

    def _claim(self, lane: int) -> bool:
        block = self.block
        ring = (int(self._ring[lane]) + 1) % block.spec.ring
        if not block.slots.can_claim(ring, lane, self._sync):
            return False
        block.slots.claim(ring, lane, self._generation, int(self._number[lane]))
        self._number[lane] += 1
        self._ring[lane], self._step[lane] = ring, 0
        self.has_slot[lane], self._written[lane] = True, False
        # unlike in lock-step not every row will be written: what is not must be padding, not leftovers
        for array in (block.obs, block.active, block.is_first, block.action, block.log_prob, block.reward, block.state,
                      block.terminated, block.truncated):  # fmt: skip
            if array is not None:
                array[ring, :, lane] = 0
        if block.actor_state is not None:
            block.actor_state[ring, lane] = 0
        block.policy_version[ring, :, lane] = -1
        if block.action_mask is not None:
            block.action_mask[ring, :, lane] = True
        return True
