"""How the agents of one team see the worlds: the pieces observations are put together from."""

from __future__ import annotations

import numpy as np

from sfmarl.envs.mpe.physics import norm
from sfmarl.envs.mpe.worlds import Worlds


class View:
    """What the n agents of a team perceive, each from its own place. All pieces are [n, k, 2, E] unless said otherwise.

    With `nearest` a piece shows that many entities, the nearest first, and zeros where there are fewer.
    """

    def __init__(self, worlds: Worlds, team: str) -> None:
        self.worlds = worlds
        self.team = team
        self._own = worlds.entities.at[team]

    @property
    def velocity(self) -> np.ndarray:
        """Own velocity [n, 2, E]."""
        return self.own(self.worlds.velocity)

    @property
    def position(self) -> np.ndarray:
        """Own position [n, 2, E]."""
        return self.own(self.worlds.position)

    def goal(self, number: int = 0) -> np.ndarray:
        """Return the way to a goal, [n, 2, E]."""
        return self.worlds.goal(number) - self.position

    def landmarks(self, nearest: int | None = None) -> np.ndarray:
        """Return the ways to all landmarks."""
        ways = self.own(self.worlds.ways("everyone", "landmarks"))
        return ways if nearest is None else _take_nearest(ways, ways, nearest)

    def others(self, nearest: int | None = None) -> np.ndarray:
        """Return the ways to all other agents."""
        ways = self.own(self.worlds.ways_to_others())
        return ways if nearest is None else _take_nearest(ways, ways, nearest)

    def velocities(self, team: str, nearest: int | None = None) -> np.ndarray:
        """Return the velocities of the others in `team`.

        With `nearest` they belong to the agents that `others` shows, and are zero where one is of another team.
        """
        if nearest is not None:
            velocities = np.zeros((*self._others.shape, *self.worlds.velocity.shape[1:]))
            at = self.columns(team)
            velocities[:, at] = self.worlds.velocity[self._others[:, at]]
            return _take_nearest(self.others(), velocities, nearest)
        return self.worlds.velocity[self._others[:, self.columns(team)]]

    def goal_colors(self, palette: np.ndarray) -> np.ndarray:
        """Return the colour of each goal, [G, C, E]; column i of `palette` [C, L] is landmark i's."""
        return palette.take(self.worlds.goals, axis=1).swapaxes(0, 1)

    def hears(self, team: str) -> np.ndarray:
        """Return what the m agents of `team` said, [1, m, words, E]."""
        return self.worlds.said[None, self.worlds.entities.at[team]]

    def columns(self, team: str) -> slice:
        """Return which of `others` are in `team`."""
        at = self.worlds.entities.at[team]
        # the agent itself is missing
        return slice(at.start - (self._own.start < at.start), at.stop - (self._own.start < at.stop))

    def own(self, values: np.ndarray) -> np.ndarray:
        """Return the team's rows [n, ...] of values [N, ...] of everyone."""
        return values[self._own]

    @property
    def _others(self) -> np.ndarray:
        return self.own(self.worlds.entities.others)


def _take_nearest(ways: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return those of `values` [n, k, 2, E] that belong to the `count` shortest `ways`, shortest first."""
    order = norm(ways).argsort(axis=1)[:, :count, None]
    found = np.take_along_axis(values, order, axis=1)
    missing = count - found.shape[1]
    return np.pad(found, [(0, 0), (0, missing), (0, 0), (0, 0)]) if missing else found
