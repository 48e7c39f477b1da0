"""The physics of the multi-agent particle environments (mpe2's `core.py`), for E worlds at once.

All in float64, as in mpe2. The last axis is the world, so that every operation runs over E numbers that lie side by
side; the axis before it holds the two coordinates. One step of a world is `move(position, velocity, force)`, with
control and contact forces taken at the position before the step.
"""

from __future__ import annotations

import numpy as np

DT = 0.1
"""Seconds of one step."""
DAMPING = 0.25
"""Share of the velocity lost in one step."""
CONTACT_FORCE = 1e2
CONTACT_MARGIN = 1e-3
SENSITIVITY = 5.0
"""Force of a full move, for agents that have no acceleration of their own."""
NEGLIGIBLE_GAP = 40 * CONTACT_MARGIN
"""Gap beyond which two entities do not push each other; mpe2's force is below 1e-18 there."""


def norm(offsets: np.ndarray) -> np.ndarray:
    """Return the lengths [..., E] of vectors [..., 2, E]."""
    return np.sqrt(np.square(offsets).sum(axis=-2))


class Contacts:
    """Pairwise repulsion of M entities, the first N of which are agents."""

    def __init__(self, size: np.ndarray, collides: np.ndarray, moves: np.ndarray) -> None:
        """`size` [M] are radii, `collides` bool [M] says who takes part, `moves` bool [N] who can be pushed."""
        agents = np.arange(len(moves))
        first, second = np.triu_indices(len(size), k=1)
        pushed = np.isin(first, agents[moves]) | np.isin(second, agents[moves])
        pair = collides[first] & collides[second] & pushed
        self._first, self._second = first[pair], second[pair]
        self._reach = size[self._first] + size[self._second]
        """[P] distance at which each of the P pairs touches."""
        self._horizon = np.square(self._reach + NEGLIGIBLE_GAP)[:, None]
        # [N, P]: +1 where the agent is a pair's first, -1 where it is its second
        self._incidence = (self._first == agents[:, None]).astype(np.float64) - (self._second == agents[:, None])
        self._incidence[~moves] = 0.0

    def __len__(self) -> int:
        return len(self._first)

    def force(self, position: np.ndarray) -> np.ndarray:
        """Return the contact force [N, 2, E] at positions [M, 2, E].

        It is a softplus of the penetration, along the line between the centres.
        """
        num_envs = position.shape[-1]
        delta = position.take(self._first, axis=0) - position.take(self._second, axis=0)
        squared = np.square(delta).sum(axis=1)
        # few pairs are close, and the softplus costs more than all the rest
        close = np.flatnonzero(squared < self._horizon)
        distance = np.sqrt(squared.ravel()[close])
        penetration = np.logaddexp(0.0, (self._reach[close // num_envs] - distance) / CONTACT_MARGIN) * CONTACT_MARGIN
        push = np.zeros(squared.size)
        push[close] = CONTACT_FORCE * penetration / distance
        delta *= push.reshape(-1, 1, num_envs)
        return (self._incidence @ delta.reshape(len(self), -1)).reshape(-1, 2, num_envs)


def move(position: np.ndarray, velocity: np.ndarray, force: np.ndarray, max_speed: np.ndarray | None = None) -> None:
    """Move unit masses by one step, in place; all [N, 2, E].

    mpe2's order: the position moves with the old velocity, then the velocity is damped, accelerated and, where
    `max_speed` [N, 1] is given (infinite: no limit), cut.
    """
    position += velocity * DT
    velocity *= 1.0 - DAMPING
    velocity += force * DT
    if max_speed is not None:
        velocity /= np.maximum(norm(velocity) / max_speed, 1.0)[:, None]
