"""Who and what is in a particle world: teams of agents, then landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfmarl.envs.mpe.physics import SENSITIVITY, Contacts


@dataclass(frozen=True)
class Agents:
    """A team: `count` equal agents called `name_0`, `name_1`, ..."""

    name: str
    count: int
    size: float = 0.05
    """Radius."""
    moves: bool = True
    """Whether it has an engine and can be pushed."""
    collides: bool = True
    words: int = 0
    """Size of the vocabulary it speaks in; 0 = silent."""
    accel: float = SENSITIVITY
    """Force of a full move."""
    max_speed: float = np.inf


@dataclass(frozen=True)
class Landmarks:
    """`count` equal things that never move."""

    name: str
    count: int
    size: float = 0.05
    collides: bool = False
    span: float = 1.0
    """They are placed uniformly in [-span, span]; agents in [-1, 1]."""


class Entities:
    """All N agents, then all L landmarks of a world, in mpe2's order: M = N + L entities."""

    def __init__(self, agents: Sequence[Agents], landmarks: Sequence[Landmarks]) -> None:
        """Teams of none are left out of `teams`, but `at` knows them."""
        groups = (*agents, *landmarks)
        counts = [group.count for group in groups]
        ends = np.cumsum(counts).tolist()
        self.teams = tuple(team for team in agents if team.count)
        self.num_agents = sum(team.count for team in agents)
        self.num_landmarks = ends[-1] - self.num_agents
        self.at = {"everyone": slice(0, self.num_agents), "landmarks": slice(self.num_agents, ends[-1])}
        """Where a group lies among the entities: a team, a kind of landmark, everyone, or all landmarks."""
        self.at |= {group.name: slice(end - group.count, end) for group, end in zip(groups, ends, strict=True)}
        self.size = np.repeat([group.size for group in groups], counts)
        """Radii [M]."""
        self.span = np.repeat([1.0] * len(agents) + [group.span for group in landmarks], counts)
        """Each coordinate is drawn from [-span, span], [M]."""
        moves = np.repeat([team.moves for team in agents], counts[: len(agents)])
        self.contacts = Contacts(self.size, np.repeat([group.collides for group in groups], counts), moves)
        self.anybody_moves = bool(moves.any())
        limits = np.repeat([team.max_speed for team in agents], counts[: len(agents)])[:, None]
        self.max_speed = limits if np.isfinite(limits).any() else None
        """Speed limits [N, 1], infinite where there is none; None when nobody has one."""
        self.words = max(team.words for team in self.teams)
        """Size of the vocabulary."""
        everyone = np.arange(self.num_agents)
        self.others = np.array([np.delete(everyone, i) for i in everyone]).reshape(self.num_agents, -1)
        """[N, N - 1]: the others of each agent, in order."""
