"""The physics of the multi-agent particle environments (mpe2's `core.py`), for E worlds at once.

All in float64, as in mpe2. Shapes: E worlds, N movable agents, 2 coordinates. One step of a world is
`integrate(position, velocity, control + contact)`, with both forces taken at the position before the step.
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
"""Force of a full move."""

DIRECTIONS = SENSITIVITY * np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)
"""Force of the moves stay, left, right, down, up."""


def discrete_force(moves: np.ndarray) -> np.ndarray:
    """Return the control force [E, N, 2] of discrete moves [E, N] in 0..4."""
    return DIRECTIONS[moves]


def continuous_force(moves: np.ndarray) -> np.ndarray:
    """Return the control force [E, N, 2] of moves [E, N, 5]: thrust (unused, left, right, down, up).

    Thrust is clipped to [0, 1]. The differences are taken in the moves' own float32, as in mpe2.
    """
    thrust = np.clip(moves, 0.0, 1.0)
    return SENSITIVITY * (thrust[..., 2::2] - thrust[..., 1::2]).astype(np.float64)


class Contacts:
    """Pairwise repulsion of N colliding agents."""

    def __init__(self, radii: np.ndarray) -> None:
        """`radii` [N] are the agents' sizes."""
        self.first, self.second = np.triu_indices(len(radii), k=1)
        self.reach = radii[self.first] + radii[self.second]
        """[P] distance at which each of the P pairs touches."""
        self._incidence = np.zeros((len(radii), len(self.first)))
        """[N, P]: +1 where the agent is a pair's first, -1 where it is its second."""
        pairs = np.arange(len(self.first))
        self._incidence[self.first, pairs] = 1.0
        self._incidence[self.second, pairs] = -1.0

    def distance(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (second to first [E, P, 2], distance [E, P]) of every pair for positions [E, N, 2]."""
        delta = position[:, self.first] - position[:, self.second]
        return delta, np.sqrt(np.square(delta).sum(-1))

    def force(self, position: np.ndarray) -> np.ndarray:
        """Return the contact force [E, N, 2]: a softplus of the penetration, along the line between the centres."""
        delta, distance = self.distance(position)
        penetration = np.logaddexp(0.0, (self.reach - distance) / CONTACT_MARGIN) * CONTACT_MARGIN
        return self._incidence @ (delta * (CONTACT_FORCE * penetration / distance)[..., None])

    def count(self, position: np.ndarray) -> np.ndarray:
        """Return the number of others each agent touches, [E, N]."""
        _, distance = self.distance(position)
        return (distance < self.reach) @ np.abs(self._incidence).T


def integrate(position: np.ndarray, velocity: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the next (position, velocity) of unit masses, all [E, N, 2].

    mpe2's order: the position moves with the old velocity, then the velocity is damped and accelerated.
    """
    return position + velocity * DT, velocity * (1.0 - DAMPING) + force * DT
