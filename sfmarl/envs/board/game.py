"""What two-player board games share: alternating stones, planes as seen from either side, the end of a game."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from sfmarl.envs.board.drawing import MARKS, Tiles, draw_pixels, draw_text
from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.errors import RunError, UsageError
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

RenderMode = Literal["ansi", "rgb_array"]


class BoardGame(ABC):
    """E boards (see `TurnVectorEnv` for the contract).

    Seats alternate and place one stone at a time; who makes a line wins (+1, the other -1), a full board is a draw (0
    for both). An observation is int8 [rows, columns, 2]: the stones of who looks, and the opponent's. A board is kept
    twice: as bit sets, in which lines are found by shifts and masks, and as the planes of either seat, so that
    observing is one copy. Nothing is random, so seeds do not matter.
    """

    name: ClassVar[str]
    """The game's registered name."""
    agents: ClassVar[tuple[str, str]]
    """Agents, and names of the teams, in the order of their seats."""
    shape: ClassVar[tuple[int, int]]
    """(rows, columns)."""
    choices: ClassVar[int]
    """Actions."""
    tiles: ClassVar[Tiles]
    """How pictures are drawn."""

    def __init__(self, num_envs: int, seeds: Sequence[int], render_mode: RenderMode | None = None) -> None:
        """Raises UsageError for a render mode that is neither None, `ansi` nor `rgb_array`."""
        if render_mode not in (None, "ansi", "rgb_array"):
            raise UsageError(f"{self.name} renders as ansi or rgb_array, not {render_mode!r}.")
        rows, columns = self.shape
        self.num_envs, self.render_mode = num_envs, render_mode
        obs, action = ObsSpec((rows, columns, 2), np.dtype(np.int8)), ActionSpec("discrete", (self.choices,), (0,))
        teams = tuple(TeamSpec(agent, (agent,), obs, action, has_mask=True) for agent in self.agents)
        self.spec = EnvSpec(self.name, teams, turn_based=True)
        self.seat = np.zeros(num_envs, np.int64)
        self._stones = np.zeros((2, num_envs), np.uint64)
        self._legal = np.ones((num_envs, self.choices), bool)
        self._placed = np.zeros(num_envs, np.int64)
        self._planes = np.zeros((2, num_envs, rows, columns, 2), np.int8)
        # flat views and tables: one index is cheaper than several, and looking up is cheaper than computing
        self._flat_stones, self._flat_legal = self._stones.reshape(-1), self._legal.reshape(-1)
        self._flat_planes = self._planes.reshape(-1)
        cells, half = np.array(self.cells), self._planes[0].size
        self._bit = _ONE << np.arange(len(cells), dtype=np.uint64)
        self._entry = 2 * cells
        self._first_choice = np.arange(num_envs) * self.choices
        self._first_entry = np.arange(num_envs) * (rows * columns * 2)
        self._stones_of = np.array([0, num_envs])
        self._own_plane, self._other_plane = np.array([0, half]), np.array([half + 1, 1])

    @property
    @abstractmethod
    def cells(self) -> Sequence[int]:
        """The cell of each bit, counted row by row from the top left; 0 where a bit stands for none."""

    @abstractmethod
    def place(self, actions: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Return the bit, int64 [n], of the stone that each legal action places, and note what stays legal.

        `choice` int64 [n] says where the actions lie in the flat table [E, choices] of legal ones.
        """

    @abstractmethod
    def lines(self, stones: np.ndarray) -> np.ndarray:
        """Return whether bit sets `stones` uint64 [n] hold a line, bool [n]."""

    def reset(self, envs: np.ndarray) -> None:
        """See `TurnVectorEnv.reset`."""
        self.seat[envs] = self._placed[envs] = 0
        self._stones[:, envs] = 0
        self._planes[:, envs] = 0
        self._legal[envs] = True

    def observe(
        self, seat: int, envs: np.ndarray, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None
    ) -> None:
        """See `TurnVectorEnv.observe`."""
        # clip: with the default mode NumPy goes through a buffer of its own
        np.take(self._planes[seat], envs, axis=0, out=obs, mode="clip")
        if action_mask is not None:
            np.take(self._legal, envs, axis=0, out=action_mask, mode="clip")

    def act(self, envs: np.ndarray, actions: np.ndarray) -> TurnOutcome:
        """See `TurnVectorEnv.act`. Raises RunError for a move that is not legal."""
        seat = self.seat[envs]
        choice = self._first_choice[envs] + actions
        legal = self._flat_legal[choice]
        if not legal.all():
            self._refuse(envs, actions, legal)
        bit = self.place(actions, choice)
        entry = self._first_entry[envs] + self._entry[bit]
        self._flat_planes[self._own_plane[seat] + entry] = 1
        self._flat_planes[self._other_plane[seat] + entry] = 1
        own = self._stones_of[seat] + envs
        stones = self._flat_stones[own] | self._bit[bit]
        self._flat_stones[own] = stones
        placed = self._placed[envs] + 1
        self._placed[envs] = placed
        self.seat[envs] = _NEXT[seat]
        won = self.lines(stones)
        reward = np.zeros((len(envs), 2), np.float32)
        if (winners := won.nonzero()[0]).size:
            reward[winners] = _WINS[seat[winners]]
        return TurnOutcome(reward, won | (placed == self.shape[0] * self.shape[1]), np.zeros(len(envs), bool))

    def _refuse(self, envs: np.ndarray, actions: np.ndarray, legal: np.ndarray) -> None:
        bad = int(np.flatnonzero(~legal)[0])
        raise RunError(f"{self.name}, copy {envs[bad]}: action {actions[bad]} is not legal; see its action mask.")

    def board(self, env: int) -> np.ndarray:
        """Return copy `env` as int8 [rows, columns]: 0 empty, 1 and 2 the first and second seat's stones."""
        planes = self._planes[0, env]
        return planes[..., 0] + 2 * planes[..., 1]

    def render(self, env: int) -> Any:
        """See `Drawn.render`. Raises RunError when no render mode was chosen."""
        if self.render_mode is None:
            raise RunError(f"{self.name} was built without a render_mode: ansi or rgb_array")
        if self.render_mode == "rgb_array":
            return draw_pixels(self.board(env), self.tiles)
        return self.text(env)

    def text(self, env: int) -> str:
        """Return copy `env` as lines of text with the names a person moves by."""
        return draw_text(self.board(env), *self.labels())

    def mark(self, seat: int) -> str:
        """See `Playable.mark`."""
        return MARKS[1 + seat]

    @staticmethod
    @abstractmethod
    def move_name(action: int) -> str:
        """See `Playable.move_name`."""

    @staticmethod
    @abstractmethod
    def parse_move(text: str) -> int:
        """See `Playable.parse_move`."""

    @abstractmethod
    def labels(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return what stands beside each row and below each column of the text board."""

    def close(self) -> None:  # noqa: B027 (nothing that a game must do)
        """Nothing is held."""


_ONE = np.uint64(1)
_NEXT = np.array([1, 0])
_WINS = np.array([[1, -1], [-1, 1]], np.float32)
"""Rewards of both seats when each of them wins."""
