"""A split whose envs move together: one cursor for all lanes, whole rows of a time step at once.

One call of `step` closes step t of every lane and opens t + 1:

    slot r:   obs[t] --action[t]--> env.step --> reward[t], terminated[t], truncated[t], obs[t+1]
    ended by termination:  obs[t+1] is already the next episode's first observation
    ended by truncation:   obs[t+1] is the final observation (a phantom step: nobody acts), a new episode begins at t+2;
                           if t+1 is the slot's last row, the next slot begins with the new episode and no step is lost
    env failed in step t:  row t becomes the phantom step of an episode that was truncated at t - 1, since nothing is
                           known of what followed; obs[t+1] is the first observation of a new episode
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Literal

import numpy as np

from sfmarl.envs.vector import Informative, Rebuilt, Resumable, VectorEnv
from sfmarl.memory.block import Block
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.ghosts import Ghosts
from sfmarl.workers.routing import HomeRoute, SeatRoute, clear_rows, copy_rows
from sfmarl.workers.shaping import Shaping

ALL = slice(None)
NONE = np.empty(0, np.int64)


class LockstepSplit:
    """E environments of a parallel API and the slots they fill."""

    def __init__(
        self,
        env: VectorEnv,
        blocks: Sequence[Block],
        route: HomeRoute | SeatRoute,
        generation: int,
        sync: bool = False,
        team_reward: Literal["env", "sum", "mean"] = "env",
        shaping: Sequence[Shaping] = (),
    ) -> None:
        """`blocks` are the split's, one per team; `sync` claims a slot only once the one before it was learned from.

        `shaping` rewrites the rewards of each block before `team_reward` pools them; empty leaves them as they are.
        """
        self.env = env
        self.blocks = blocks
        infos = env.infos if isinstance(env, Informative) else None
        self.episodes = EpisodeLog(env.num_envs, env.spec.num_agents, infos, bool(shaping), route.identity)
        self.env_steps = 0
        """Env-steps taken: phantom steps are none, nor those in which an environment failed."""
        self.agent_steps = 0
        """Valid actions of live agents in learning seats."""
        self.env_seconds = 0.0
        """Time spent inside the environments and their adapter."""
        self._route = route
        self._rebuilt = env if isinstance(env, Rebuilt) else None
        self._generation = generation
        self._sync = sync
        self._team_reward = team_reward
        self._shaping = shaping
        self._ghosts = [Ghosts(block) for block in blocks if block.in_return is not None]
        self._rollout, self._num_rings = blocks[0].spec.rollout, blocks[0].spec.ring
        self._all_running = np.ones(env.num_envs, bool)
        self._none_ended = np.zeros(env.num_envs, bool)
        self._phantom = np.zeros(env.num_envs, bool)
        self._started = False
        # a new life begins behind what its predecessor published, so that it fills what is free before it has to wait
        self._ring, self._step = self._newest_published(), self._rollout
        self._number = 1 + max(int(block.slots.number.max()) for block in blocks)

    def _newest_published(self) -> int:
        newest = -1, -1
        for slots in (block.slots for block in self.blocks):
            for lane, position in enumerate(slots.newest_published().tolist()):
                if position >= 0:
                    newest = max(newest, (int(slots.number[position, lane]), position))
        return newest[1]

    def advance(self) -> bool:
        """Make sure that there is a row for the next step; False while the ring is full (back-pressure)."""
        if self._step < self._rollout:
            return True
        ring = (self._ring + 1) % self._num_rings
        if not all(block.slots.can_claim(ring, ALL, self._sync) for block in self.blocks):
            return False
        for block in self.blocks:
            block.slots.claim(ring, ALL, self._generation, self._number)
        self._enter_slot(ring)
        self._number += 1
        return True

    def starving(self) -> set[int]:
        """Return no policy: lanes fill together, so whenever they wait a batch is complete."""
        return set()

    def _enter_slot(self, ring: int) -> None:
        if self._started:
            for block in self.blocks:
                copy_rows(block.obs_rows[self._ring][self._rollout], block.obs_rows[ring][0])
        fresh = np.flatnonzero(self._phantom) if self._started else np.arange(self.env.num_envs)
        self._started = True
        self._phantom[:] = False
        for ghosts in self._ghosts:
            ghosts.enter(ring)
        self._move_to(ring, 0)
        if fresh.size:
            self._reset(fresh, ring, 0)

    def _move_to(self, ring: int, step: int) -> None:
        self._ring, self._step = ring, step
        for block in self.blocks:
            block.cursor[0, 0] = ring
            block.cursor[1, 0] = step

    def _reset(self, envs: np.ndarray, ring: int, step: int) -> None:
        self._route.reseat(envs)
        rows = self._route.obs_rows(ring, step)
        for row in rows:
            clear_rows(row, envs)
        begin = perf_counter()
        self.env.reset(envs, rows)
        self.env_seconds += perf_counter() - begin
        self._route.deliver_obs(ring, step, envs)
        if (lost := self._lost()).size:
            # what they were to act on is true, but nobody can any more
            self._break_off(lost, ring, step)
            self.episodes.drop(lost)
            self._phantom[lost] = True

    def _lost(self) -> np.ndarray:
        """Return the envs whose episodes broke off in the env's latest call, int64 [n]."""
        return NONE if self._rebuilt is None or not self._rebuilt.failed else np.array(self._rebuilt.failed)

    def _break_off(self, envs: np.ndarray, ring: int, step: int) -> None:
        """Make row (ring, step) the phantom step of an episode that was truncated just before.

        Where the row before it lies in an earlier slot, that one holds the observation, too.
        """
        at = ring, step, envs
        for block in self.blocks:
            if step:
                before = ring, step - 1, envs
                in_return = (
                    block.active[before] if block.in_return is None else block.active[before] | block.in_return[before]
                )
                block.truncated[before] |= in_return & ~block.terminated[before]
            if block.in_return is not None:
                block.in_return[at] = False
            block.active[at] = block.is_first[at] = False
            if block.action_mask is not None:
                block.action_mask[at] = True
        for ghosts in self._ghosts:
            ghosts.forget(envs)

    def step(self) -> None:
        """Apply the actions at the cursor, write what follows, and publish the slot when it is full."""
        ring, step = self._ring, self._step
        phantoms = np.flatnonzero(self._phantom)
        running = ~self._phantom if phantoms.size else self._all_running
        begin = perf_counter()
        # scripts choose now, from rows without a time axis: what is cleared below are the same rows
        actions = self._route.actions(ring, step) if phantoms.size < self.env.num_envs else []
        self.env_seconds += perf_counter() - begin
        rows, outcome = self._route.obs_rows(ring, step + 1), self._route.outcome_rows(ring, step)
        for row, out in zip(rows, outcome, strict=True):
            row.active.fill(False)
            row.is_first.fill(False)
            if row.action_mask is not None:
                row.action_mask.fill(True)
            out.reward.fill(0)
            out.terminated.fill(False)
            out.truncated.fill(False)

        begin = perf_counter()
        ended = self._none_ended
        if phantoms.size < self.env.num_envs:
            ended = self.env.step(actions, running, rows, outcome)
        self.env_seconds += perf_counter() - begin

        if (lost := self._lost()).size:
            for row, out in zip(rows, outcome, strict=True):
                clear_rows(row, lost)
                out.reward[lost] = out.terminated[lost] = out.truncated[lost] = 0
            self._break_off(lost, ring, step)
        self.env_steps += int(running.sum()) - lost.size
        self.agent_steps += sum(int(np.count_nonzero(block.active[ring, step])) for block in self.blocks)
        self.episodes.add([out.reward for out in outcome], running)
        finished = cut = over = np.flatnonzero(ended)
        if finished.size:
            truncated = np.any([out.truncated[finished].any(axis=1) for out in outcome], axis=0)
            cut, over = finished[truncated], finished[~truncated]
        self._route.deliver_outcome(ring, step)
        self._route.deliver_obs(ring, step + 1, running)
        if self._shaping:
            self._shape(ring, step, [out.reward for out in outcome])
        self._pool_rewards(ring, step, finished, cut)
        self._phantom[:] = False
        if lost.size:
            self.episodes.drop(lost)
            over = np.union1d(over, lost)
        if finished.size:
            self.episodes.finish(finished)
            self._phantom[cut] = True
        begin_anew = np.union1d(phantoms, over) if over.size else phantoms
        if begin_anew.size:
            self._reset(begin_anew, ring, step + 1)
        self._move_to(ring, step + 1)
        if step + 1 == self._rollout:
            for block in self.blocks:
                block.slots.publish(ring, ALL)

    def _shape(self, ring: int, step: int, rewards: list[np.ndarray]) -> None:
        """Shape the learning players' rewards; `rewards` are those of every seat."""
        shaped = list(rewards)
        for block, shaping in zip(self.blocks, self._shaping, strict=True):
            shaped[block.spec.seat] = shaping.step(ring, step)
        self.episodes.add_shaped(shaped)

    def _pool_rewards(self, ring: int, step: int, finished: np.ndarray, cut: np.ndarray) -> None:
        if self._team_reward != "env":
            for block in self.blocks:
                reward = block.reward[ring, step]
                reward[...] = getattr(reward, self._team_reward)(axis=-1, keepdims=True)
        for ghosts in self._ghosts:
            ghosts.step(ring, step, finished, cut)

    def generator_states(self) -> list[dict[str, Any] | None]:
        """Return where the streams of environments (None: not known), seating and scripts are."""
        envs = self.env.generator_states() if isinstance(self.env, Resumable) else [None] * self.env.num_envs
        return [*envs, *map(generator_state, self._route.generators)]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Before the first step: go on from where an earlier run's streams were."""
        if isinstance(self.env, Resumable):
            self.env.restore_generators(states[: self.env.num_envs])
        for generator, state in zip(self._route.generators, states[self.env.num_envs :], strict=True):
            restore_generator(generator, state)

    def close(self) -> None:
        """Close the environments."""
        self.env.close()
