"""One game at a time between a person and whoever sits in the other seats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.board.twins import native_twin
from sfmarl.envs.infos import OUTCOME
from sfmarl.envs.matrix.env import MatrixEnv
from sfmarl.envs.matrix.turns import MatrixTurns
from sfmarl.envs.registry import make_envs
from sfmarl.envs.vector import Informative
from sfmarl.envs.vector_turns import Concealing, Playable, TurnVectorEnv
from sfmarl.errors import UsageError
from sfmarl.evaluation.contestants import Contestant
from sfmarl.evaluation.cross_play import outcome_of, with_outcomes
from sfmarl.evaluation.games import Games
from sfmarl.seeding import seed_for
from sfmarl.specs import EnvSpec

_COPY = np.zeros(1, np.int64)


def playable_game(config: Config, seed: int) -> TurnVectorEnv:
    """Return one copy of the game of `config`; a PettingZoo game is played on its native twin.

    Raises UsageError when a person cannot play it in a terminal.
    """
    if (twin := native_twin(config.env)) != config.env:
        config = replace(config, env=twin, env_kwargs={})
    envs = make_envs(with_outcomes(config), 1, [seed_for(seed, "person")])
    if isinstance(envs, MatrixEnv):
        return MatrixTurns(envs)
    if isinstance(envs, TurnVectorEnv) and isinstance(envs, Playable):
        return envs
    for env in envs if isinstance(envs, list) else [envs]:
        env.close()
    raise UsageError(
        f"{config.env} cannot be played in a terminal: its positions have no text and its moves no names. Connect "
        "Four, tic-tac-toe and matrix games can, and every TurnVectorEnv that is Playable "
        "(sfmarl/envs/vector_turns.py)."
    )


class PersonsGame:
    """A game between a person in one seat and `opponent` in all others, played again and again."""

    def __init__(self, env: TurnVectorEnv, opponent: Contestant, seed: int, greedy: bool) -> None:
        """`env` is of one copy. Raises UsageError when the opponent cannot play."""
        self.env, self._greedy = env, greedy
        self._games = Games(env.spec, [opponent], 1, seed)
        self.returns = np.zeros(len(env.spec.teams))
        """What every seat has earned in the game, [seats]."""
        self._stated: np.ndarray | None = None
        self._new = np.ones(len(env.spec.teams), bool)
        self.over = True
        """Whether the game has ended, or none has begun."""

    @property
    def spec(self) -> EnvSpec:
        """The game."""
        return self.env.spec

    @property
    def to_move(self) -> int:
        """The seat whose turn it is."""
        return int(self.env.seat[0])

    @property
    def concealed(self) -> bool:
        """Whether moves were made that nobody may see yet."""
        return isinstance(self.env, Concealing) and self.env.concealed(0)

    @property
    def outcome(self) -> np.ndarray:
        """How it ended, [seats] (league/outcome.py). Raises UsageError when neither infos nor returns tell."""
        return outcome_of(self.returns, self._stated)

    def begin(self) -> None:
        """Begin a game."""
        self.env.reset(_COPY)
        self._games.begin(0, [0] * len(self.returns))
        self.returns[:], self._new[:], self.over = 0, True, False

    def legal(self) -> list[int]:
        """Return the actions that whoever is to move may choose."""
        _, mask = self._look()
        count = self.spec.teams[self.to_move].action.mask_size
        return list(range(count)) if mask is None else np.flatnonzero(mask[0, 0]).tolist()

    def move(self, action: int) -> None:
        """Make the person's move, a legal one."""
        chosen = np.array([[action]])
        self._games.note(self.to_move, _COPY, chosen)
        self._act(chosen)

    def reply(self) -> int:
        """Have whoever else is to move choose, and return the action."""
        seat = self.to_move
        obs, mask = self._look()
        crowd = self._games.crowds[seat]
        chosen = crowd.act_in(_COPY, obs, mask, np.zeros((1, 1), np.int64), self._greedy, self._new[seat].reshape(1, 1))
        self._new[seat] = False
        self._act(chosen)
        return int(chosen[0, 0])

    def _look(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the mover sees, [1, 1, *obs] and [1, 1, n]."""
        team, state = self.spec.teams[self.to_move], self.spec.state_shape
        obs = np.zeros((1, *team.obs.shape), team.obs.dtype)
        mask = np.ones((1, team.action.mask_size), bool) if team.has_mask else None
        rows = None if state is None else np.zeros((1, *state), np.float32)
        self.env.observe(self.to_move, _COPY, obs, mask, rows)
        return obs[:, None], None if mask is None else mask[:, None]

    def _act(self, chosen: np.ndarray) -> None:
        outcome = self.env.act(_COPY, chosen[:, 0])
        self.returns += outcome.reward[0]
        self.over = bool(outcome.terminated[0] or outcome.truncated[0])
        if self.over and isinstance(self.env, Informative) and self.env.infos is not None:
            self._stated = self.env.infos.take(_COPY).get(OUTCOME, np.full((1, 1), np.nan))[0]
