"""Matrix games asked one player after the other, so that a person can be one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sfmarl.envs.infos import EpisodeInfos
from sfmarl.envs.matrix.drawing import MOST_NAMED, payoff_text
from sfmarl.envs.matrix.env import PLAYERS, MatrixEnv
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows
from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.errors import UsageError

LAST_ROUNDS = 10
"""Rounds that are shown."""


class MatrixTurns:
    """A matrix game in which player_0 chooses, then player_1 (see `TurnVectorEnv`, `Playable`, `Concealing`).

    It stays the same game: nobody observes what was chosen in a round before both have.
    """

    def __init__(self, game: MatrixEnv) -> None:
        """The copies of `game` are played by this one's methods from now on."""
        self._game = game
        self.num_envs, self.spec = game.num_envs, replace(game.spec, turn_based=True)
        self.seat = np.zeros(game.num_envs, np.int64)
        self.info_keys = game.info_keys
        self._obs, self._outcome = new_obs_rows(game.spec, game.num_envs), new_outcome_rows(game.spec, game.num_envs)
        self._chosen = np.zeros((len(PLAYERS), game.num_envs, 1), np.int64)
        self._names = max(game.played.names, key=len)

    @property
    def infos(self) -> EpisodeInfos | None:
        """See `Informative`."""
        return self._game.infos

    @infos.setter
    def infos(self, infos: EpisodeInfos | None) -> None:
        self._game.infos = infos

    def reset(self, envs: np.ndarray) -> None:
        """See `TurnVectorEnv.reset`."""
        self.seat[envs] = 0
        self._game.reset(envs, self._obs)

    def observe(
        self, seat: int, envs: np.ndarray, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None
    ) -> None:
        """See `TurnVectorEnv.observe`."""
        obs[...] = self._obs[seat].obs[envs, 0]

    def act(self, envs: np.ndarray, actions: np.ndarray) -> TurnOutcome:
        """See `TurnVectorEnv.act`."""
        seat = self.seat[envs]
        self._chosen[seat, envs, 0] = actions
        self.seat[envs] = 1 - seat
        both = np.zeros(self.num_envs, bool)
        both[envs[seat == 1]] = True
        for outcome in self._outcome:
            outcome.reward[...] = 0
            outcome.terminated[...] = outcome.truncated[...] = False
        if both.any():
            self._game.step(self._chosen, both, self._obs, self._outcome)
        rewards = np.stack([outcome.reward[envs, 0] for outcome in self._outcome], axis=1)
        ended = self._outcome[0]
        return TurnOutcome(rewards, ended.terminated[envs, 0], ended.truncated[envs, 0])

    def concealed(self, env: int) -> bool:
        """See `Concealing.concealed`."""
        return bool(self.seat[env] == 1)

    def text(self, env: int) -> str:
        """Return the latest rounds of copy `env`; before the first, what the players can earn."""
        if self._game.steps[env] == 0:
            return payoff_text(self._game.played, PLAYERS)
        return self._game.text(env, LAST_ROUNDS)

    def mark(self, seat: int) -> str:
        """See `Playable.mark`."""
        return ("row", "column")[seat]

    def move_name(self, action: int) -> str:
        """See `Playable.move_name`."""
        return self._names[action]

    def parse_move(self, text: str) -> int:
        """See `Playable.parse_move`: a name in any case, or the beginning of just one."""
        word, names = text.strip().lower(), [name.lower() for name in self._names]
        if word in names:
            return names.index(word)
        fits = [number for number, name in enumerate(names) if name.startswith(word)]
        if len(fits) != 1:
            known = f"{', '.join(self._names[:MOST_NAMED])}{', ...' if len(names) > MOST_NAMED else ''}"
            raise UsageError(f"{text!r} is no move: type one of {known}, or how just one begins")
        return fits[0]

    def close(self) -> None:
        """See `TurnVectorEnv.close`."""
        self._game.close()
