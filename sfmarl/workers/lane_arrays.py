"""Per-lane cursors into a block, many lanes at a time: `Lanes` (lanes.py) for games that are stepped together.

What a lane may do and when is said there; here every method does it for n lanes in a few NumPy calls. Cursors are
arrays, rows are found by one index into flat views of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from sfmarl.memory.block import Block
from sfmarl.memory.slots import FREE


class Look(Protocol):
    """Writes what the agents of `lanes` int64 [n] see into rows [n, *obs], [n, k] and [n, *state]."""

    def __call__(
        self, lanes: np.ndarray, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None
    ) -> None: ...


class LaneArrays:
    """The lanes of one block and the steps they have open. Lanes are int64 [n], each at most once in a call."""

    def __init__(
        self, block: Block, generation: int, sync: bool, on_close: Callable[[int, int, int], None] | None = None
    ) -> None:
        """`on_close(lane, ring, step)` is told of every step whose outcome is written, before its slot is published."""
        lanes = block.spec.lanes
        self.block = block
        self._on_close = on_close
        self._generation = generation
        self._sync = sync
        self._steps, self._lanes = block.spec.rollout, lanes
        # the cursors are where everybody looks for them; a new life begins behind what its predecessor published
        self._ring, self._step = block.cursor
        self._ring[:] = block.slots.newest_published()
        self._step[:] = 0
        self._at = np.zeros(lanes, np.int64)
        """Row of the next action in the flat views of fields with T + 1 steps; stepping on adds L to it."""
        self._behind = np.zeros(lanes, np.int64)
        """What is to be taken from it in fields with T steps: L for each slot before the lane's."""
        self._number = np.full(lanes, 1 + int(block.slots.number.max()))
        self.has_slot = np.zeros(lanes, bool)
        """[L]: the lane owns a slot it is filling."""
        self.is_open = np.zeros(lanes, bool)
        """[L]: the lane acted (or is asked to) and the outcome is not known yet."""
        self._fresh = np.ones(lanes, bool)
        self._obs, self._mask, self._state = _flat(block.obs), _flat(block.action_mask), _flat(block.state, agents=0)
        self._active, self._is_first = _flat(block.active), _flat(block.is_first)
        self._action, self._log_prob, self._reward = map(_flat, (block.action, block.log_prob, block.reward))
        self._terminated, self._truncated = _flat(block.terminated), _flat(block.truncated)
        self._version = _flat(block.policy_version, agents=0)
        shown = self._obs, self._mask, self._state
        self._seen = tuple(None if flat is None else np.empty((lanes, *flat.shape[1:]), flat.dtype) for flat in shown)
        # rows are copied as single items, which is several times faster than as arrays
        self._shown = [
            (_items(flat), _items(seen)) for flat, seen in zip(shown, self._seen, strict=True) if flat is not None
        ]
        # nobody answers what a past life asked for
        block.wants_action[...] = False

    def open_steps(self, lanes: np.ndarray, reward: np.ndarray, look: Look) -> np.ndarray:
        """Close the lanes' open steps with `reward` [n] and open their next ones; return whose were opened, bool [n].

        There is no slot for the others yet. May be called again for these: what was closed stays closed.
        """
        self._look(lanes, look)
        opened = self.is_open[lanes]
        if (closing := opened.nonzero()[0]).size:
            everybody = closing.size == len(lanes)
            closed = lanes if everybody else lanes[closing]
            at = self._at[closed]
            self._reward[at - self._behind[closed]] = reward if everybody else reward[closing]
            # the outcome is what the next step begins from
            self._write(at + self._lanes, slice(len(lanes)) if everybody else closing)
            full = self._advance(closed, at, 1)
            if full is not None:
                opened[closing[full]] = False
                closed = closed[~full]
            self._ask(closed)
        if (beginning := (~opened).nonzero()[0]).size:
            opened[beginning] = self._begin(lanes[beginning], beginning)
        return opened

    def _begin(self, lanes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Open the steps of lanes that have none to close and saw these `rows`; return whose were opened, bool [n]."""
        opened = self.has_slot[lanes]
        if (lacking := (~opened).nonzero()[0]).size:
            opened[lacking] = self._claim(lanes[lacking])
            lanes, rows = lanes[opened], rows[opened]
        at = self._at[lanes]
        self._write(at, rows)
        self._is_first[at] = self._fresh[lanes]
        self._fresh[lanes] = False
        self._ask(lanes)
        return opened

    def _ask(self, lanes: np.ndarray) -> None:
        self._active[self._at[lanes]] = True
        self.block.wants_action[lanes] = self.is_open[lanes] = True

    def acted(self, lanes: np.ndarray) -> np.ndarray:
        """Return the stored actions [n, *action] that the lanes' open steps were answered with."""
        self.block.wants_action[lanes] = False
        return self._action[self._at[lanes] - self._behind[lanes]]

    def end_lives(self, lanes: np.ndarray, reward: np.ndarray, truncated: np.ndarray, look: Look) -> None:
        """Close the open step of each lane that has one as the last of a life, bool `truncated` [n] or terminated.

        A truncated one spends a phantom step.
        """
        is_open = self.is_open[lanes]
        self._fresh[lanes] = True
        if np.count_nonzero(is_open) < len(lanes):
            lanes, reward, truncated = lanes[is_open], reward[is_open], truncated[is_open]
        if np.count_nonzero(truncated):
            self._cut(lanes[truncated], reward[truncated], look)
            lanes, reward = lanes[~truncated], reward[~truncated]
        if lanes.size:
            at = self._at[lanes]
            now = at - self._behind[lanes]
            self._reward[now] = reward
            self._terminated[now] = True
            step = self._step[lanes] + 1
            if np.count_nonzero(last := step == self._steps):
                # nothing more will be written into this slot
                self._pad(lanes[last], step[last])
            self._advance(lanes, at, 1)

    def _cut(self, lanes: np.ndarray, reward: np.ndarray, look: Look) -> None:
        """Close the open steps of lanes whose lives were cut off, and write their final observations behind them."""
        at = self._at[lanes]
        now = at - self._behind[lanes]
        self._reward[now] = reward
        self._truncated[now] = True
        # the phantom's row, and the one behind it: nothing may follow in this slot
        self._pad(lanes, self._step[lanes] + 1, count=2)
        self._look(lanes, look)
        if (mask := self._seen[1]) is not None:
            # nobody acts on it
            mask[: len(lanes)] = True
        self._write(at + self._lanes, slice(len(lanes)))
        self._advance(lanes, at, 2)

    def give_up(self, lanes: np.ndarray) -> int:
        """Take back the lanes' open steps, since their environments failed; return how many had been answered.

        Their rows become the phantom steps of lives that were truncated at the step before.
        """
        self._fresh[lanes] = True
        lanes = lanes[self.is_open[lanes]]
        if not lanes.size:
            return 0
        at, step = self._at[lanes], self._step[lanes]
        now = at - self._behind[lanes]
        lived_on = (step > 0) & ~self._is_first[at]
        self._truncated[now[lived_on] - self._lanes] = True
        self._reward[now] = 0
        self._active[at] = self._is_first[at] = self._terminated[now] = self._truncated[now] = False
        if self._mask is not None:
            self._mask[at] = True
        waiting = self.block.wants_action[lanes]
        for flat in (self._action, self._log_prob):
            flat[now[waiting]] = 0
        self._version[now[waiting]] = -1
        self.block.wants_action[lanes] = False
        if np.count_nonzero(last := step + 1 == self._steps):
            self._pad(lanes[last], step[last] + 1)
        self._step_on(lanes, at, 1)
        return int(np.count_nonzero(~waiting))

    def close_short(self, lanes: np.ndarray) -> None:
        """Publish the lanes' slots as they are, the rest inactive. Steps whose outcome is not known are given up.

        In sync mode a lane that has no slot publishes an empty one: the update waits for every lane.
        """
        closing = self.has_slot[lanes]
        if self._sync and (lacking := (~closing).nonzero()[0]).size:
            closing[lacking] = self._claim(lanes[lacking])
        lanes = lanes[closing]
        is_open = self.is_open[lanes]
        given_up = lanes[is_open]
        at = self._at[given_up]
        self._active[at] = False
        self._reward[at - self._behind[given_up]] = 0.0
        self.is_open[given_up] = False
        self._pad(lanes, self._step[lanes] + is_open)
        self._publish(lanes)

    def close_stale(self, oldest: int) -> None:
        """Close short every slot whose first step was acted by a version before `oldest`, but for lanes asked to act.

        Their lanes act rarely: a slot is too old to learn from before it is full.
        """
        lanes = np.flatnonzero(self.has_slot & ~self.block.wants_action)
        version = self.block.policy_version[self._ring[lanes], 0, lanes]
        if (stale := (version >= 0) & (version < oldest)).any():
            self.close_short(lanes[stale])

    def may_begin(self, lanes: np.ndarray) -> np.ndarray:
        """Whether each lane could claim a slot now, bool [n]: nothing of it waits to be learned from (sync mode)."""
        return (self.block.slots.state[:, lanes] == FREE).all(axis=0)

    def _look(self, lanes: np.ndarray, look: Look) -> None:
        """Fill the first n rows of what is seen."""
        look(lanes, *(None if rows is None else rows[: len(lanes)] for rows in self._seen))

    def _write(self, at: np.ndarray, rows: np.ndarray | slice) -> None:
        """Write these rows of what is seen to where `at` says."""
        for flat, seen in self._shown:
            flat[at] = seen[rows]

    def _pad(self, lanes: np.ndarray, first: np.ndarray, count: int | None = None) -> None:
        """Make the rows from step `first` [n] on nobody's, or `count` of them: not every row of a slot is written."""
        steps = np.arange(self._steps + 1)[:, None]
        padded = steps >= first
        if count is not None:
            padded &= steps < first + count
        step, index = np.nonzero(padded)
        lane = lanes[index]
        at = self._at[lane] + (step - self._step[lane]) * self._lanes
        for flat in (self._obs, self._active, self._state):
            if flat is not None:
                flat[at] = 0
        if self._mask is not None:
            self._mask[at] = True
        within = step < self._steps
        now = at[within] - self._behind[lane[within]]
        for flat in (self._action, self._log_prob, self._reward):
            flat[now] = 0
        self._version[now] = -1

    def _advance(self, lanes: np.ndarray, at: np.ndarray, steps: int) -> np.ndarray | None:
        """Go on from rows `at` [n], whose outcomes are written, and publish the slots that are full.

        Return whose these are, bool [n], or None when nobody's is.
        """
        if self._on_close is not None:
            for lane in lanes.tolist():
                self._on_close(lane, int(self._ring[lane]), int(self._step[lane]))
        return self._step_on(lanes, at, steps)

    def _step_on(self, lanes: np.ndarray, at: np.ndarray, steps: int) -> np.ndarray | None:
        self.is_open[lanes] = False
        self._at[lanes] = at + steps * self._lanes
        step = self._step[lanes] + steps
        self._step[lanes] = step
        full = step >= self._steps
        if not np.count_nonzero(full):
            return None
        self._publish(lanes[full])
        return full

    def _publish(self, lanes: np.ndarray) -> None:
        self.has_slot[lanes] = False
        self.block.slots.publish(self._ring[lanes], lanes)

    def _claim(self, lanes: np.ndarray) -> np.ndarray:
        """Begin the next slot of each lane whose next one is free; return whose, bool [n]."""
        block = self.block
        ring = (self._ring[lanes] + 1) % block.spec.ring
        free = block.slots.claimable(ring, lanes, self._sync)
        lanes, ring = lanes[free], ring[free]
        if lanes.size:
            block.slots.claim(ring, lanes, self._generation, self._number[lanes])
            self._number[lanes] += 1
            self._ring[lanes], self._step[lanes] = ring, 0
            self._behind[lanes] = ring * self._lanes
            self._at[lanes] = ring * ((self._steps + 1) * self._lanes) + lanes
            self.has_slot[lanes] = True
            for flags in (block.is_first, block.terminated, block.truncated):
                flags[ring, :, lanes] = False
            if block.actor_state is not None:
                block.actor_state[ring, lanes] = 0
        return free


def _flat(array: np.ndarray | None, agents: int = 1) -> np.ndarray | None:
    """Return `array` [ring, T, L, 1, ...] (`agents` = 0: without the 1) as a view [ring * T * L, ...]."""
    if array is None:
        return None
    return array.reshape(-1, *array.shape[3 + agents :])


def _items(array: np.ndarray) -> np.ndarray:
    """Return rows [n, ...] as a view [n] of items that hold a row each."""
    size = array[0].nbytes
    return array.reshape(len(array), -1).view(f"V{size}")[:, 0]
