"""A tournament: who beat whom, how sure that is, ratings, and whether anybody beats the champion.

win rate     (wins + draws / 2) / games, with Wilson's 95 % interval
rating       Bradley-Terry, maximum likelihood over all games, 95 % by Fisher information (league/ratings.py)
verdict      intervals of the champion's win rates whose level is corrected for their number (Bonferroni): with 95 %
             all of them hold at once
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.errors import RunError
from sfmarl.evaluation.contestants import Contestant
from sfmarl.league.payoff import Payoff, wilson
from sfmarl.league.ratings import BradleyTerry, Elo, bradley_terry
from sfmarl.monitor.league_pictures import Table, payoff_picture
from sfmarl.monitor.record_files import Picture
from sfmarl.results.table import format_table
from sfmarl.results.verdict import Verdict
from sfmarl.seeding import seed_for
from sfmarl.storage.durable import dump_json, replace_file

WIDEST_MATRIX = 20
"""Players up to which the console shows the matrix; more are for the picture and the JSON."""
WIDEST_INTERVALS = 8
"""Players up to which it shows the interval of every win rate."""
INCHES_PER_PLAYER, NARROWEST_PICTURE, WIDEST_PICTURE = 0.25, 4.0, 18.0
"""Width of the picture."""


@dataclass(frozen=True)
class Tournament:
    """Everybody against everybody."""

    env: str
    """The environment's name."""
    env_version: str
    """Package and version it comes from."""
    seats: tuple[str, ...]
    """Names of the seats."""
    contestants: Sequence[Contestant]
    """P players."""
    games: int
    """Matches of each pairing: of each ordered pair, where there are two seats."""
    matches: np.ndarray
    """int64 [M, seats]: who sat where."""
    outcomes: np.ndarray
    """[M, seats] (league/outcome.py)."""
    seed: int
    """Seed of everything."""
    greedy: bool
    """Whether policies took their most probable actions."""
    openings: int
    """Random plies at the beginning of every game."""
    champion: int = 0
    """Number of the player whom the verdict is about."""
    elo_k: float = 0.0
    """K of the Elo ratings; 0 = none are computed."""

    @cached_property
    def names(self) -> list[str]:
        """Names of the players."""
        return [contestant.name for contestant in self.contestants]

    @cached_property
    def payoff(self) -> Payoff:
        """All games by pair and seat."""
        payoff = Payoff(len(self.seats))
        for name in self.names:
            payoff.add(name)
        alike, count = np.unique(np.hstack((self.matches, self.outcomes)), axis=0, return_counts=True)
        for row, times in zip(alike, count.tolist(), strict=True):
            who = row[: len(self.seats)].astype(int).tolist()
            payoff.record([self.names[number] for number in who], row[len(self.seats) :], times)
        return payoff

    @cached_property
    def played(self) -> np.ndarray:
        """Matches between each two players, [P, P]: what intervals are made of, also where a match has many seats."""
        found = np.zeros((len(self.names), len(self.names)))
        alike, count = np.unique(self.matches, axis=0, return_counts=True)
        for row, times in zip(alike, count.tolist(), strict=True):
            here = np.unique(row)
            found[np.ix_(here, here)] += times
        np.fill_diagonal(found, 0)
        return found

    @cached_property
    def win_rates(self) -> np.ndarray:
        """Of rows against columns, [P, P]; .5 on the diagonal."""
        rates = self.payoff.win_rates(self.names, self.names)
        np.fill_diagonal(rates, 0.5)
        return rates

    @cached_property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper 95 % bounds of the win rates, each [P, P]."""
        return wilson(self.win_rates, self.played)

    @cached_property
    def ratings(self) -> BradleyTerry:
        """Of all players; their mean is 1200."""
        counts = self.payoff.counts(self.names, self.names)
        # a match of many seats is one observation, however many pairs sit there
        scale = self.played / np.maximum(counts.games, 1)
        return bradley_terry(counts.wins * scale, counts.draws * scale)

    @cached_property
    def elo(self) -> dict[str, float]:
        """Elo of all players after their matches in a random order; empty if it is not asked for."""
        if not self.elo_k:
            return {}
        elo = Elo(k=self.elo_k)
        for match in np.random.default_rng(seed_for(self.seed, "elo")).permutation(len(self.matches)).tolist():
            elo.record([self.names[number] for number in self.matches[match]], self.outcomes[match])
        return elo.ratings

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of the champion against its own run's snapshots, and against everybody else."""
        champion = self.contestants[self.champion]
        others = [number for number in range(len(self.names)) if number != self.champion]
        own = [
            number
            for number in others
            if self.contestants[number].kind == "snapshot"
            and champion.source
            and Path(self.contestants[number].source).resolve() == Path(champion.source).resolve()
        ]
        rest = [number for number in others if number not in own]
        groups = (("own snapshot", own), ("other player", rest))
        rates, played = self.win_rates[self.champion], self.played[self.champion]
        return [
            Verdict.of(champion.name, title, [self.names[n] for n in group], rates[group], played[group])
            for title, group in groups
            if group
        ]

    def by_seat(self, player: int) -> list[float]:
        """Return the share of points that a player made in each seat, over all its matches there."""
        found = []
        for seat in range(len(self.seats)):
            mine = self.matches[:, seat] == player
            found.append(float(self.outcomes[mine, seat].mean()) if mine.any() else 0.5)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        counts = [self.payoff.counts(self.names, self.names, seat) for seat in range(len(self.seats))]
        return {
            "env": self.env,
            "env_version": self.env_version,
            "seats": list(self.seats),
            "games_per_pairing": self.games,
            "matches": len(self.matches),
            "greedy": self.greedy,
            "openings": self.openings,
            "seed": self.seed,
            "interval": "Wilson, 95 %",
            "rating": "Bradley-Terry, maximum likelihood, mean 1200, half width of the 95 % interval",
            "elo_k": self.elo_k or None,
            "players": [
                {
                    **contestant.to_json(),
                    "rating": float(self.ratings.ratings[number]),
                    "rating_half_width": float(self.ratings.half_width[number]),
                    "elo": self.elo.get(contestant.name),
                    "points_by_seat": self.by_seat(number),
                }
                for number, contestant in enumerate(self.contestants)
            ],
            "played": self.played.astype(int).tolist(),
            "win_rate": self.win_rates.tolist(),
            "win_rate_low": self.intervals[0].tolist(),
            "win_rate_high": self.intervals[1].tolist(),
            "by_seat": [
                {"seat": seat, "wins": c.wins.tolist(), "draws": c.draws.tolist(), "losses": c.losses.tolist()}
                for seat, c in zip(self.seats, counts, strict=True)
            ],
            "champion": self.names[self.champion],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }

    def __str__(self) -> str:
        """Return the standings, the matrix if it is small, and the verdict."""
        how = "greedy" if self.greedy else "sampled actions"
        opening = f", {self.openings} random plies first" if self.openings else ""
        kind = "ordered pair" if len(self.seats) == 2 else "pair and seat"
        lines = [
            f"{self.env} ({self.env_version}): {len(self.names)} players, {self.games} games of each {kind} "
            f"({len(self.matches):,} in all), {how}{opening}, seed {self.seed}",
            format_table(*self._standings()),
            "(rating: Bradley-Terry, maximum likelihood over all games, mean 1200, ± half of its 95 % interval; "
            "points: a win 1, a draw ½)",
        ]
        if len(self.names) <= WIDEST_MATRIX:
            lines += ["", format_table(*self._matrix()), self._about_matrix()]
        return "\n".join([*lines, "", *map(str, self.verdicts)])

    def _standings(self) -> tuple[list[str], list[list[str]]]:
        header = ["#", "player", "env-steps", "rating", *(["Elo"] if self.elo else []), "points"]
        header += [f"as {seat}" for seat in self.seats] + [f"against {self.names[self.champion]}"]
        rows = []
        for number in np.argsort(-self.ratings.ratings, kind="stable").tolist():
            contestant = self.contestants[number]
            others = np.arange(len(self.names)) != number
            steps = "" if contestant.env_steps is None else f"{contestant.env_steps:,}"
            row = [str(number + 1), contestant.name, steps]
            row.append(f"{self.ratings.ratings[number]:.0f} ± {self.ratings.half_width[number]:.0f}")
            row += [f"{self.elo[contestant.name]:.0f}"] if self.elo else []
            row.append(_share(self.win_rates[number, others].mean()))
            row += map(_share, self.by_seat(number))
            against = "" if number == self.champion else self._cell(number, self.champion)
            rows.append([*row, against])
        return header, rows

    def _matrix(self) -> tuple[list[str], list[list[str]]]:
        numbers = range(len(self.names))
        cell = self._cell if len(numbers) <= WIDEST_INTERVALS else lambda *at: _share(self.win_rates[at])
        header = ["#", "player", *(str(number + 1) for number in numbers)]
        rows = [
            [str(row + 1), self.names[row], *("-" if row == column else cell(row, column) for column in numbers)]
            for row in numbers
        ]
        return header, rows

    def _about_matrix(self) -> str:
        if len(self.names) <= WIDEST_INTERVALS:
            return "(win rate of the row against the column, ± half of Wilson's 95 % interval)"
        low, high = self.intervals
        half = (high - low)[~np.eye(len(self.names), dtype=bool)] / 2
        return (
            "(win rate of the row against the column; halves of Wilson's 95 % intervals, which are in the JSON, are "
            f"{_share(half.min())} to {_share(half.max())})"
        )

    def _cell(self, row: int, column: int) -> str:
        low, high = (bound[row, column] for bound in self.intervals)
        return f"{_share(self.win_rates[row, column])} ± {_share((high - low) / 2)}"

    def picture(self) -> Picture:
        """Return the win rates of rows against columns, in the order in which the players were named."""
        low, high = self.intervals
        table = Table(
            self.names,
            self.win_rates,
            high - low,
            self.played,
            [contestant.kind == "snapshot" for contestant in self.contestants],
            [f"{rating:.0f}" for rating in self.ratings.ratings],
        )
        games, seats = f"{len(self.matches):,} games", "both seats" if len(self.seats) == 2 else "all seats"
        width = min(NARROWEST_PICTURE + INCHES_PER_PLAYER * len(self.names), WIDEST_PICTURE)
        return payoff_picture(table, f"{self.env}: {games}, {seats}; behind the names: rating", width)

    def write(self, json_file: Path | None = None, picture: Path | None = None) -> list[Path]:
        """Write the JSON and the heat map where they are wanted; return what was written.

        Raises RunError when the disk does not take them.
        """
        written = []
        for path, write in (
            (json_file, lambda path: replace_file(path, dump_json(self.to_json()))),
            (picture, lambda path: replace_file(path, self.picture().png)),
        ):
            if path is None:
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path)
            except OSError as error:
                raise RunError(f"{path} cannot be written: {error.strerror or error}. Choose another file.") from error
            written.append(path)
        return written


def _share(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if value < 1 else f"{value:.3f}"
