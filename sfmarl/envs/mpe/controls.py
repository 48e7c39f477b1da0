"""What a team's stored actions do: push the agent, and be heard."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from sfmarl.envs.codec import ActionCodec
from sfmarl.envs.mpe.entities import Agents
from sfmarl.specs import ActionSpec

DIRECTIONS = np.array([[0, -1, 1, 0, 0], [0, 0, 0, -1, 1]], np.float64)
"""x and y of the moves stay, left, right, down, up."""
MOVES = DIRECTIONS.shape[1]


class Controls:
    """Reads the actions of n equal agents in E worlds.

    Discrete: `move + 5 * word`, or either alone for who cannot speak or move. Continuous: thrust (unused, left, right,
    down, up), then one loudness per word, all clipped to [0, 1].
    """

    def __init__(self, team: Agents, continuous: bool) -> None:
        self.team = team
        self.continuous = continuous
        moves = MOVES if team.moves else 0
        space = (
            spaces.Box(0.0, 1.0, (moves + team.words,))
            if continuous
            else spaces.Discrete(max(moves, 1) * max(team.words, 1))
        )
        self.spec: ActionSpec = ActionCodec(space).spec
        """The same as that of mpe2's action space."""

    def force(self, actions: np.ndarray) -> np.ndarray:
        """Return the force [n, 2, E] of the engines for stored actions [E, n, *action]."""
        if self.continuous:
            # differences are taken in the actions' own float32, as in mpe2
            thrust = np.clip(actions[..., 1:MOVES], 0.0, 1.0)
            moved = (thrust[..., 1::2] - thrust[..., 0::2]).transpose(1, 2, 0).astype(np.float64)
        else:
            moves = actions % MOVES if self.team.words else actions
            moved = DIRECTIONS.take(moves.T, axis=1).swapaxes(0, 1)
        return moved * self.team.accel

    def words(self, actions: np.ndarray) -> np.ndarray:
        """Return what is said, [n, words, E], for stored actions [E, n, *action]."""
        if self.continuous:
            return np.clip(actions[..., -self.team.words :], 0.0, 1.0).transpose(1, 2, 0)
        words = actions // MOVES if self.team.moves else actions
        return words.T[:, None] == np.arange(self.team.words)[:, None]
