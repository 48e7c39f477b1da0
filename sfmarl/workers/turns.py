"""A split whose agents take turns: every agent of every env is a lane with a cursor of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from sfmarl.envs.turns import RebuiltTurns, ResumableTurns, Turn, TurnEnv
from sfmarl.envs.vector import Informative
from sfmarl.errors import EnvFault
from sfmarl.memory.block import Block
from sfmarl.memory.seats import Scratch
from sfmarl.memory.weights import WeightStore
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.lanes import Lanes
from sfmarl.workers.seating import Acts, HomeSeating, Players, Seating, frozen
from sfmarl.workers.shaping import Shaping


class TurnSplit:
    """E turn-based environments and the slots their agents fill. One lane of each env waits for an action at a time.

    An env whose mover has no slot is *parked* until the learner frees one; the others go on. In sync mode a parked env
    closes all its lanes' slots and goes on when all of them were learned from. An env that fails (EnvFault) and can be
    replaced begins a new episode; steps whose outcome was not known yet are taken back.
    """

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
        scripts: Mapping[tuple[int, int], Acts] | None = None,
        shaping: Sequence[Shaping] = (),
        seeds: Sequence[int] | None = None,
    ) -> None:
        """`weights` are the policies' stores, by policy index; `scratch` is needed for seats that `seating` freezes.

        `scripts` are the frozen players that act here, by (number, seat); the inference worker acts for the others.
        `shaping` rewrites the rewards of each block; empty leaves them as they are.
        `seeds[e]` goes to the first reset of `envs[e]`.
        """
        spec = envs[0].spec
        self.envs = envs
        self.blocks = blocks
        infos = envs[0].infos if isinstance(envs[0], Informative) else None
        self._seating = seating or HomeSeating(range(len(spec.teams)))
        self.episodes = EpisodeLog(len(envs), spec.num_agents, infos, bool(shaping), self._seating.identity)
        self.env_steps = 0
        """Turns taken, but for those in which an environment failed."""
        self.agent_steps = 0
        """Turns taken by learning players."""
        self.env_seconds = 0.0
        """Time spent inside the environments and their adapter, but for writing observations."""
        self._shaping = shaping
        self._lanes = [
            Lanes(block, generation, sync, partial(self._shape, index) if shaping else None)
            for index, block in enumerate(blocks)
        ]
        self._agents = [len(block.spec.team.agents) for block in blocks]
        self._weights = weights
        self._versions = [-1] * len(blocks)
        self._max_policy_lag = max_policy_lag
        self._sync = sync
        self._scratch = {seat.spec.seat: seat for seat in scratch}
        self._scripts = scripts or {}
        self._first_agent = np.cumsum([0] + [len(team.agents) for team in spec.teams]).tolist()
        self._seeds: list[int | None] = [None] * len(envs) if seeds is None else list(seeds)
        self._players: list[Players] = [()] * len(envs)
        self._turns: list[Turn | None] = [None] * len(envs)
        # nothing begins before the first advance, so that streams can be restored
        self._over = [True] * len(envs)
        self._movers: list[int] = []
        self._parked = list(range(len(envs)))
        self._closed: set[int] = set()
        self._wants: list[int] = [0] * len(envs)

    def advance(self) -> bool:
        """Find every env's next mover a row to act from; False while not a single one has one (back-pressure)."""
        if self._parked:
            waiting, self._parked = self._parked, []
            for env in waiting:
                self._seek_mover(env)
        return bool(self._movers)

    def starving(self) -> set[int]:
        """Return the policies whose slots all envs wait for; empty while any env can go on."""
        return set() if self._movers else {self._wants[env] for env in self._parked}

    def step(self) -> None:
        """Apply the answered actions, one per env that is not parked, and play on to the next movers."""
        movers, self._movers = self._movers, []
        self.env_steps += len(movers)
        self.episodes.add_steps(movers)
        spent = 0.0
        for env in movers:
            turn = self._turns[env]
            player = self._players[env][turn.seat]
            if player < 0:
                action = self._answer(env, turn)
            else:
                action = self._lanes[player].acted(env * self._agents[player] + turn.agent)
                self.agent_steps += 1
            instance = self.envs[env]
            try:
                begin = perf_counter()
                instance.act(action)
                turn = instance.turn()
                spent += perf_counter() - begin
                self._take(env, turn)
            except EnvFault as fault:
                self._break_off(env, fault)
            self._seek_mover(env)
        self.env_seconds += spent
        self._close_stale()

    def _shape(self, player: int, lane: int, ring: int, step: int) -> None:
        env, agent = divmod(lane, self._agents[player])
        reward = self._shaping[player].lane(ring, step, lane)
        self.episodes.add_agent_shaped(env, self._first_agent[self.blocks[player].spec.seat] + agent, reward)

    def _begin_episode(self, env: int) -> None:
        self._over[env] = False
        self._players[env] = self._seating.draw(env)
        for seat, scratch in self._scratch.items():
            player = self._players[env][seat]
            scratch.player[env] = frozen(player) if player < 0 else -1
            scratch.is_first[env] = True
        begin = perf_counter()
        seed, self._seeds[env] = self._seeds[env], None
        self.envs[env].reset(seed)
        turn = self.envs[env].turn()
        self.env_seconds += perf_counter() - begin
        self._take(env, turn)

    def _take(self, env: int, turn: Turn | None) -> None:
        """Note whose turn it is in `env`, and what that agent earned; None: the episode is over."""
        self._turns[env] = turn
        if turn is not None and turn.reward:
            agent = self._first_agent[turn.seat] + turn.agent
            self.episodes.add_agent(env, agent, turn.reward)
            if self._shaping and self._players[env][turn.seat] < 0:
                self.episodes.add_agent_shaped(env, agent, turn.reward)

    def _seek_mover(self, env: int) -> None:
        """Play on until somebody must act in `env`, in a new environment if this one fails."""
        searching = True
        while searching:
            try:
                self._play_on(env)
                searching = False
            except EnvFault as fault:
                self._break_off(env, fault)

    def _break_off(self, env: int, fault: EnvFault) -> None:
        """Have an env that failed replaced: its episode will never end. Raises what its `rebuild` does."""
        instance = self.envs[env]
        if not isinstance(instance, RebuiltTurns):
            raise fault
        self._seeds[env] = instance.rebuild(fault)
        for lanes, lane in self._lanes_of(env):
            self.agent_steps -= lanes.give_up(lane)
        # its latest turn, if it had one, has no outcome
        self.env_steps -= int(np.count_nonzero(self.episodes.drop([env])))
        self._turns[env] = None
        self._over[env] = True

    def _play_on(self, env: int) -> None:
        """Play dead agents' turns and episode ends until somebody must act; park the env when that one has no row."""
        if self._closed and env in self._closed and not self._may_go_on(env):
            self._parked.append(env)
            return
        while (turn := self._turns[env]) is None or turn.terminated or turn.truncated:
            if turn is not None:
                self._end_life(env, turn)
                continue
            if not self._over[env]:
                self._end_episode(env)
            if self._sync and not self._has_room(env):
                # an update is due: nothing of the next episode could be part of it
                self._parked.append(env)
                self._close_env(env)
                return
            self._begin_episode(env)
        player = self._players[env][turn.seat]
        if player < 0:
            self._ask_frozen(env, turn)
            self._movers.append(env)
            return
        lane = env * self._agents[player] + turn.agent
        if self._lanes[player].open_step(lane, turn.reward, self.envs[env].observe):
            self._movers.append(env)
            return
        self._wants[env] = self.blocks[player].spec.policy
        self._parked.append(env)
        if self._sync:
            # this env cannot go on before the update, so nothing more will come into its other lanes' slots
            self._close_env(env)

    def _end_life(self, env: int, turn: Turn) -> None:
        """Close the lane of an agent whose life is over, and pass its turn."""
        player, instance = self._players[env][turn.seat], self.envs[env]
        if player >= 0:
            lane = env * self._agents[player] + turn.agent
            self._lanes[player].end_life(lane, turn.reward, turn.terminated, instance.observe)
        else:
            self._scratch[turn.seat].is_first[env, turn.agent] = True
        begin = perf_counter()
        instance.act(None)
        following = instance.turn()
        self.env_seconds += perf_counter() - begin
        self._take(env, following)

    def _ask_frozen(self, env: int, turn: Turn) -> None:
        seat = self._scratch[turn.seat]
        mask = None if seat.action_mask is None else seat.action_mask[env, turn.agent]
        self.envs[env].observe(seat.obs[env, turn.agent], mask, None)
        seat.active[env, turn.agent] = True

    def _answer(self, env: int, turn: Turn) -> np.ndarray:
        """Return the stored action [*action] of a player that does not learn."""
        seat, agent = self._scratch[turn.seat], turn.agent
        seat.active[env, agent] = seat.is_first[env, agent] = False
        script = self._scripts.get((frozen(self._players[env][turn.seat]), turn.seat))
        if script is None:
            return seat.action[env, agent]
        row = slice(env, env + 1), slice(agent, agent + 1)
        mask = None if seat.action_mask is None else seat.action_mask[row]
        return script.act(seat.obs[row], mask, np.array([[agent]]))[0][0, 0]

    def _end_episode(self, env: int) -> None:
        for player, lanes in enumerate(self._lanes):
            if player not in self._players[env]:
                continue
            for lane in range(env * self._agents[player], (env + 1) * self._agents[player]):
                if lanes.is_open[lane]:
                    # the environment forgot this agent: nothing is known of what followed its last action
                    lanes.close_short(lane)
                lanes.end_life(lane, 0.0, True, self.envs[env].observe)
        self.episodes.finish([env])
        self._over[env] = True

    def _lanes_of(self, env: int) -> Iterator[tuple[Lanes, int]]:
        for lanes, agents in zip(self._lanes, self._agents, strict=True):
            for lane in range(env * agents, (env + 1) * agents):
                yield lanes, lane

    def _has_room(self, env: int) -> bool:
        """Whether no lane of `env` has filled a slot that was not learned from yet (sync mode)."""
        return all(lanes.has_slot[lane] or lanes.may_begin(lane) for lanes, lane in self._lanes_of(env))

    def _close_env(self, env: int) -> None:
        self._closed.add(env)
        for lanes, lane in self._lanes_of(env):
            lanes.close_short(lane)

    def _may_go_on(self, env: int) -> bool:
        """Whether every lane of an env that was closed has been learned from: each contributes once per update."""
        if not all(lanes.may_begin(lane) for lanes, lane in self._lanes_of(env)):
            return False
        self._closed.discard(env)
        return True

    def _close_stale(self) -> None:
        """When a policy has a new version: publish the slots that would soon be too old to learn from."""
        for index, lanes in enumerate(self._lanes):
            version = self._weights[lanes.block.spec.policy].version
            if version != self._versions[index]:
                self._versions[index] = version
                lanes.close_stale(version - self._max_policy_lag // 2)

    def generator_states(self) -> list[dict[str, Any] | None]:
        """Return where the streams of environments (None: not known), seating and scripts are."""
        envs = [env.generator_state() if isinstance(env, ResumableTurns) else None for env in self.envs]
        return [*envs, *map(generator_state, self._generators())]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Before the first step: go on from where an earlier run's streams were."""
        count = len(self.envs)
        for env, state in zip(self.envs, states[:count], strict=True):
            if isinstance(env, ResumableTurns):
                env.restore_generator(state)
        for generator, state in zip(self._generators(), states[count:], strict=True):
            restore_generator(generator, state)

    def _generators(self) -> list[np.random.Generator]:
        return [*self._seating.generators, *(script.generator for script in self._scripts.values())]

    def close(self) -> None:
        """Close the environments. Raises EnvFault for the first that fails, after all were closed."""
        faults: list[EnvFault] = []
        for env in self.envs:
            try:
                env.close()
            except EnvFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
