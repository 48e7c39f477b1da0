"""Who of one environment is alive, and how to pick their values out of its dicts in one call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from typing import Any

from sfmarl.specs import AgentId


class Roster:
    """The living agents of one env, in the order of all its agents (team by team)."""

    __slots__ = ("agents", "alive", "choose", "members", "parts", "pick", "size")

    def __init__(self, agents: Sequence[AgentId], alive: Sequence[bool], teams: Sequence[slice]) -> None:
        """`alive[i]` says whether `agents[i]` lives; `teams` are the slices of `agents` that form the teams."""
        at = [i for i, lives in enumerate(alive) if lives]
        self.alive = list(alive)
        self.agents = tuple(agents[i] for i in at)
        self.members = frozenset(self.agents)
        self.size = len(at)
        self.pick = picker(self.agents)
        """dict by agent -> tuple of the values of the living; KeyError when one is missing."""
        self.choose = picker(at)
        """Row with an entry for every agent -> tuple of the entries of the living."""
        self.parts: list[tuple[slice, list[int]]] = []
        """Per team: where its living lie in a picked tuple, and their columns in the team."""
        first = 0
        for team in teams:
            columns = [i - team.start for i in at if team.start <= i < team.stop]
            self.parts.append((slice(first, first + len(columns)), columns))
            first += len(columns)


def picker(keys: Sequence[Hashable]) -> Callable[[Any], tuple]:
    """Return `operator.itemgetter` of `keys` that gives a tuple for any number of keys."""
    if not keys:
        return lambda values: ()
    pick = itemgetter(*keys)
    return pick if len(keys) > 1 else lambda values: (pick(values),)
