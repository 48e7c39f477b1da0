"""The league's board: once in a while its payoff, ratings and opponents, as pictures in TensorBoard and as JSON.

    League --Standing.of: copies, in the main loop--> Standing --Board.late: in the writer's thread--> Late

A line of `league.jsonl` holds whatever the pictures show. Games of all pairs, seat by seat, are in the checkpoints.
What was there before is read from the file when a run is resumed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.config import LeagueConfig
from sfmarl.league.payoff import Counts
from sfmarl.league.ratings import bradley_terry
from sfmarl.monitor import league_pictures as pictures
from sfmarl.monitor.record_files import DOCUMENTS, Late, Picture
from sfmarl.run.league import League
from sfmarl.run.league_history import Look, fewer, over_time_of, read_history

SHOWN = 24
"""Players in a picture of the payoff, and groups of opponents; more cannot be told apart on a card of TensorBoard."""
SHARE = 0.01
"""Of the run's time the board takes at most so much."""


@dataclass(frozen=True)
class Contestant:
    """Somebody in the payoff table."""

    key: str
    """Address, or name."""
    label: str
    """What pictures call it."""
    player: str
    """Whose policy it is; "" for a script."""
    kind: str
    """learning | script | snapshot."""
    env_steps: int
    """When it was taken; now for who learns, 0 for a script."""
    number: int = -1
    """A snapshot's (first) entry in the pool."""


@dataclass(frozen=True)
class Standing:
    """A league at one moment. Nothing of it is shared with the league."""

    env_steps: int
    """Now."""
    contestants: tuple[Contestant, ...]
    """[n]: who learns, scripts, then the pool's snapshots, oldest first, each once."""
    counts: Counts
    """[n, n] games of both (all) seats."""
    elo: np.ndarray
    """[n] float64."""
    base: float
    """Rating of the first script, or of the mean without one."""
    met: Mapping[str, np.ndarray]
    """Learning player -> [n] float64: whom it is to meet."""

    @classmethod
    def of(cls, league: League, env_steps: int) -> Standing:
        """Return how `league` stands."""
        settings, results = league.settings, league.results
        found = [Contestant(name, name, name, "learning", env_steps) for name in league.names]
        found += [Contestant(call, call, "", "script", 0) for call in settings.scripts]
        several = len(league.names) > 1
        places = {contestant.key: place for place, contestant in enumerate(found)}
        for entry in league.pool.entries:
            if entry.address not in places:
                label = f"{entry.meta.player} #{entry.number}" if several else f"#{entry.number}"
                places[entry.address] = len(found)
                meta = entry.meta
                found.append(Contestant(entry.address, label, meta.player, "snapshot", meta.env_steps, entry.number))
        keys = [contestant.key for contestant in found]
        met = {}
        for player, name in enumerate(league.names):
            met[name] = shares = np.zeros(len(found))
            for key, probability in league.pairing.latest(player).items():
                if key in places:  # what was evicted since is met no more
                    shares[places[key]] += probability
        elo = results.elo
        ratings = np.array([elo.ratings.get(key, elo.base) for key in keys])
        return cls(env_steps, tuple(found), results.payoff.counts(keys, keys), ratings, elo.base, met)


class Board:
    """Says when the next look is due, and makes of it what is recorded."""

    def __init__(self, run_dir: Path, settings: LeagueConfig, resume_step: int | None = None) -> None:
        """A resumed run names the env-steps it goes on from."""
        self._seconds, self._scripts = settings.board_seconds, list(settings.scripts)
        self._taken, self._cost = time.monotonic(), 0.0
        self._history = [] if resume_step is None else read_history(run_dir / DOCUMENTS, resume_step)

    def look(self, league: League, env_steps: int, last: bool = False) -> Callable[[], Late] | None:
        """Return what the writer's thread has to do for a record, if a look is due (or it is the last one)."""
        waited = time.monotonic() - self._taken
        if not last and (not self._seconds or waited < max(self._seconds, self._cost / SHARE)):
            return None
        self._taken = time.monotonic()
        standing = Standing.of(league, env_steps)
        copied = time.monotonic() - self._taken
        return lambda: self._late(standing, copied)

    def _late(self, standing: Standing, copied: float) -> Late:
        begin = time.thread_time()
        made = self._made(standing)
        gc.collect()  # figures are cycles, whose tens of MiB would wait for the next full collection
        self._cost = copied + time.thread_time() - begin
        return made

    def _made(self, standing: Standing) -> Late:
        ratings, half = _rated(standing, self._scripts)
        shown = pictures.thinned([c.kind == "snapshot" for c in standing.contestants], SHOWN)
        document = _document(standing, ratings, half, shown)
        self._history = fewer([*self._history, Look.read({"env_steps": standing.env_steps, **document})])
        scalars = {}
        for place, contestant in enumerate(standing.contestants):
            if contestant.kind == "learning" and standing.counts.games[place].any():
                name = f"league/{contestant.key}/rating"
                scalars[name] = ratings[place]
                scalars[f"{name}_low"], scalars[f"{name}_high"] = ratings[place] + [-half[place], half[place]]
        return Late(scalars, document, self._drawn(standing, ratings, half, shown))

    def _drawn(
        self, standing: Standing, ratings: np.ndarray, half: np.ndarray, shown: Sequence[int]
    ) -> dict[str, Picture]:
        at = f"{standing.env_steps:,} env-steps"
        counts, cell = standing.counts, np.ix_(shown, shown)
        low, high = counts.interval
        names = [contestant.label for contestant in standing.contestants]
        table = pictures.Table(
            [names[place] for place in shown],
            counts.win_rate[cell],
            (high - low)[cell],
            counts.games[cell],
            [standing.contestants[place].kind == "snapshot" for place in shown],
        )
        games = int(np.triu(table.games, 1).sum())
        played = np.flatnonzero(counts.games.any(axis=1))
        who = [standing.contestants[place] for place in played]
        rated = pictures.Rated(
            [contestant.label for contestant in who],
            [contestant.player for contestant in who],
            np.array([contestant.env_steps for contestant in who], float),
            np.array([contestant.kind == "learning" for contestant in who], bool),
            ratings[played],
            half[played],
        )
        groups = _groups(standing.contestants)
        met = {
            name: np.array([shares[group].sum() for group in groups.values()]) for name, shares in standing.met.items()
        }
        steps, rows, over_time = over_time_of(self._history, list(standing.met), SHOWN // 2)
        return {
            "league/payoff": pictures.payoff_picture(table, f"Payoff at {at}: {games:,} games"),
            "league/ratings": pictures.ratings_picture(rated, f"Ratings at {at}, given all games (Bradley-Terry)"),
            "league/opponents": pictures.opponents_picture(list(groups), met, f"Whom players are to meet at {at}"),
            "league/opponents_over_time": pictures.opponents_over_time_picture(
                steps, rows, over_time, "Whom players were to meet, by when it was taken"
            ),
        }


def _groups(contestants: Sequence[Contestant]) -> dict[str, list[int]]:
    """Return name -> places: who learns one by one, snapshots in groups of neighbours by age."""
    groups = {c.label: [place] for place, c in enumerate(contestants) if c.kind == "learning"}
    snapshots = [place for place, contestant in enumerate(contestants) if contestant.kind == "snapshot"]
    for part in np.array_split(snapshots, min(len(snapshots), max(1, SHOWN - len(groups)))) if snapshots else ():
        first, last = contestants[part[0]], contestants[part[-1]]
        groups[first.label if len(part) == 1 else f"#{first.number} - #{last.number}"] = part.tolist()
    return groups


def _rated(standing: Standing, scripts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return likeliest ratings [n] and half their intervals; the first of `scripts` that played has the base."""
    counts = standing.counts
    keys = [contestant.key for contestant in standing.contestants]
    known = [keys.index(script) for script in scripts if counts.games[keys.index(script)].any()]
    rated = bradley_terry(counts.wins, counts.draws, base=standing.base, anchor=known[0] if known else None)
    return rated.ratings, rated.half_width


def _document(standing: Standing, ratings: np.ndarray, half: np.ndarray, shown: Sequence[int]) -> dict[str, Any]:
    """Return what the pictures show, as JSON types: all contestants, and games between those at the places `shown`."""
    counts = standing.counts
    among = np.zeros(counts.games.shape, bool)
    among[np.ix_(shown, shown)] = True
    rows, columns = np.nonzero(np.triu(np.where(among, counts.games, 0.0), 1))
    cells = zip(rows, columns, *(table[rows, columns] for table in counts[:3]), strict=True)
    return {
        "contestants": [
            {
                "key": contestant.key,
                "label": contestant.label,
                "player": contestant.player,
                "kind": contestant.kind,
                "env_steps": contestant.env_steps,
                "games": round(float(counts.games[place].sum()), 2),
                "rating": round(float(ratings[place]), 1),
                "half_width": round(float(half[place]), 1),
                "elo": round(float(standing.elo[place]), 1),
            }
            for place, contestant in enumerate(standing.contestants)
        ],
        "met": {name: [round(float(share), 5) for share in shares] for name, shares in standing.met.items()},
        # row, column, and how often the row won, drew and lost
        "payoff": [[int(r), int(c), *(round(float(games), 2) for games in results)] for r, c, *results in cells],
    }
