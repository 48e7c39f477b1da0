"""The state of E particle worlds, and what can be measured in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np

from sfmarl.envs.mpe.entities import Entities
from sfmarl.envs.mpe.physics import move, norm


def measured(method: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Have a measurement made once between two steps, however many teams and rewards ask for it."""

    @wraps(method)
    def once(self: Worlds, *asked: str | int) -> np.ndarray:
        key = (method.__name__, *asked)
        if key not in self._measured:
            self._measured[key] = method(self, *asked)
        return self._measured[key]

    return once


class Worlds:
    """E worlds of N agents and L landmarks, M = N + L entities. Writing to the public arrays sets the state.

    Groups of entities go by name: a team, a kind of landmark, `everyone` (all agents) or `landmarks` (all of them).
    """

    def __init__(self, entities: Entities, num_goals: int, num_envs: int) -> None:
        """Everybody is at the origin, at rest and silent. `num_goals` landmarks are marked in every episode."""
        self.entities = entities
        self.num_envs = num_envs
        self.position = np.zeros((len(entities.size), 2, num_envs))
        """float64 [M, 2, E]."""
        self.velocity = np.zeros((entities.num_agents, 2, num_envs))
        """float64 [N, 2, E]; landmarks have none."""
        self.said = np.zeros((entities.num_agents, entities.words, num_envs))
        """What each agent said in the last step, float64 [N, words, E]; zero for the silent."""
        self.goals = np.zeros((num_goals, num_envs), np.int64)
        """Index among all landmarks of each goal, [G, E]."""
        self._measured: dict[tuple[str | int, ...], np.ndarray] = {}

    def at(self, envs: np.ndarray) -> Worlds:
        """Return a copy of some worlds."""
        part = Worlds(self.entities, len(self.goals), len(envs))
        part.put(slice(None), self, envs)
        return part

    def put(self, envs: np.ndarray | slice, other: Worlds, from_envs: np.ndarray | slice = slice(None)) -> None:
        """Overwrite worlds `envs` with worlds `from_envs` of `other`."""
        self._measured.clear()
        for mine, theirs in (
            (self.position, other.position),
            (self.velocity, other.velocity),
            (self.said, other.said),
            (self.goals, other.goals),
        ):
            mine[..., envs] = theirs[..., from_envs]

    def step(self, control: np.ndarray) -> None:
        """Move everybody by one step; `control` [N, 2, E] are the engines' forces, which are overwritten."""
        self._measured.clear()
        entities = self.entities
        if not entities.anybody_moves:
            return
        if len(entities.contacts):
            control += entities.contacts.force(self.position)
        move(self.positions("everyone"), self.velocity, control, entities.max_speed)

    def positions(self, group: str) -> np.ndarray:
        """Return where the n of a group are, a view [n, 2, E]."""
        return self.position[self.entities.at[group]]

    @measured
    def goal(self, number: int) -> np.ndarray:
        """Return where the landmark is that is goal `number`, [2, E]."""
        return self.positions("landmarks")[self.goals[number], :, np.arange(self.num_envs)].T

    @measured
    def ways(self, ones: str, others: str) -> np.ndarray:
        """Return the ways [n, m, 2, E] from the n of one group to the m of another."""
        return self.positions(others) - self.positions(ones)[:, None]

    @measured
    def ways_to_others(self) -> np.ndarray:
        """Return the ways [N, N - 1, 2, E] from every agent to all others."""
        return self.position[self.entities.others] - self.positions("everyone")[:, None]

    @measured
    def distance(self, ones: str, others: str) -> np.ndarray:
        """Return the distances [n, m, E] between the n of one group and the m of another."""
        return norm(self.ways(ones, others))

    @measured
    def touching(self, ones: str, others: str) -> np.ndarray:
        """Return which of the n of one group overlap which of the m of another, bool [n, m, E]."""
        size, at = self.entities.size, self.entities.at
        return self.distance(ones, others) < (size[at[ones], None] + size[at[others]])[..., None]
