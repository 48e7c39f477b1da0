"""A split of one `TurnVectorEnv`: `TurnSplit` (turns.py) for games that are stepped together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from sfmarl.envs.guards import GuardedTurnVectorEnv
from sfmarl.envs.vector import Informative, Resumable
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import EnvFault
from sfmarl.memory.block import Block
from sfmarl.memory.seats import Scratch
from sfmarl.memory.weights import WeightStore
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.lane_arrays import LaneArrays
from sfmarl.workers.seating import Acts, HomeSeating, Seating, frozen
from sfmarl.workers.shaping import Shaping

_NONE = np.empty(0, np.int64)
_ELSEWHERE = np.iinfo(np.int64).min
"""Entry of `Players` for all frozen ones that an inference worker acts for: here they are alike."""


class Asked(NamedTuple):
    """Envs in which the same player is to move from the same seat."""

    seat: int
    player: int
    """An entry of `Players`."""
    envs: np.ndarray
    """int64 [n]."""


class VectorTurnSplit:
    """E copies of a game and the slots their players fill. Lane e of a block is its player's seat in env e.

    Envs are handled in groups of the same mover, seat and player; what happens to each is what `TurnSplit` does: an env
    whose mover has no slot is *parked* until the learner frees one, while the others go on. In sync mode a parked env
    closes all its lanes' slots and goes on when all of them were learned from. When the game fails (EnvFault) and can
    be replaced, all episodes break off.
    """

    def __init__(
        self,
        env: TurnVectorEnv,
        blocks: Sequence[Block],
        generation: int,
        weights: Sequence[WeightStore],
        max_policy_lag: int,
        sync: bool = False,
        seating: Seating | None = None,
        scratch: Sequence[Scratch] = (),
        scripts: Mapping[tuple[int, int], Acts] | None = None,
        shaping: Sequence[Shaping] = (),
    ) -> None:
        """See `TurnSplit`; the game was given its seeds when it was built."""
        count, seats = env.num_envs, len(env.spec.teams)
        self.env = env
        self.blocks = blocks
        self._seating = seating or HomeSeating(range(seats))
        infos = env.infos if isinstance(env, Informative) else None
        self.episodes = EpisodeLog(count, seats, infos, bool(shaping), self._seating.identity)
        self.env_steps = 0
        """Turns taken, but for those that the game did not live to tell of."""
        self.agent_steps = 0
        """Turns taken by learning players."""
        self.env_seconds = 0.0
        """Time spent inside the games, but for writing observations."""
        self._shaping = shaping
        self._lanes = [
            LaneArrays(block, generation, sync, partial(self._shape, index) if shaping else None)
            for index, block in enumerate(blocks)
        ]
        self._weights = weights
        self._versions = [-1] * len(blocks)
        self._max_policy_lag = max_policy_lag
        self._sync = sync
        self._scratch = {seat.spec.seat: seat for seat in scratch}
        self._scripts = scripts or {}
        self._acts_here = {frozen(player) for player, _ in self._scripts}
        self._players = np.full((count, seats), _ELSEWHERE)
        """[E, N] int64: who sits where, as this split tells them apart."""
        self._owed = np.zeros((count, seats))
        """[E, N]: what each seat earned since it acted, or since the episode began."""
        # nothing begins before the first advance, so that streams can be restored
        self._over = np.ones(count, bool)
        self._asked: list[Asked] = []
        self._parked = np.arange(count)
        self._closed = np.zeros(count, bool)
        self._wants = np.zeros(count, np.int64)

    def advance(self) -> bool:
        """Find every env's next mover a row to act from; False while not a single one has one (back-pressure)."""
        if not self._parked.size:
            return bool(self._asked)
        searching = True
        while searching:
            waiting, self._parked = self._parked, _NONE
            try:
                self._seek_movers(waiting)
                searching = False
            except EnvFault as fault:
                self._break_off(fault)
        return bool(self._asked)

    def starving(self) -> set[int]:
        """Return the policies whose slots all envs wait for; empty while any env can go on."""
        return set() if self._asked else set(self._wants[self._parked].tolist())

    def step(self) -> None:
        """Apply the answered actions, one per env that is not parked, and play on to the next movers."""
        asked, self._asked = self._asked, []
        envs = np.concatenate([group.envs for group in asked])
        actions = np.concatenate([self._answers(group) for group in asked])
        try:
            self._act(envs, actions)
        except EnvFault as fault:
            self._break_off(fault)
        self._close_stale()

    def _act(self, envs: np.ndarray, actions: np.ndarray) -> None:
        self.env_steps += len(envs)
        self.episodes.add_steps(envs)
        begin = perf_counter()
        outcome = self.env.act(envs, actions)
        self.env_seconds += perf_counter() - begin
        self._owed[envs] += outcome.reward
        self.episodes.add_turns(envs, outcome.reward)
        if self._shaping:
            self.episodes.add_turns_shaped(envs, np.where(self._players[envs] < 0, outcome.reward, 0.0))
        over = outcome.terminated | outcome.truncated
        if np.count_nonzero(over):
            self._end_episodes(envs[over], outcome.truncated[over])
        # in their order, as scripts would draw for them one by one
        self._seek_movers(np.sort(envs))

    def _break_off(self, fault: EnvFault) -> None:
        """Have the game replaced: no running episode will ever end. Raises what its `rebuild` does."""
        if not isinstance(self.env, GuardedTurnVectorEnv):
            raise fault
        self.env.rebuild(fault)
        every = np.arange(self.env.num_envs)
        self.agent_steps -= sum(lanes.give_up(every) for lanes in self._lanes)
        # their latest turns have no outcome
        self.env_steps -= int(np.count_nonzero(self.episodes.drop(every)))
        for rows in self._scratch.values():
            rows.active[...] = False
        self._over[:] = True
        self._asked, self._parked = [], every

    def _shape(self, player: int, lane: int, ring: int, step: int) -> None:
        reward = self._shaping[player].lane(ring, step, lane)
        self.episodes.add_agent_shaped(lane, self.blocks[player].spec.seat, reward)

    def _seek_movers(self, envs: np.ndarray) -> None:
        """Begin the episodes that are due and ask every mover; park the envs whose mover has no row."""
        if np.count_nonzero(self._closed):
            held = self._closed[envs]
            held[held] = ~self._may_go_on(envs[held])
            self._parked = np.concatenate([self._parked, envs[held]])
            envs = envs[~held]
            self._closed[envs] = False
        over = self._over[envs]
        if np.count_nonzero(over):
            if self._sync:
                # an update is due: nothing of the next episode could be part of it
                full = over & ~self._have_room(envs)
                self._park(envs[full])
                envs, over = envs[~full], over[~full]
            if (due := envs[over]).size:
                self._begin_episodes(due)
        for group in self._groups(envs):
            self._ask(group)

    def _groups(self, envs: np.ndarray) -> Iterator[Asked]:
        """Yield `envs` by their mover."""
        to_move = self.env.seat[envs]
        for seat in range(self._players.shape[1]):
            here = envs[to_move == seat]
            if here.size:
                yield from self._by_player(seat, here)

    def _by_player(self, seat: int, envs: np.ndarray) -> Iterator[Asked]:
        """Yield `envs` by who sits in `seat`."""
        players = self._players[envs, seat]
        present = set(players.tolist())
        for player in sorted(present):
            yield Asked(seat, player, envs if len(present) == 1 else envs[players == player])

    def _ask(self, group: Asked) -> None:
        seat, player, envs = group
        if player < 0:
            self._ask_frozen(seat, envs)
            self._asked.append(group)
            return
        opened = self._lanes[player].open_steps(envs, self._owed[envs, seat], partial(self.env.observe, seat))
        self._owed[envs, seat] = 0
        count = np.count_nonzero(opened)
        if count == len(envs):
            self._asked.append(group)
            return
        if count:
            self._asked.append(Asked(seat, player, envs[opened]))
        self._wants[envs[~opened]] = self.blocks[player].spec.policy
        self._park(envs[~opened])

    def _park(self, envs: np.ndarray) -> None:
        self._parked = np.concatenate([self._parked, envs])
        if self._sync:
            # they cannot go on before the update, so nothing more will come into their other lanes' slots
            self._closed[envs] = True
            for lanes in self._lanes:
                lanes.close_short(envs)

    def _ask_frozen(self, seat: int, envs: np.ndarray) -> None:
        rows = self._scratch[seat]
        obs = np.empty((len(envs), *rows.obs.shape[2:]), rows.obs.dtype)
        mask = None if rows.action_mask is None else np.empty((len(envs), rows.action_mask.shape[2]), bool)
        self.env.observe(seat, envs, obs, mask, None)
        rows.obs[envs, 0] = obs
        if mask is not None:
            rows.action_mask[envs, 0] = mask
        rows.active[envs, 0] = True

    def _answers(self, group: Asked) -> np.ndarray:
        """Return the stored actions [n, *action] of the movers of a group."""
        seat, player, envs = group
        if player >= 0:
            self.agent_steps += len(envs)
            return self._lanes[player].acted(envs)
        rows = self._scratch[seat]
        rows.active[envs] = rows.is_first[envs] = False
        script = self._scripts.get((frozen(player), seat))
        if script is None:
            return rows.action[envs, 0]
        mask = None if rows.action_mask is None else rows.action_mask[envs]
        return script.act(rows.obs[envs], mask, np.zeros((len(envs), 1), np.int64))[0][:, 0]

    def _begin_episodes(self, envs: np.ndarray) -> None:
        self._over[envs] = False
        self._owed[envs] = 0
        draws = [self._seating.draw(env) for env in envs.tolist()]
        drawn = np.array(draws)
        for seat, rows in self._scratch.items():
            players = drawn[:, seat]
            rows.player[envs] = np.where(players < 0, frozen(players), -1)
            rows.is_first[envs] = True
        here = self._acts_here
        self._players[envs] = [[who if who >= 0 or who in here else _ELSEWHERE for who in seats] for seats in draws]
        begin = perf_counter()
        self.env.reset(envs)
        self.env_seconds += perf_counter() - begin

    def _end_episodes(self, envs: np.ndarray, truncated: np.ndarray) -> None:
        """Close the lanes of every seat; `truncated` [n] says which episodes were cut off."""
        cut = np.zeros(len(self._over), bool)
        cut[envs] = truncated
        for seat in range(self._players.shape[1]):
            for _, player, lanes in self._by_player(seat, envs):
                if player >= 0:
                    self._lanes[player].end_lives(
                        lanes, self._owed[lanes, seat], cut[lanes], partial(self.env.observe, seat)
                    )
        self.episodes.finish(envs)
        self._over[envs] = True

    def _have_room(self, envs: np.ndarray) -> np.ndarray:
        """Whether no lane of each env has filled a slot that was not learned from yet, bool [n] (sync mode)."""
        return np.logical_and.reduce([lanes.has_slot[envs] | lanes.may_begin(envs) for lanes in self._lanes])

    def _may_go_on(self, envs: np.ndarray) -> np.ndarray:
        """Whether every lane of envs that were closed has been learned from: each contributes once per update."""
        return np.logical_and.reduce([lanes.may_begin(envs) for lanes in self._lanes])

    def _close_stale(self) -> None:
        """When a policy has a new version: publish the slots that would soon be too old to learn from."""
        for index, lanes in enumerate(self._lanes):
            version = self._weights[lanes.block.spec.policy].version
            if version != self._versions[index]:
                self._versions[index] = version
                lanes.close_stale(version - self._max_policy_lag // 2)

    def generator_states(self) -> list[dict[str, Any] | None]:
        """Return where the streams of games (None: not known), seating and scripts are."""
        games = self.env.generator_states() if isinstance(self.env, Resumable) else [None] * self.env.num_envs
        return [*games, *map(generator_state, self._generators())]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Before the first step: go on from where an earlier run's streams were."""
        if isinstance(self.env, Resumable):
            self.env.restore_generators(states[: self.env.num_envs])
        for generator, state in zip(self._generators(), states[self.env.num_envs :], strict=True):
            restore_generator(generator, state)

    def _generators(self) -> list[np.random.Generator]:
        return [*self._seating.generators, *(script.generator for script in self._scripts.values())]

    def close(self) -> None:
        """Close the games."""
        self.env.close()
