"""The league whose traffic is replayed: real pool, payoff, quality scores and matchmakers; strengths are a model.

Nothing learns here. Who wins is drawn from a model of two parts:

    transitive      log-odds gain * log((1 + g) / (1 + h)) of generation g against generation h: every snapshot beats
                    those before it, by less and less
    intransitive    the disc game (Balduzzi et al. 2019, "Open-ended learning in symmetric zero-sum games"): a player
                    walks around a circle as it learns and beats those that lie less than half of it behind

Results drawn from that fill the payoff table, and matchmakers choose by the table alone, noise and fading included.
Weights are one number per snapshot: who needs 200 MB says so elsewhere (`traffic_events.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfmarl.league.matchmakers import Quality, make_matchmaker, opponents
from sfmarl.league.payoff import Payoff
from sfmarl.league.pool import SnapshotPool
from sfmarl.league.quality import QualityScores
from sfmarl.league.snapshot import SnapshotMeta
from sfmarl.league.store import MemoryStore
from sfmarl.league.view import view

ARCHITECTURE = {"replayed": True}
FIRST_GAMES = 100
"""Games that a learning player has played against each snapshot of a pool that does not begin empty."""


@dataclass(frozen=True)
class Strengths:
    """Who beats whom: the model."""

    gain: float = 2.0
    """Log-odds per e-fold of generations."""
    cycle: float = 1.0
    """Log-odds between the best and the worst place on the circle."""
    turn: float = 0.3
    """Radians that a player walks from one of its snapshots to the next."""

    def win(self, generation: np.ndarray, others: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Return how often players of `generation` beat those of generation `others` that began `ahead` radians on."""
        lead = self.turn * (generation - others) - ahead
        odds = self.gain * (np.log1p(generation) - np.log1p(others)) + self.cycle * np.sin(lead)
        return 1 / (1 + np.exp(-odds))


@dataclass(frozen=True)
class Schedule:
    """What happens how often, in matches of the whole fleet."""

    refresh: int
    """Matches from one look at the payoff table to the next."""
    snapshot: int
    """Matches from one snapshot to the next; learning players take turns."""
    limit: int
    """Snapshots that the pool holds; its rule `thin` decides who goes."""
    players: int = 1
    """Learning players P, among whom actors are divided."""
    self_play: float = 0.0
    """Share of the matches that need no snapshot: the player meets itself."""
    decay: float = 0.99
    """Weight that earlier results of a pair keep at each new one."""


@dataclass(frozen=True, eq=False)
class Epoch:
    """Whom everybody meets between two refreshes."""

    addresses: tuple[str, ...]
    """The pool, oldest first [n]."""
    probability: np.ndarray
    """[P, n] float64, by learning player; what is missing to 1 are matches without a snapshot."""
    taken: int
    """Snapshots taken so far."""


class ReplayedLeague:
    """A league that goes on as fast as matches are played."""

    def __init__(self, matchmaker: str, schedule: Schedule, strengths: Strengths, snapshots: int, seed: int) -> None:
        """Begin with a pool of `snapshots`; `matchmaker` as settings name it. Raises UsageError for an unknown one."""
        self.schedule, self._strengths = schedule, strengths
        self._rule = make_matchmaker(matchmaker)
        self._rng = np.random.default_rng(seed)
        self.pool = SnapshotPool(MemoryStore(), ARCHITECTURE, schedule.limit)
        self.payoff = Payoff(decay=schedule.decay)
        self.quality = QualityScores()
        self.names = [f"player {p}" for p in range(schedule.players)]
        self._generation = np.zeros(schedule.players)
        """[P]: snapshots each player has taken."""
        self._of: dict[str, tuple[int, float]] = {}
        """Address -> player and generation."""
        # whoever looks at whole intervals between snapshots finds each in the middle
        self._matches = schedule.snapshot // 2 if snapshots else 0
        self._taken = 0
        for _ in range(snapshots):
            self._snapshot()
        for player in range(schedule.players):
            self._results(player, np.full(len(self.pool), FIRST_GAMES))

    def epochs(self, matches: int) -> list[Epoch]:
        """Play at least so many matches; returns whom everybody met, refresh by refresh."""
        played = []
        while len(played) * self.schedule.refresh < matches:
            chances = np.stack([self._opponents(player) for player in range(self.schedule.players)])
            played.append(Epoch(tuple(self.pool.addresses), chances, self._taken))
            self._play(chances)
        return played

    def _opponents(self, player: int) -> np.ndarray:
        if not len(self.pool):
            return np.zeros(0)
        seen = view(self.names[player], self.pool.entries, self.payoff, quality=self.quality.scores)
        return (1 - self.schedule.self_play) * opponents(self._rule, seen)

    def _play(self, chances: np.ndarray) -> None:
        """Let a refresh's matches be played, and snapshots be taken that fall into them."""
        refresh, every = self.schedule.refresh, self.schedule.snapshot
        for player, chance in enumerate(chances):
            rest = max(0.0, 1.0 - chance.sum())
            self._results(player, self._rng.multinomial(refresh // len(chances), [*chance, rest])[:-1])
        due = (self._matches + refresh) // every - self._matches // every
        self._matches += refresh
        for _ in range(due):
            self._snapshot()

    def _results(self, player: int, games: np.ndarray) -> None:
        """Draw and note the results of `games` [n] between a player as it is now and each entry of the pool."""
        addresses = self.pool.addresses
        if not addresses:
            return
        whose, generation = np.array([self._of[address] for address in addresses]).T
        span = self.schedule.snapshot * self.schedule.players
        now = self._generation[player] + (self._matches % span) / span
        ahead = 2 * np.pi * (whose - player) / self.schedule.players
        won = self._rng.binomial(games, self._strengths.win(now, generation, ahead))
        for place in np.flatnonzero(games).tolist():
            pair = self.names[player], addresses[place]
            for result, times in ((1, won[place]), (0, games[place] - won[place])):
                if times:
                    self.payoff.record(pair, [result, 1 - result], int(times))
            if won[place] and isinstance(self._rule, Quality):
                self.quality.won(addresses[place], addresses, int(won[place]))

    def _snapshot(self) -> None:
        """Freeze the player whose turn it is."""
        player = self._taken % self.schedule.players
        entry = self.pool.add(ARCHITECTURE, [self._taken], SnapshotMeta(self.names[player]))
        self._of[entry.address] = player, float(self._generation[player])
        self._generation[player] += 1
        self._taken += 1
        self.payoff.add(entry.address)
        self.quality.enter(entry.address)
        if self.pool.sweep():
            kept = {*self.pool.addresses, *self.names}
            self.payoff.keep(kept)
            self.quality.keep(kept)
