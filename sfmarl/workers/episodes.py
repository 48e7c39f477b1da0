"""Finished episodes of a split, kept until the main process asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sfmarl.envs.infos import EpisodeInfos


class Finished(NamedTuple):
    """n finished episodes."""

    returns: np.ndarray
    """Undiscounted returns as the environment gave them: float64 [n, agents in seat order]."""
    lengths: np.ndarray
    """int64 [n], env-steps."""
    shaped: np.ndarray | None
    """The same returns after reward shaping, [n, agents]; None without shaping."""
    infos: dict[str, np.ndarray]
    """Key of `info_metrics` -> float64 [n, teams]; NaN where a team never reported it."""
    players: np.ndarray | None = None
    """int64 [n, seats]: who sat where, in a league (`match_seating.LIVE`); else None."""


def join(parts: Sequence[Finished]) -> Finished:
    """Return the episodes of all `parts` (at least one) as one."""
    first = parts[0]
    return Finished(
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        None if first.shaped is None else np.concatenate([part.shaped for part in parts]),
        {key: np.concatenate([part.infos[key] for part in parts]) for key in first.infos},
        None if first.players is None else np.concatenate([part.players for part in parts]),
    )


class EpisodeLog:
    """Sums each running episode's rewards as the environment gave them, and keeps the finished ones."""

    def __init__(
        self,
        envs: int,
        agents: int,
        infos: EpisodeInfos | None = None,
        shaped: bool = False,
        players: np.ndarray | None = None,
    ) -> None:
        """`infos` are those that the environments collect; `shaped` keeps a second sum, of shaped rewards.

        `players` [E, seats] is what a league's seating says of the running matches, kept up to date by itself.
        """
        self._returns = np.zeros((envs, agents))
        self._lengths = np.zeros(envs, np.int64)
        self._shaped = np.zeros((envs, agents)) if shaped else None
        self._infos = infos
        self._players = players
        self._finished: list[Finished] = []
        self.count = 0
        """Episodes that ended so far."""

    def add(self, rewards: list[np.ndarray], running: np.ndarray) -> None:
        """Add one step: rewards per seat [E, A] and which envs were stepped, bool [E]."""
        _add_columns(self._returns, rewards)
        self._lengths += running

    def add_shaped(self, rewards: list[np.ndarray]) -> None:
        """Add the same step's shaped rewards, per seat [E, A]."""
        _add_columns(self._shaped, rewards)

    def add_agent(self, env: int, agent: int, reward: float) -> None:
        """Add one agent's reward of one env (turn-based environments)."""
        self._returns[env, agent] += reward

    def add_agent_shaped(self, env: int, agent: int, reward: float) -> None:
        """Add one agent's shaped reward of one env (turn-based environments)."""
        self._shaped[env, agent] += reward

    def add_steps(self, envs: list[int] | np.ndarray) -> None:
        """Count one step of each of `envs` (turn-based environments)."""
        self._lengths[envs] += 1

    def add_turns(self, envs: np.ndarray, rewards: np.ndarray) -> None:
        """Add what one turn of each of `envs` int64 [n] earned all agents, [n, agents]."""
        self._returns[envs] += rewards

    def add_turns_shaped(self, envs: np.ndarray, rewards: np.ndarray) -> None:
        """Add the same turns' shaped rewards [n, agents]."""
        self._shaped[envs] += rewards

    def finish(self, envs: np.ndarray | list[int]) -> None:
        """Close the episodes of `envs`."""
        shaped = None if self._shaped is None else self._shaped[envs]
        infos = {} if self._infos is None else self._infos.take(envs)
        players = None if self._players is None else self._players[envs]
        self._finished.append(Finished(self._returns[envs], self._lengths[envs], shaped, infos, players))
        self.count += len(self._finished[-1].lengths)
        self._returns[envs] = 0
        self._lengths[envs] = 0
        if self._shaped is not None:
            self._shaped[envs] = 0

    def drop(self, envs: np.ndarray | list[int]) -> np.ndarray:
        """Forget the running episodes of `envs`, which will never end; return their lengths so far, int64 [n]."""
        lengths = self._lengths[envs]
        self._returns[envs] = 0
        self._lengths[envs] = 0
        if self._shaped is not None:
            self._shaped[envs] = 0
        if self._infos is not None:
            self._infos.take(envs)
        return lengths

    def drain(self) -> Finished | None:
        """Return the episodes that ended since the last call; None when there are none."""
        finished, self._finished = self._finished, []
        return join(finished) if finished else None


def _add_columns(totals: np.ndarray, rewards: list[np.ndarray]) -> None:
    first = 0
    for reward in rewards:
        totals[:, first : first + reward.shape[1]] += reward
        first += reward.shape[1]
