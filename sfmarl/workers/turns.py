"""A split whose agents take turns: every agent of every env is a lane with a cursor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from sfmarl.envs.turns import Turn, TurnEnv
from sfmarl.memory.block import Block
from sfmarl.memory.seats import Scratch
from sfmarl.memory.weights import WeightStore
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.lanes import Lanes
from sfmarl.workers.seating import HomeSeating, Players, Seating, frozen
from sfmarl.workers.shaping import Shaping


class TurnSplit:
    """E turn-based environments and the slots their agents fill. One lane of each env waits for an action at a time."""

    def __init__(
        self,
        envs: Sequence[TurnEnv],
        blocks: Sequence[Block],
        generation: int,
        weights: Sequence[WeightStore],
        max_policy_lag: int,
        sync: bool = False,
        seating: Seating | None = None,
        scratch: Sequence[Scratch] = (),
        shaping: Sequence[Shaping] = (),
    ) -> None:
        """`weights` are the policies' stores, by policy index; `scratch` is needed when `seating` freezes seats.

        `shaping` rewrites the rewards of each block; empty leaves them as they are.
        """
        spec = envs[0].spec
        self.envs = envs
        self.blocks = blocks
        self.episodes = EpisodeLog(len(envs), spec.num_agents, shaped=bool(shaping))
        self.env_steps = 0
        """Turns taken."""
        self.agent_steps = 0
        """Turns taken by learning players."""
        self.env_seconds = 0.0
        self._shaping = shaping
        self._lanes = [
            Lanes(block, generation, sync, partial(self._shape, player) if shaping else None)
            for player, block in enumerate(blocks)
        ]
        self._weights = weights
        self._max_policy_lag = max_policy_lag
        self._sync = sync
        self._seating = seating or HomeSeating(len(spec.teams))
        self._scratch = scratch
        self._first_agent = np.cumsum([0] + [len(team.agents) for team in spec.teams])
        self._players: list[Players] = [()] * len(envs)
        self._turns: list[Turn | None] = [None] * len(envs)
        self._parked = set(range(len(envs)))
        for env in range(len(envs)):
            self._begin_episode(env)

    def advance(self) -> bool:
        """Find every env's next mover a row to act from; False while not a single one has one (back-pressure)."""
        for env in sorted(self._parked):
            if self._seek_mover(env):
                self._parked.discard(env)
        return len(self._parked) < len(self.envs)

    def step(self) -> None:
        """Apply the answered actions, one per env that is not parked, and play on to the next movers."""
        for env, instance in enumerate(self.envs):
            if env in self._parked:
                continue
            turn = self._turns[env]
            player = self._players[env][turn.seat]
            if player < 0:
                self._scratch[turn.seat].active[env, turn.agent] = False
                instance.act(self._scratch[turn.seat].action[env, turn.agent])
            else:
                lane = self._lane(env, player, turn)
                self.blocks[player].wants_action[lane] = False
                instance.act(self._lanes[player].action(lane))
                self.agent_steps += 1
            self.env_steps += 1
            self.episodes.add_step(env)
            self._turns[env] = None
            self._parked.add(env)
        self._close_stale()

    def _lane(self, env: int, player: int, turn: Turn) -> int:
        return env * len(self.blocks[player].spec.team.agents) + turn.agent

    def _shape(self, player: int, lane: int, ring: int, step: int) -> None:
        env, agent = divmod(lane, len(self.blocks[player].spec.team.agents))
        reward = self._shaping[player].lane(ring, step, lane)
        self.episodes.add_agent_shaped(env, self._first_agent[player] + agent, reward)

    def _begin_episode(self, env: int) -> None:
        self._players[env] = self._seating.draw(env)
        for seat, player in enumerate(self._players[env]):
            if self._scratch:
                self._scratch[seat].player[env] = frozen(player) if player < 0 else -1
        self.envs[env].reset()

    def _seek_mover(self, env: int) -> bool:
        """Play dead agents' turns and episode ends until somebody must act; False when that one has no row."""
        while True:
            if self._turns[env] is None:
                turn = self.envs[env].turn()
                if turn is None:
                    self._end_episode(env)
                    continue
                self._turns[env] = turn
                self.episodes.add_agent(env, self._first_agent[turn.seat] + turn.agent, turn.reward)
            turn = self._turns[env]
            player = self._players[env][turn.seat]
            if turn.terminated or turn.truncated:
                if player >= 0:
                    lane = self._lane(env, player, turn)
                    self._lanes[player].end_life(lane, turn.reward, turn.terminated, self.envs[env].observe)
                self.envs[env].act(None)
                self._turns[env] = None
                continue
            if player < 0:
                return self._ask_frozen(env, turn)
            if self._lanes[player].open_step(self._lane(env, player, turn), turn.reward, self.envs[env].observe):
                return True
            if self._sync:
                # this env cannot go on before the update, so nothing more will come into its other lanes' slots
                self._close_env(env)
            return False

    def _ask_frozen(self, env: int, turn: Turn) -> bool:
        seat = self._scratch[turn.seat]
        mask = None if seat.action_mask is None else seat.action_mask[env, turn.agent]
        self.envs[env].observe(seat.obs[env, turn.agent], mask, None)
        seat.active[env, turn.agent] = True
        return True

    def _end_episode(self, env: int) -> None:
        for player, lanes in enumerate(self._lanes):
            if player not in self._players[env]:
                continue
            agents = len(lanes.block.spec.team.agents)
            for lane in range(env * agents, (env + 1) * agents):
                if lanes.is_open[lane]:
                    # the environment forgot this agent: nothing is known of what followed its last action
                    lanes.close_short(lane)
                lanes.end_life(lane, 0.0, True, self.envs[env].observe)
        self.episodes.finish([env])
        self._begin_episode(env)

    def _close_env(self, env: int) -> None:
        for lanes in self._lanes:
            agents = len(lanes.block.spec.team.agents)
            for lane in range(env * agents, (env + 1) * agents):
                lanes.close_short(lane)

    def _close_stale(self) -> None:
        """Publish slots whose oldest step would soon be too old to learn from: their lanes act rarely."""
        for lanes in self._lanes:
            version = self._weights[lanes.block.spec.policy].version
            for lane in np.flatnonzero(lanes.has_slot & ~lanes.block.wants_action):
                oldest = lanes.oldest_version(lane)
                if oldest >= 0 and version - oldest > self._max_policy_lag // 2:
                    lanes.close_short(lane)

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()
