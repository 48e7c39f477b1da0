"""Frame stacking: an agent observes its last k frames, for parallel and for turn-based environments.

An own wrapper, because SuperSuit's frame_stack takes neither Dict observations nor action masks, turns a Discrete into
n^k choices, and shows an agent that is born again its past life. Of plain Boxes it shows what frame_stack_v2 shows.

A life's first observation stands for all k frames. Boxes are stacked along their last axis, images along their
channels into [H, W, k C], whichever way they came (a grey one [H, W] into [H, W, k]), the oldest frame first. Discrete
becomes MultiDiscrete. The action mask and `state()` are not stacked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo.utils.wrappers import BaseParallelWrapper, BaseWrapper

from sfmarl.envs.codec import MASK_KEY
from sfmarl.envs.leaves import pixel_axes
from sfmarl.errors import UsageError
from sfmarl.specs import AgentId

Frames = Sequence[Any]
"""Observations of one agent, the oldest first."""


def stack_frames(env: Any, frames: int) -> Any:
    """Return `env` (parallel or turn-based) with its last `frames` observations stacked; itself when that is 1.

    Raises UsageError for observations that cannot be stacked, and for fewer than one of them.
    """
    if frames == 1:
        return env
    if frames < 1:
        raise UsageError(f"frame_stack = {frames} is too small: it must be at least 1.")
    wrapped = StackedTurns(env, frames) if hasattr(env, "agent_iter") else StackedParallel(env, frames)
    for agent in getattr(env, "possible_agents", ()):
        wrapped.observation_space(agent)
    return wrapped


class _Stacks:
    """Spaces and past frames of every agent."""

    def __init__(self, space_of: Callable[[AgentId], spaces.Space], frames: int) -> None:
        self._space_of, self._frames = space_of, frames
        self._spaces: dict[AgentId, tuple[spaces.Space, spaces.Space]] = {}
        self._past: dict[AgentId, deque[Any]] = {}

    @property
    def agents(self) -> list[AgentId]:
        """Agents that have a past."""
        return list(self._past)

    def space(self, agent: AgentId) -> spaces.Space:
        """Return the stacked observation space."""
        single = self._space_of(agent)
        # the same object as long as the environment's own is the same
        if agent not in self._spaces or self._spaces[agent][0] != single:
            self._spaces[agent] = single, _stacked_space(single, self._frames)
        return self._spaces[agent][1]

    def forget(self, agent: AgentId | None = None) -> None:
        """Begin a new life of one agent, or of all."""
        if agent is None:
            self._past.clear()
        else:
            self._past.pop(agent, None)

    def stacked(self, agent: AgentId, frame: Any) -> Any:
        """Return the past frames with `frame` behind them."""
        past = [*self._past.get(agent, ()), frame]
        missing = self._frames - len(past)
        return _stack(self._space_of(agent), [past[0]] * missing + past)

    def remember(self, agent: AgentId, frame: Any) -> None:
        """Make `frame` one of the past."""
        past = self._past.setdefault(agent, deque(maxlen=self._frames - 1))
        past.append(_copied(frame))


class StackedParallel(BaseParallelWrapper):
    """A ParallelEnv whose agents observe their last k frames."""

    def __init__(self, env: Any, frames: int) -> None:
        super().__init__(env)
        self._stacks = _Stacks(env.observation_space, frames)

    def observation_space(self, agent: AgentId) -> spaces.Space:
        """Return the stacked space."""
        return self._stacks.space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode: every agent's first observation, k times."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self._stacks.forget()
        return self._stack(observations), infos

    def step(self, actions: dict[AgentId, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Step and stack; an agent that ends or disappears forgets."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        stacked = self._stack(observations)
        for agent in self._stacks.agents:
            if agent not in observations or terminations.get(agent) or truncations.get(agent):
                self._stacks.forget(agent)
        return stacked, rewards, terminations, truncations, infos

    def _stack(self, observations: dict[AgentId, Any]) -> dict[AgentId, Any]:
        stacked = {}
        for agent, frame in observations.items():
            stacked[agent] = self._stacks.stacked(agent, frame)
            self._stacks.remember(agent, frame)
        return stacked


class StackedTurns(BaseWrapper):
    """An AECEnv whose agents observe the last k frames that they acted on, the present one included."""

    def __init__(self, env: Any, frames: int) -> None:
        super().__init__(env)
        self._stacks = _Stacks(env.observation_space, frames)

    def observation_space(self, agent: AgentId) -> spaces.Space:
        """Return the stacked space."""
        return self._stacks.space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode."""
        self._stacks.forget()
        self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> None:
        """Act; what the agent saw when it acted becomes its past."""
        agent = self.env.agent_selection
        if action is not None:
            self._stacks.remember(agent, self.env.observe(agent))
        self.env.step(action)

    def observe(self, agent: AgentId) -> Any:
        """Return the agent's past and present frames; asking again changes nothing."""
        frame = self.env.observe(agent)
        return None if frame is None else self._stacks.stacked(agent, frame)


def _stacked_space(space: spaces.Space, frames: int) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        inner = {k: v if k == MASK_KEY else _stacked_space(v, frames) for k, v in space.spaces.items()}
        return spaces.Dict(inner)
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_stacked_space(inner, frames) for inner in space.spaces])
    if isinstance(space, spaces.Box):
        low, high = (_stack_arrays(space, [bound] * frames) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=space.dtype)
    if isinstance(space, spaces.Discrete):
        return spaces.MultiDiscrete([space.n] * frames, start=[space.start] * frames)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(np.tile(space.nvec.ravel(), frames), start=np.tile(space.start.ravel(), frames))
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary(int(np.prod(space.shape)) * frames)
    raise UsageError(f"frame_stack: observations of {space} cannot be stacked; use frame_stack = 1")


def _stack(space: spaces.Space, frames: Frames) -> Any:
    if isinstance(space, spaces.Dict):
        return {
            key: frames[-1][key] if key == MASK_KEY else _stack(inner, [frame[key] for frame in frames])
            for key, inner in space.spaces.items()
        }
    if isinstance(space, spaces.Tuple):
        return tuple(_stack(inner, [frame[i] for frame in frames]) for i, inner in enumerate(space.spaces))
    return _stack_arrays(space, frames)


def _stack_arrays(space: spaces.Space, frames: Frames) -> np.ndarray:
    axes = pixel_axes(space)
    if axes is not None and len(space.shape) == 2:
        return np.stack(frames, axis=-1)
    if axes is not None:
        return np.concatenate([frame.transpose(axes) for frame in frames], axis=-1)
    if isinstance(space, spaces.Box) and space.shape:
        return np.concatenate(frames, axis=-1)
    return np.concatenate([np.ravel(frame) for frame in frames])


def _copied(frame: Any) -> Any:
    """Return a frame that later steps cannot overwrite."""
    if isinstance(frame, dict):
        return {key: None if key == MASK_KEY else _copied(part) for key, part in frame.items()}
    if isinstance(frame, tuple):
        return tuple(_copied(part) for part in frame)
    return frame.copy() if isinstance(frame, np.ndarray) else frame
