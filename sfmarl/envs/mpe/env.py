"""The vector protocol for particle worlds; a scenario says what there is, what is seen and what is paid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar

import numpy as np

from sfmarl.envs.mpe.controls import Controls
from sfmarl.envs.mpe.entities import Agents, Entities, Landmarks
from sfmarl.envs.mpe.view import View
from sfmarl.envs.mpe.worlds import Worlds
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import UsageError
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.specs import EnvSpec, ObsSpec, TeamSpec

PADDING = 8
"""Unused numbers at the end of a buffer's rows: rows a power of two apart share cache sets, slow to transpose."""


@dataclass(eq=False)
class ParticleEnv(ABC):
    """E worlds of one scenario of mpe2 (see `VectorEnv` for the contract).

    Fields are the scenario's keyword arguments, with mpe2's names and defaults; seeds begin the worlds' random streams
    as `reset(seed=...)` does there. Episodes are truncated after `max_cycles` steps.
    """

    num_envs: int
    seeds: InitVar[Sequence[int]]
    """`seeds[e]` seeds world e's stream of initial states."""
    max_cycles: int = field(default=25, kw_only=True)
    """Steps after which an episode is truncated."""
    continuous_actions: bool = field(default=False, kw_only=True)
    dynamic_rescaling: bool = field(default=True, kw_only=True)
    """Of mpe2's pictures, of which there are none here."""

    name: ClassVar[str]
    """mpe2's name of the scenario without its version."""
    num_goals: ClassVar[int] = 0
    """Landmarks drawn anew in every episode, each among all of them."""
    least: ClassVar[Mapping[str, int]] = {}
    """Smallest value of each argument that counts something."""

    @abstractmethod
    def agents(self) -> Sequence[Agents]:
        """Return the teams in mpe2's order of agents."""

    @abstractmethod
    def landmarks(self) -> Sequence[Landmarks]:
        """Return the landmarks in mpe2's order."""

    @abstractmethod
    def observe(self, me: View) -> Sequence[np.ndarray]:
        """Return the pieces of the team's observations, each [n, ..., E], or [1, ..., E] if it is the same for all."""

    @abstractmethod
    def rewards(self, worlds: Worlds) -> Mapping[str, np.ndarray]:
        """Return each team's rewards [n, E], or [E] if they are the same for all."""

    def succeeded(self, worlds: Worlds) -> np.ndarray | None:
        """Return which worlds [E] have reached what terminates their episode; None in a scenario without an end."""
        return None

    def __post_init__(self, seeds: Sequence[int]) -> None:
        self._check()
        entities = Entities(self.agents(), self.landmarks())
        self.worlds = Worlds(entities, self.num_goals, self.num_envs)
        """The state; writing to its arrays changes it."""
        self.steps = np.zeros(self.num_envs, np.int64)
        """Steps of the running episode, [E]."""
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._controls = [Controls(team, self.continuous_actions) for team in entities.teams]
        sizes = [self._obs_size(View(self.worlds, team.name)) for team in entities.teams]
        self._buffers = [
            np.zeros((team.count, size, self.num_envs + PADDING), np.float32)
            for team, size in zip(entities.teams, sizes, strict=True)
        ]
        teams = tuple(
            TeamSpec(
                team.name,
                tuple(f"{team.name}_{i}" for i in range(team.count)),
                ObsSpec((size,), np.dtype(np.float32)),
                controls.spec,
            )
            for team, size, controls in zip(entities.teams, sizes, self._controls, strict=True)
        )
        alone = len(teams) == 1
        state = sum(len(team.agents) * size for team, size in zip(teams, sizes, strict=True))
        self.spec = EnvSpec(f"native/{self.name}", teams, state_shape=None if alone else (state,), state_is_joint=alone)

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`."""
        at = np.asarray(envs, np.int64)
        fresh = Worlds(self.worlds.entities, self.num_goals, len(at))
        places = np.empty((len(at), len(fresh.position), 2))
        goals = []
        for place, e in zip(places, at.tolist(), strict=True):
            rng = self._rngs[e]
            goals.append([rng.integers(fresh.entities.num_landmarks) for _ in range(self.num_goals)])
            self.place(rng, place)
        fresh.goals[...] = np.array(goals).T
        span = fresh.entities.span[:, None, None]
        # -span + 2 span x, in the order in which NumPy's `uniform` computes it
        fresh.position[...] = -span + (2.0 * span) * places.transpose(1, 2, 0)
        self.worlds.put(at, fresh)
        self.steps[at] = 0
        self._observe(fresh, at, out)
        for rows in out:
            rows.active[at] = True
            rows.is_first[at] = True

    def place(self, rng: np.random.Generator, out: np.ndarray) -> None:
        """Draw where everything lies into `out` [M, 2], uniform in [0, 1), in mpe2's order."""
        rng.random(out=out)

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`."""
        everywhere = running.all()
        at = slice(None) if everywhere else np.flatnonzero(running)
        worlds = self.worlds if everywhere else self.worlds.at(at)
        self._act(worlds, [stored[at] for stored in actions])
        if not everywhere:
            self.worlds.put(at, worlds)
        self.steps[at] += 1
        truncated = self.steps[at] >= self.max_cycles
        succeeded = self.succeeded(worlds)
        terminated = np.zeros_like(truncated) if succeeded is None else succeeded & ~truncated
        over = truncated | terminated

        paid = self.rewards(worlds)
        for team, rows in zip(worlds.entities.teams, outcome, strict=True):
            rows.reward[at] = np.atleast_2d(paid[team.name]).T
            rows.terminated[at] = terminated[:, None]
            rows.truncated[at] = truncated[:, None]
        self._observe(worlds, at, out)
        for rows in out:
            rows.active[at] = ~over[:, None]
            rows.is_first[at] = False
        ended = np.zeros(self.num_envs, bool)
        ended[at] = over
        return ended

    def generator_states(self) -> list[dict[str, Any] | None]:
        """See `Resumable`."""
        return [generator_state(rng) for rng in self._rngs]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """See `Resumable`."""
        for rng, state in zip(self._rngs, states, strict=True):
            restore_generator(rng, state)

    def close(self) -> None:  # noqa: B027 - it may be called, and there is nothing to do
        """Nothing is held."""

    def _act(self, worlds: Worlds, actions: Sequence[np.ndarray]) -> None:
        """Move the worlds by one step; actions [E, n, ...] of each team."""
        control = np.zeros_like(worlds.velocity)
        for controls, stored in zip(self._controls, actions, strict=True):
            own = worlds.entities.at[controls.team.name]
            if controls.team.moves:
                control[own] = controls.force(stored)
            if controls.team.words:
                worlds.said[own] = controls.words(stored)
        worlds.step(control)

    def _observe(self, worlds: Worlds, at: slice | np.ndarray, out: Sequence[ObsRows]) -> None:
        """Write what everybody sees in `worlds` into rows `at`."""
        for team, buffer, rows in zip(worlds.entities.teams, self._buffers, out, strict=True):
            seen = buffer[..., : worlds.num_envs]
            last = 0
            for piece in self.observe(View(worlds, team.name)):
                flat = piece.reshape(len(piece), -1, worlds.num_envs)
                seen[:, last : (last := last + flat.shape[1])] = flat
            rows.obs[at] = seen.transpose(2, 0, 1)
        for rows in out:
            if rows.state is not None:
                last = 0
                for team in out:
                    joint = team.obs[at].reshape(worlds.num_envs, -1)
                    rows.state[at, last : (last := last + joint.shape[1])] = joint

    def _obs_size(self, me: View) -> int:
        return sum(int(np.prod(piece.shape[1:-1])) for piece in self.observe(me))

    def _check(self) -> None:
        """Raise UsageError for arguments that make no world."""
        for name, least in {"max_cycles": 1, **self.least}.items():
            value = getattr(self, name)
            unset = value is None and getattr(type(self), name) is None
            if not unset and (not isinstance(value, int) or value < least):
                raise UsageError(f"native/{self.name} needs {name} >= {least}, got {value!r}")
        ratio = getattr(self, "local_ratio", 0.0)
        if not 0.0 <= ratio <= 1.0:
            raise UsageError(f"native/{self.name} needs local_ratio in [0, 1], got {ratio!r}")
