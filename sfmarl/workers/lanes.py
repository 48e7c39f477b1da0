"""Per-lane cursors into a block whose lanes act at their own pace: one agent of one env each."""

from __future__ import annotations

from collections.abc import Callable
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

    def __init__(
        self, block: Block, generation: int, sync: bool, on_close: Callable[[int, int, int], None] | None = None
    ) -> None:
        """`on_close(lane, ring, step)` is told of every step whose outcome is written, before its slot is published."""
        lanes = block.spec.lanes
        self._on_close = on_close
        self.block = block
        self._generation = generation
        self._sync = sync
        # lists, because they are read one entry at a time
        # a new life begins behind what its predecessor published
        self._ring: list[int] = block.slots.newest_published().tolist()
        self._step = [0] * lanes
        self._number = [1 + int(block.slots.number.max())] * lanes
        self.has_slot = [False] * lanes
        """[L]: the lane owns a slot it is filling."""
        self.is_open = [False] * lanes
        """[L]: the lane acted (or is asked to) and the outcome is not known yet."""
        self._fresh = [True] * lanes
        self._written = [False] * lanes
        # nobody answers what a past life asked for
        block.wants_action[...] = False

    def open_step(self, lane: int, reward: float, observe: Observe) -> bool:
        """Close the lane's open step with `reward` and open the next one; False while there is no slot for it.

        May be called again with the same arguments after False: what was closed stays closed.
        """
        block = self.block
        if self.is_open[lane]:
            ring, step = self._ring[lane], self._step[lane]
            block.reward[ring, step, lane, 0] = reward
            self._observe(lane, ring, step + 1, observe)
            self._closed(lane, ring, step)
            self._advance(lane, 1)
            self._written[lane] = True
        if not self.has_slot[lane] and not self._claim(lane):
            return False
        ring, step = self._ring[lane], self._step[lane]
        if not self._written[lane]:
            self._observe(lane, ring, step, observe)
        self._written[lane] = False
        block.active[ring, step, lane, 0] = True
        if self._fresh[lane]:
            block.is_first[ring, step, lane, 0] = True
            self._fresh[lane] = False
        block.cursor[0, lane] = ring
        block.cursor[1, lane] = step
        block.wants_action[lane] = True
        self.is_open[lane] = True
        return True

    def acted(self, lane: int) -> np.ndarray:
        """Return the stored action [*action] that the lane's open step was answered with."""
        block = self.block
        block.wants_action[lane] = False
        return block.action[self._ring[lane], self._step[lane], lane, 0]

    def end_life(self, lane: int, reward: float, terminated: bool, observe: Observe) -> None:
        """Close the lane's open step, if it has one, as the last of a life; a truncated one spends a phantom step."""
        if self.is_open[lane]:
            block, ring, step = self.block, self._ring[lane], self._step[lane]
            block.reward[ring, step, lane, 0] = reward
            if terminated:
                block.terminated[ring, step, lane, 0] = True
                if step + 1 == block.spec.rollout:
                    self._pad(lane, step + 1)
                self._closed(lane, ring, step)
                self._advance(lane, 1)
            else:
                block.truncated[ring, step, lane, 0] = True
                # the phantom's row, and the one behind it: nothing may follow in this slot
                self._pad(lane, step + 1, step + 3)
                self._observe(lane, ring, step + 1, observe)
                self._closed(lane, ring, step)
                self._advance(lane, 2)
        self._fresh[lane] = True
        self._written[lane] = False

    def give_up(self, lane: int) -> bool:
        """Take back the lane's open step, since its environment failed; return whether there was one.

        Its row becomes the phantom step of a life that was truncated at the step before.
        """
        was_open = self.is_open[lane]
        if was_open:
            block, ring, step = self.block, self._ring[lane], self._step[lane]
            at = ring, step, lane, 0
            if step and not block.is_first[at]:
                block.truncated[ring, step - 1, lane, 0] = True
            block.reward[at] = 0.0
            block.active[at] = block.is_first[at] = block.terminated[at] = block.truncated[at] = False
            if block.action_mask is not None:
                block.action_mask[at] = True
            block.wants_action[lane] = False
            if step + 1 == block.spec.rollout:
                self._pad(lane, step + 1)
            self._advance(lane, 1)
        self._fresh[lane] = True
        self._written[lane] = False
        return was_open

    def close_short(self, lane: int) -> None:
        """Publish the lane's slot as it is, the rest inactive. A step whose outcome is not known is given up.

        In sync mode a lane that has no slot publishes an empty one: the update waits for every lane.
        """
        if not self.has_slot[lane] and not (self._sync and self._claim(lane)):
            return
        ring, step = self._ring[lane], self._step[lane]
        if self.is_open[lane]:
            self.block.active[ring, step, lane, 0] = False
            self.block.reward[ring, step, lane, 0] = 0.0
            self.is_open[lane] = False
            step += 1
        self._pad(lane, step)
        self._publish(lane)

    def close_stale(self, oldest: int) -> None:
        """Close short every slot whose first step was acted by a version before `oldest`, but for lanes asked to act.

        Their lanes act rarely: a slot is too old to learn from before it is full.
        """
        block = self.block
        for lane, has_slot in enumerate(self.has_slot):
            if not has_slot or block.wants_action[lane]:
                continue
            # the first step tells: later ones are younger, and what was not acted yet holds an earlier slot's version
            if 0 <= block.policy_version[self._ring[lane], 0, lane] < oldest:
                self.close_short(lane)

    def may_begin(self, lane: int) -> bool:
        """Whether the lane could claim a slot now: nothing of it waits to be learned from (sync mode)."""
        return self.block.slots.can_claim(0, lane, sync=True)

    def _observe(self, lane: int, ring: int, step: int, observe: Observe) -> None:
        block = self.block
        observe(
            block.obs[ring, step, lane, 0],
            None if block.action_mask is None else block.action_mask[ring, step, lane, 0],
            None if block.state is None else block.state[ring, step, lane],
        )

    def _pad(self, lane: int, first: int, stop: int | None = None) -> None:
        """Make the rows from `first` on nobody's: unlike in lock-step not every row of a slot is written."""
        block, ring = self.block, self._ring[lane]
        for array in (block.obs, block.active, block.action, block.log_prob, block.reward, block.state):
            if array is not None:
                array[ring, first:stop, lane] = 0
        block.policy_version[ring, first:stop, lane] = -1
        if block.action_mask is not None:
            block.action_mask[ring, first:stop, lane] = True

    def _closed(self, lane: int, ring: int, step: int) -> None:
        if self._on_close is not None:
            self._on_close(lane, ring, step)

    def _advance(self, lane: int, steps: int) -> None:
        self.is_open[lane] = False
        self._step[lane] += steps
        if self._step[lane] >= self.block.spec.rollout:
            self._publish(lane)

    def _publish(self, lane: int) -> None:
        self.has_slot[lane] = self._written[lane] = False
        self.block.slots.publish(self._ring[lane], lane)

    def _claim(self, lane: int) -> bool:
        block = self.block
        ring = (self._ring[lane] + 1) % block.spec.ring
        if not block.slots.can_claim(ring, lane, self._sync):
            return False
        block.slots.claim(ring, lane, self._generation, self._number[lane])
        self._number[lane] += 1
        self._ring[lane], self._step[lane] = ring, 0
        self.has_slot[lane], self._written[lane] = True, False
        for flags in (block.is_first, block.terminated, block.truncated):
            flags[ring, :, lane] = False
        if block.actor_state is not None:
            block.actor_state[ring, lane] = 0
        return True
