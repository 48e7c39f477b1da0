"""A PettingZoo AECEnv behind the turn protocol: `last()` in, one row of a trajectory slot out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sfmarl.envs.aec_state import state_holder
from sfmarl.envs.codec import CodecError, write_mask
from sfmarl.envs.infos import EpisodeInfos
from sfmarl.envs.leaves import require_finite
from sfmarl.envs.probe import TeamCodec
from sfmarl.envs.rebuild import RAISED, Rebuild
from sfmarl.envs.turns import Turn
from sfmarl.errors import EnvFault
from sfmarl.seeding import generator_state, numpy_generator, restore_generator
from sfmarl.specs import EnvSpec

MAX_IDLE_EPISODES = 100
"""So many episodes in a row without a single turn are taken for an environment that never lets anybody act."""


class AecTurnEnv:
    """One AECEnv (see `TurnEnv` for the contract).

    An agent's reward is what `last()` calls cumulative: all it earned since it acted, whoever's turn brought it. One
    that is flagged both ways counts as terminated; so does one that is cut off without a final observation to
    bootstrap from. An agent that appears again after its life is over begins a new one.

    Every method raises EnvFault when the environment fails or does not keep to its spaces.
    """

    def __init__(
        self,
        env: Any,
        copy: int,
        spec: EnvSpec,
        codecs: Sequence[TeamCodec],
        infos: EpisodeInfos | None = None,
        rebuild: Rebuild | None = None,
    ) -> None:
        """`copy` is the environment's number among its likes, all of which are shown to the same `infos`.

        `rebuild` is asked for its successor once it failed.
        """
        self.spec = spec
        self.infos = infos
        """See `Informative`."""
        self._env = env
        self._copy = copy
        self._rebuild = rebuild
        self._seats = {
            agent: (seat, index, codecs[seat])
            for seat, team in enumerate(spec.teams)
            for index, agent in enumerate(team.agents)
        }
        self._seed: int | None = None
        self._episode = 0
        self._step = 0
        self._idle = 0
        self._turn: Turn | None = None
        self._raw: Any = None
        self._info: Any = None
        self._agent: Any = None
        self._codec = codecs[0]
        self._restored: dict[str, Any] | None = None
        self._holder: Any = None

    def reset(self, seed: int | None = None) -> None:
        """See `TurnEnv.reset`."""
        self._idle = 0 if self._step or not self._episode else self._idle + 1
        if self._idle == MAX_IDLE_EPISODES:
            raise self._fault(f"{self._idle} episodes in a row ended before any agent could act")
        self._episode += 1
        self._step = 0
        self._turn = None
        try:
            if seed is None:
                self._env.reset()
            else:
                self._seed = seed
                self._env.reset(seed=seed)
                generator = numpy_generator(self._env)
                # only now, because seeding may make a new generator
                if generator is not None and restore_generator(generator, self._restored):
                    self._env.reset()
        except RAISED as error:
            raise self._failure("reset()", error) from error
        self._holder = state_holder(self._env)

    def turn(self) -> Turn | None:
        """See `TurnEnv.turn`."""
        if self._turn is not None:
            return self._turn
        env, holder = self._env, self._holder
        try:
            if holder is not None:
                # what env.last() would answer
                if not holder.agents:
                    return None
                agent = holder.agent_selection
                reward = holder._cumulative_rewards[agent]
                terminated, truncated = holder.terminations[agent], holder.truncations[agent]
                self._info = holder.infos[agent]
                self._raw = None if terminated else env.observe(agent)
            else:
                if not env.agents:
                    return None
                agent = env.agent_selection
                self._raw, reward, terminated, truncated, self._info = env.last()
        except RAISED as error:
            raise self._failure("last()", error) from error
        try:
            seat, index, self._codec = self._seats[agent]
        except (KeyError, TypeError):
            raise self._fault(
                f"it is the turn of {agent!r}, which is not in possible_agents "
                f"({', '.join(map(str, self._seats))}); name every agent that can appear there"
            ) from None
        self._agent = agent
        if self.infos is not None and (self.infos.every_step or terminated or truncated):
            self.infos.note(self._copy, {agent: self._info}, self._where)
        if type(reward) is not float and type(reward) is not int:
            reward = self._number(reward)
        if not math.isfinite(reward):
            raise self._fault(f"agent {self._agent!r}: reward: expected a finite number, got {reward}")
        if terminated or truncated:
            over = bool(terminated) or self._raw is None
            self._turn = Turn(seat, index, reward, over, not over)
        else:
            self._turn = Turn(seat, index, reward, False, False)
        return self._turn

    def observe(self, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None) -> None:
        """See `TurnEnv.observe`."""
        codec = self._codec
        try:
            codec.obs.write_one(self._raw, obs)
            if action_mask is not None:
                if self._turn.truncated:
                    # nobody acts on it; most environments answer with zeros
                    action_mask[...] = True
                elif not write_mask(codec.mask_of(self._raw, self._info), action_mask, codec.action.spec):
                    raise CodecError("its action mask leaves no legal action")
        except CodecError as error:
            raise self._fault(f"agent {self._agent!r}: observation: {error}") from error
        if state is not None:
            try:
                state[...] = np.asarray(self._env.state(), np.float32).reshape(self.spec.state_shape)
                require_finite(state, state.ndim)
            except RAISED as error:
                raise self._failure("state()", error) from error

    def act(self, action: np.ndarray | None) -> None:
        """See `TurnEnv.act`."""
        self._turn = None
        move = None
        if action is not None:
            move = self._codec.action.decode_one(action)
            self._step += 1
        try:
            self._env.step(move)
        except RAISED as error:
            raise self._failure(f"step({move!r:.200}) of {self._agent!r}", error) from error

    def rebuild(self, fault: EnvFault) -> int:
        """See `RebuiltTurns`."""
        if self._rebuild is None:
            raise fault
        self._env, (self._seed,) = self._rebuild(self._env, [self._copy], fault)
        self._episode = self._step = self._idle = 0
        self._turn = self._restored = None
        return self._seed

    def render(self) -> Any:
        """Return a frame: uint8 [height, width, 3], or None where it draws to a window or not at all."""
        try:
            return self._env.render()
        except RAISED as error:
            raise self._failure("render()", error) from error

    def generator_state(self) -> dict[str, Any] | None:
        """See `ResumableTurns`: of environments that keep their generator in `np_random`."""
        generator = numpy_generator(self._env)
        return None if generator is None else generator_state(generator)

    def restore_generator(self, state: dict[str, Any] | None) -> None:
        """See `ResumableTurns`."""
        self._restored = state

    def close(self) -> None:
        """Close the environment."""
        try:
            self._env.close()
        except RAISED as error:
            raise self._failure("close()", error) from error

    def _number(self, reward: Any) -> float:
        try:
            return float(np.asarray(reward, np.float64).reshape(()))
        except (TypeError, ValueError) as error:
            raise self._fault(f"agent {self._agent!r}: reward: expected a number, got {reward!r:.200}") from error

    def _where(self) -> str:
        return f"{self.spec.env}, copy {self._copy} (seed {self._seed}), episode {self._episode}, step {self._step}"

    def _fault(self, message: str) -> EnvFault:
        return EnvFault(f"{self._where()}: {message}", self._copy)

    def _failure(self, what: str, error: BaseException) -> EnvFault:
        return self._fault(f"{what} raised {type(error).__name__}: {error}")
