"""mpe2's simple_spread_v3 for E worlds at once: equal observations, rewards and endings from equal seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sfmarl.envs.particles import Contacts, continuous_force, discrete_force, integrate
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import UsageError
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

AGENT_RADIUS = 0.15
MESSAGE_SIZE = 2
"""Entries of each other agent's message in the observation; the agents are silent, so they are zero."""


class SimpleSpread:
    """N agents cover N landmarks and do not bump into each other (see `VectorEnv` for the contract).

    The team is paid minus the sum over landmarks of the distance to the nearest agent, each agent minus one per other
    agent it touches, mixed by `local_ratio`. Episodes are truncated after `max_cycles` steps. The worlds' arrays are
    public: writing to them sets the state.
    """

    def __init__(
        self,
        num_envs: int,
        seeds: Sequence[int],
        N: int = 3,
        local_ratio: float = 0.5,
        max_cycles: int = 25,
        continuous_actions: bool = False,
    ) -> None:
        """`seeds[e]` seeds world e's stream of initial states as `reset(seed=...)` does in mpe2. Raises UsageError."""
        if N < 1 or max_cycles < 1 or not 0.0 <= local_ratio <= 1.0:
            raise UsageError(
                f"native/simple_spread needs N >= 1, max_cycles >= 1 and local_ratio in [0, 1], got N={N}, "
                f"max_cycles={max_cycles}, local_ratio={local_ratio}"
            )
        self.num_envs = num_envs
        self.num_agents = N
        self.local_ratio = local_ratio
        self.max_cycles = max_cycles
        self.continuous_actions = continuous_actions
        size = 4 + 2 * N + (2 + MESSAGE_SIZE) * (N - 1)
        if continuous_actions:
            low, high = np.zeros(5, np.float32), np.ones(5, np.float32)
            action = ActionSpec("continuous", low=low, high=high, env_shape=(5,), env_dtype=low.dtype)
        else:
            action = ActionSpec("discrete", nvec=(5,), start=(0,))
        team = TeamSpec("agent", tuple(f"agent_{i}" for i in range(N)), ObsSpec((size,), np.dtype(np.float32)), action)
        self.spec = EnvSpec("native/simple_spread", (team,), state_is_joint=True)

        self.position = np.zeros((num_envs, N, 2))
        """Agents' positions, float64 [E, N, 2]."""
        self.velocity = np.zeros((num_envs, N, 2))
        """Agents' velocities, float64 [E, N, 2]."""
        self.landmarks = np.zeros((num_envs, N, 2))
        """Landmarks' positions, float64 [E, N, 2]."""
        self.steps = np.zeros(num_envs, np.int64)
        """Steps of the running episode, [E]."""
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._contacts = Contacts(np.full(N, AGENT_RADIUS))
        everyone = np.arange(N)
        self._others = np.array([everyone[everyone != i] for i in range(N)], np.int64).reshape(N, N - 1)

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`."""
        for e in envs:
            self.position[e], self.landmarks[e] = self._rngs[e].uniform(-1.0, 1.0, (2, self.num_agents, 2))
        at = list(envs)
        self.velocity[at] = 0.0
        self.steps[at] = 0
        self._observe(at, out[0])
        out[0].active[at] = True
        out[0].is_first[at] = True

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`."""
        rows, outcome_rows = out[0], outcome[0]
        at = slice(None) if running.all() else np.flatnonzero(running)
        position, velocity = self.position[at], self.velocity[at]
        control = (continuous_force if self.continuous_actions else discrete_force)(actions[0][at])
        position, velocity = integrate(position, velocity, control + self._contacts.force(position))
        self.position[at], self.velocity[at] = position, velocity
        self.steps[at] += 1
        ended = running & (self.steps >= self.max_cycles)

        outcome_rows.reward[at] = self._rewards(position, self.landmarks[at])
        outcome_rows.terminated[at] = False
        outcome_rows.truncated[at] = ended[at, None]
        self._observe(at, rows)
        rows.active[at] = ~ended[at, None]
        rows.is_first[at] = False
        return ended

    def generator_states(self) -> list[dict[str, Any] | None]:
        """See `Resumable`."""
        return [generator_state(rng) for rng in self._rngs]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """See `Resumable`."""
        for rng, state in zip(self._rngs, states, strict=True):
            restore_generator(rng, state)

    def close(self) -> None:
        """Nothing is held."""

    def _rewards(self, position: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return the rewards [E, N]."""
        to_landmarks = np.sqrt(np.square(position[:, :, None] - landmarks[:, None]).sum(-1))
        team = -to_landmarks.min(axis=1).sum(axis=1)
        return team[:, None] * (1.0 - self.local_ratio) - self._contacts.count(position) * self.local_ratio

    def _observe(self, at: slice | Sequence[int] | np.ndarray, rows: ObsRows) -> None:
        """Write velocity, position, landmarks, others (relative to the agent) and their silent messages."""
        agents = self.num_agents
        position = self.position[at]
        relative = position[:, self._others] - position[:, :, None]
        landmarks = self.landmarks[at][:, None] - position[:, :, None]
        obs = rows.obs
        first_other = 4 + 2 * agents
        messages = first_other + 2 * (agents - 1)
        obs[at, :, 0:2] = self.velocity[at]
        obs[at, :, 2:4] = position
        obs[at, :, 4:first_other] = landmarks.reshape(*landmarks.shape[:2], -1)
        obs[at, :, first_other:messages] = relative.reshape(*relative.shape[:2], -1)
        obs[at, :, messages:] = 0.0
