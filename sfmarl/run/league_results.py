"""Results into the league: finished matches become games of the payoff table, Elo ratings and quality scores.

Keys of players are names for those that learn and for scripts, addresses for snapshots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sfmarl.config import LeagueConfig
from sfmarl.envs.infos import OUTCOME
from sfmarl.league.outcome import outcome_from_info, outcome_from_returns
from sfmarl.league.payoff import Payoff
from sfmarl.league.quality import QualityScores
from sfmarl.league.ratings import Elo
from sfmarl.monitor.episodes import Episodes
from sfmarl.workers.match_seating import LIVE


class Results:
    """What is known of who beat whom."""

    def __init__(self, settings: LeagueConfig, seats: int, agents: int) -> None:
        """Every seat holds a team of so many `agents`."""
        self.payoff = Payoff(seats, settings.payoff_decay)
        self.elo = Elo(settings.elo_k, settings.elo_base)
        self.quality = QualityScores()
        self.matches: Counter[str] = Counter()
        """Matches played: `live` with a learning player, in whatever part, `frozen` without one."""
        self._names = list(settings.roles)
        self._seats, self._agents = seats, agents
        self._states_outcomes = False
        for key in (*settings.roles, *settings.scripts):
            self.elo.enter(key)

    def add(self, episodes: Episodes, key: Callable[[int], str], past: Sequence[str]) -> None:
        """Take note of finished matches. `key` names who an identity is, `past` are the pool's addresses.

        Raises UsageError when their outcome cannot be read.
        """
        # many matches are alike: same players, same end
        alike, kind, count = np.unique(
            np.hstack((episodes.players, self._ends(episodes))), axis=0, return_inverse=True, return_counts=True
        )
        read = outcome_from_info if self._states_outcomes else outcome_from_returns
        kinds: list[tuple[list[str], np.ndarray]] = []
        differ = np.zeros(len(alike), bool)
        for number, (row, times) in enumerate(zip(alike, count.tolist(), strict=True)):
            identities = row[: self._seats].astype(np.int64).tolist()
            live = any(LIVE >= identity > LIVE - len(self._names) for identity in identities)
            self.matches["live" if live else "frozen"] += times
            kinds.append(([key(identity) for identity in identities], read(row[self._seats :])))
            differ[number] = len(set(identities)) > 1
            if differ[number]:
                self._note_quality(*kinds[-1], times, past)
        # in the order in which they were reported: results that fade and Elo depend on it
        order = kind.reshape(-1)
        self.payoff.replay(kinds, order[differ[order]])
        self.elo.replay(kinds, order.tolist())

    def _ends(self, episodes: Episodes) -> np.ndarray:
        """Return what tells how matches ended, [n, seats]: what the environment says of it, or its rewards' sums.

        One that has said it once has to say it always: its returns may mean something else.
        """
        stated = episodes.infos.get(OUTCOME)
        self._states_outcomes |= stated is not None and not np.isnan(stated).all()
        if self._states_outcomes:
            return stated
        return episodes.returns.reshape(len(episodes.lengths), self._seats, self._agents).sum(axis=-1)

    def _note_quality(self, keys: Sequence[str], outcome: np.ndarray, times: int, past: Sequence[str]) -> None:
        """A snapshot that a learning player beat is less of a challenge than it was."""
        best = max((result for key, result in zip(keys, outcome, strict=True) if key in self._names), default=0.0)
        for key, result in zip(keys, outcome, strict=True):
            if result < best and key in past:
                self.quality.won(key, past, times)

    def enter(self, address: str, player: str) -> None:
        """Make a snapshot of `player` known, which is as strong as that is now."""
        self.payoff.add(address)
        self.elo.enter(address, player)
        self.quality.enter(address)

    def begin_anew(self, name: str) -> None:
        """Forget the games of a learning player that is reset: they say nothing of it any more."""
        self.payoff.keep([key for key in self.payoff.keys if key != name])
        self.elo.begin_anew(name)

    def keep(self, keys: Collection[str]) -> None:
        """Keep results of `keys` alone."""
        if not set(keys).issuperset(self.payoff.keys):
            self.payoff.keep(keys)
            self.elo.keep(keys)
            self.quality.keep(keys)

    def state_dict(self) -> dict[str, Any]:
        """Return all results as JSON types."""
        return {
            "payoff": self.payoff.state_dict(),
            "elo": self.elo.state_dict(),
            "quality": self.quality.state_dict(),
            "matches": dict(self.matches),
            "states_outcomes": self._states_outcomes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what `state_dict` described."""
        self.payoff.load_state_dict(state["payoff"])
        self.elo.load_state_dict(state["elo"])
        self.quality.load_state_dict(state["quality"])
        self.matches.update(state["matches"])
        self._states_outcomes = bool(state.get("states_outcomes"))
