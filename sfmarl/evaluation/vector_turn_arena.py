"""Games that are stepped together, under evaluation (see `Arena` in arena.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sfmarl.envs.vector import Informative
from sfmarl.envs.vector_turns import Drawn, TurnVectorEnv
from sfmarl.errors import UsageError
from sfmarl.evaluation.arena import Crowd, Player, ask
from sfmarl.specs import TeamSpec
from sfmarl.workers.episodes import EpisodeLog


class VectorTurnArena:
    """Copies of a `TurnVectorEnv`; the movers of one seat act together."""

    def __init__(self, env: TurnVectorEnv) -> None:
        self.spec, self.env, self.num_envs = env.spec, env, env.num_envs
        infos = env.infos if isinstance(env, Informative) else None
        self.episodes = EpisodeLog(env.num_envs, len(env.spec.teams), infos)
        self._seats = [_Seat(team, env.spec.state_shape, env.num_envs) for team in env.spec.teams]

    def seat(self, players: Sequence[Player | Crowd]) -> None:
        """See `Arena.seat`."""
        for seat, player in zip(self._seats, players, strict=True):
            seat.take(player)

    def reset(self, envs: np.ndarray) -> None:
        """See `Arena.reset`."""
        self.env.reset(envs)
        for seat in self._seats:
            seat.is_first[envs] = True

    def step(self, running: np.ndarray, greedy: bool) -> np.ndarray:
        """See `Arena.step`: one turn in every env."""
        playing = np.flatnonzero(running)
        to_move = self.env.seat[playing]
        movers, actions = [], []
        for number, seat in enumerate(self._seats):
            envs = playing[to_move == number]
            if envs.size:
                self.env.observe(number, envs, *seat.rows(len(envs)))
                movers.append(envs)
                actions.append(seat.act(envs, greedy))
        moved = np.concatenate(movers)
        outcome = self.env.act(moved, np.concatenate(actions))
        self.episodes.add_steps(moved)
        self.episodes.add_turns(moved, outcome.reward)
        ended = np.zeros(len(running), bool)
        ended[moved] = outcome.terminated | outcome.truncated
        if ended.any():
            self.episodes.finish(np.flatnonzero(ended))
        return ended

    def render(self) -> Any:
        """See `Arena.render`."""
        if not isinstance(self.env, Drawn):
            raise UsageError(f"{self.spec.env} cannot render: it is a native turn-based environment.")
        return self.env.render(0)

    def close(self) -> None:
        """See `Arena.close`."""
        self.env.close()


class _Seat:
    """Rows of the envs in which one seat is to move, and the player who sits there."""

    def __init__(self, team: TeamSpec, state_shape: tuple[int, ...] | None, count: int) -> None:
        self.is_first = np.ones((count, 1), bool)
        """[E, 1]: the seat has not moved in this episode."""
        self._obs = np.zeros((count, *team.obs.shape), team.obs.dtype)
        self._mask = np.ones((count, team.action.mask_size), bool) if team.has_mask else None
        self._state = None if state_shape is None else np.zeros((count, *state_shape), np.float32)

    def take(self, player: Player | Crowd) -> None:
        """Have `player` sit here."""
        self._player = player
        self._memory: Tensor | None = player.new_state(*self.is_first.shape)

    def rows(self, n: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return where the game writes n observations, masks and states."""
        return tuple(None if rows is None else rows[:n] for rows in (self._obs, self._mask, self._state))

    def act(self, envs: np.ndarray, greedy: bool) -> np.ndarray:
        """Return stored actions [n, *action] for the rows that were written for `envs`."""
        obs, mask, _ = self.rows(len(envs))
        memory = None if self._memory is None else self._memory[envs].contiguous()
        agent = np.zeros((len(envs), 1), np.int64)
        mask = None if mask is None else mask[:, None]
        action = ask(self._player, envs, obs[:, None], mask, agent, greedy, memory, self.is_first[envs])
        if memory is not None:
            self._memory[envs] = memory
        self.is_first[envs] = False
        return action[:, 0]
