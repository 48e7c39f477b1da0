"""Repeated normal-form games of two players, many copies at once.

Both players choose at once and see at most what was played the last time, so a copy is a row of a table: its step, and
the moves of its episode. Payoffs are in `payoffs.py`, the environments of the textbooks' games in `games.py`; here is
what they share.

Each player is a team of its own. An episode is a match of `length` rounds. In a zero-sum game its outcome is the sign
of a player's undiscounted return (the two cancel out), which the info `outcome` says, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from sfmarl.envs.infos import OUTCOME, EpisodeInfos
from sfmarl.envs.matrix.drawing import draw, rounds_text
from sfmarl.envs.matrix.payoffs import Game
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import RunError, UsageError
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

PLAYERS = ("player_0", "player_1")
"""Agents, and names of the teams: who chooses the row, who the column."""

Ends = Literal["truncated", "terminated"]
RenderMode = Literal["ansi", "rgb_array"]


@dataclass(eq=False)
class MatrixEnv(ABC):
    """E copies of one repeated game (see `VectorEnv` for the contract).

    Fields are the environment's keyword arguments. Nothing is random, so seeds do not matter.

    Infos (`info_metrics`), per player: every action by its name, 1 in the rounds in which it was chosen and 0 in the
    others, so that its mean over an episode is its frequency; and `outcome` where the game is zero-sum.
    """

    num_envs: int
    seeds: InitVar[Sequence[int]]
    length: int = field(default=25, kw_only=True)
    """Rounds of an episode."""
    observe_last: bool = field(default=False, kw_only=True)
    """Players observe the last round: one-hots of the own action and of the other's, zeros before the first round.
    Without it observations are constant, and a policy can only be a mixed action."""
    ends: Ends = field(default="truncated", kw_only=True)
    """`truncated`: the game would go on, so returns are bootstrapped (an indefinitely repeated game, discounted by
    gamma); `terminated`: it is over after `length` rounds, and the return ends there."""
    render_mode: RenderMode | None = field(default=None, kw_only=True)
    """What `render` returns."""

    name: ClassVar[str]
    """The registered name."""

    @abstractmethod
    def game(self) -> Game:
        """Return what is played in each round. Raises UsageError for arguments that make no game."""

    def __post_init__(self, seeds: Sequence[int]) -> None:
        self._check()
        self.played: Game = self.game()
        """What is played in each round."""
        self.steps = np.zeros(self.num_envs, np.int64)
        """Rounds of the running episode, [E]."""
        self.moves = np.zeros((self.length, 2, self.num_envs), np.int32)
        """What the players chose in the rounds of the episode, [length, 2, E]; valid up to `steps`."""
        self.returns = np.zeros((2, self.num_envs))
        """Undiscounted returns of the episode so far, [2, E]."""
        self.infos: EpisodeInfos | None = None
        self.info_keys: tuple[str, ...] = tuple(dict.fromkeys(sum(self.played.names, ())))
        if OUTCOME in self.info_keys:
            raise UsageError(f"{self.name}: no action can be called {OUTCOME!r}, which is an info of its own")
        if self.played.is_zero_sum:
            self.info_keys += (OUTCOME,)
        rows, self._num_columns = self.played.num_actions
        self._copies = np.arange(self.num_envs)
        self._payoffs = self.played.payoffs.reshape(2, -1)
        self._seen = self._views()
        obs = ObsSpec((self._seen.shape[2],), np.dtype(np.float32))
        self.spec = EnvSpec(
            self.name,
            tuple(
                TeamSpec(player, (player,), obs, ActionSpec("discrete", (choices,), (0,)))
                for player, choices in zip(PLAYERS, (rows, self._num_columns), strict=True)
            ),
        )

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`."""
        at = np.asarray(envs, np.int64)
        self.steps[at] = 0
        self.returns[:, at] = 0.0
        for rows in out:
            rows.obs[at] = 0.0 if self.observe_last else 1.0
            rows.active[at] = rows.is_first[at] = True

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`."""
        at: Any = slice(None) if running.all() else np.flatnonzero(running)
        copies, rounds = self._copies[at], self.steps[at] + 1
        chosen = np.stack([stored[at, 0] for stored in actions])
        cell = chosen[0] * self._num_columns + chosen[1]
        paid = self._payoffs[:, cell]
        self.moves[rounds - 1, :, copies] = chosen.T
        self.returns[:, at] += paid
        self.steps[at] = rounds
        over = rounds >= self.length
        for player, (rows, result) in enumerate(zip(out, outcome, strict=True)):
            result.reward[at, 0] = paid[player]
            result.terminated[at, 0] = over & (self.ends == "terminated")
            result.truncated[at, 0] = over & (self.ends == "truncated")
            rows.obs[at, 0] = self._seen[player][cell]
            rows.active[at, 0] = ~over
            rows.is_first[at] = False
        ended = np.zeros(self.num_envs, bool)
        ended[at] = over
        if self.infos is not None:
            self._note(self.infos, copies, chosen.T, copies[over])
        return ended

    def outcomes(self, envs: np.ndarray) -> np.ndarray:
        """Return how the episodes of a zero-sum game stand in `envs`: int64 [n, 2], 1 won, 0 drawn, -1 lost.

        It is the sign of each player's undiscounted return.
        """
        scale = np.abs(self._payoffs).max()
        totals = self.returns[:, envs].T
        # a sum that should be zero may be left with rounding
        return np.where(np.abs(totals) <= 1e-12 * self.length * scale, 0, np.sign(totals)).astype(np.int64)

    def render(self, env: int) -> Any:
        """See `Drawn.render`; as a picture, `drawing.draw`. Raises RunError when no render mode was chosen."""
        if self.render_mode is None:
            raise RunError(f"{self.name} was built without a render_mode: ansi or rgb_array")
        if self.render_mode == "rgb_array":
            return draw(self.played, self._rounds(env), self.length)
        return self.text(env)

    def text(self, env: int, last: int | None = None) -> str:
        """Return the episode of copy `env` for a person: what was played and paid in each (`last`) round, the sums."""
        return rounds_text(self.played, PLAYERS, self._rounds(env), self.returns[:, env], last)

    def close(self) -> None:  # noqa: B027 - it may be called, and there is nothing to do
        """Nothing is held."""

    def _rounds(self, env: int) -> np.ndarray:
        """Return what was played in the episode of copy `env` so far, [rounds, 2]."""
        return self.moves[: self.steps[env], :, env]

    def _views(self) -> np.ndarray:
        """Return what each player sees of each cell that was played: float32 [2, cells, observation]."""
        rows, columns = self.played.num_actions
        if not self.observe_last:
            return np.ones((2, rows * columns, 1), np.float32)
        first, second = np.divmod(np.arange(rows * columns), columns)
        one, two = np.eye(rows, dtype=np.float32)[first], np.eye(columns, dtype=np.float32)[second]
        return np.stack([np.concatenate([one, two], axis=1), np.concatenate([two, one], axis=1)])

    def _note(self, infos: EpisodeInfos, envs: np.ndarray, chosen: np.ndarray, ended: np.ndarray) -> None:
        """Note what was `chosen` [n, 2] in `envs` [n], and how the episodes of `ended` ended."""
        for key in infos.keys:
            if key == OUTCOME:
                infos.note_rows(ended, key, self.outcomes(ended))
            else:
                numbers = [names.index(key) if key in names else -1 for names in self.played.names]
                infos.note_rows(envs, key, chosen == numbers)

    def _check(self) -> None:
        """Raise UsageError for arguments that make no match."""
        if not isinstance(self.length, int) or self.length < 1:
            raise UsageError(f"{self.name} needs length >= 1, got {self.length!r}")
        if not isinstance(self.observe_last, bool):
            raise UsageError(f"{self.name} needs observe_last = true or false, got {self.observe_last!r}")
        if self.render_mode not in (None, *get_args(RenderMode)):
            raise UsageError(f"{self.name} renders as ansi or rgb_array, not {self.render_mode!r}.")
        if self.ends not in get_args(Ends):
            raise UsageError(f"{self.name} needs ends = {' or '.join(get_args(Ends))}, got {self.ends!r}")
