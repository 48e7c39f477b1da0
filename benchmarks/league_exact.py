"""A league of exact best responses: the real pool, payoff table and matchmakers, an oracle in place of the network.

    python benchmarks/league_exact.py

Rock-paper-scissors, and the cyclic circle game: N strategies on a circle, each beats the N/2 - 1 that follow it, draws
with itself and its opposite and loses to the rest. Strength = 1 - exploitability = what a mixture wins, on average,
against the strategy that beats it most: .5 cannot be exploited, 0 always loses. NashConv counts a win 1, a loss -1.

Writes results/league_exact.{json,md,png}.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import league_exact_report
import numpy as np

from sfmarl.envs.matrix import payoffs
from sfmarl.league.matchmakers import make_matchmaker, opponents
from sfmarl.league.payoff import Payoff
from sfmarl.league.pool import SnapshotPool
from sfmarl.league.snapshot import SnapshotMeta
from sfmarl.league.solvers import nash, nash_conv
from sfmarl.league.store import MemoryStore
from sfmarl.league.view import View, view

RESULTS = Path(__file__).parent / "results"
CIRCLE = 30
LEARNERS, SAMPLE, LIMIT = 5, 12, 150

Oracle = Callable[[np.ndarray], int]
"""What each strategy earns [N] against a mixture -> the best response."""


def lowest(scores: np.ndarray) -> int:
    """Return the best strategy, of equally good ones the lowest; what differs by rounding is equal."""
    return int(np.flatnonzero(scores >= scores.max() - 1e-9)[0])


def highest(scores: np.ndarray) -> int:
    """Return the best strategy, of equally good ones the highest."""
    return int(np.flatnonzero(scores >= scores.max() - 1e-9)[-1])


def rounding(scores: np.ndarray) -> int:
    """Return the largest float64: equally good strategies are told apart by the rounding of their scores."""
    return int(np.argmax(scores))


def rock_paper_scissors() -> np.ndarray:
    """Return what each strategy earns against each, [3, 3]: win 1, draw .5, loss 0."""
    return (1 + payoffs.rock_paper_scissors().payoffs[0]) / 2


def circle(n: int = CIRCLE) -> np.ndarray:
    """Return the same of the cyclic circle game, [n, n]."""
    return (1 + payoffs.circle_payoff(n)) / 2


def strength(game: np.ndarray, mixture: np.ndarray) -> float:
    """Return 1 - exploitability of a mixture [N]."""
    # a mixture of P entries wins multiples of 1 / (2 P): what is cut off is the rounding of their sum
    return round(float(1 - (game @ mixture).max()), 12)


class ExactLeague:
    """Snapshots that are pure strategies of a matrix game; every two play one game, whose result is certain."""

    def __init__(self, game: np.ndarray, limit: int | None = None, eviction: str = "oldest") -> None:
        self.game = game
        self.pool = SnapshotPool(MemoryStore(), {"strategies": len(game)}, limit, eviction)
        self.payoff = Payoff()

    def add(self, strategy: int, player: str = "learner") -> None:
        """Freeze a strategy and play what it has not played yet."""
        entry = self.pool.add({"strategies": len(self.game)}, [strategy], SnapshotMeta(player))
        if entry.address not in self.payoff.keys:
            self.payoff.add(entry.address)
            for other in self.payoff.keys:
                result = self.game[strategy, self._strategy(other)]
                self.payoff.record([entry.address, other], [result, 1 - result])

    def strategies(self) -> np.ndarray:
        """Return the pool's strategies [P] int64."""
        return np.array([self._strategy(address) for address in self.pool.addresses])

    def view(self, equilibrium: bool = False) -> View:
        """Return what a learner sees that plays like its newest snapshot; `equilibrium`: with the pool's as `meta`."""
        keys, meta = [*dict.fromkeys(self.pool.addresses)], None
        if equilibrium:
            meta = dict(zip(keys, nash(2 * self.payoff.win_rates(keys, keys) - 1).row, strict=True))
        seen = view("learner", self.pool.entries, self.payoff, meta=meta)
        return dataclasses.replace(seen, win_rates=self.payoff.win_rates([seen.keys[-1]], seen.keys)[0])

    def mixture(self, p: np.ndarray) -> np.ndarray:
        """Return the strategies' shares [N] when entries of the pool are drawn by `p` [P]."""
        shares = np.zeros(len(self.game))
        np.add.at(shares, self.strategies(), p)
        return shares

    def _strategy(self, address: str) -> int:
        return int(self.pool.store.get(address).weights[0])


def respond(game: np.ndarray, rule: str, size: int, oracle: Oracle) -> dict[str, list[float]]:
    """Let one learner respond to the matchmaker `rule` from strategy 0 on, until the pool holds `size` snapshots.

    Returns `strength`, `nash_conv` and `distinct` (strategies in the pool) of the matchmaker's mixture, by pool size.
    """
    league, matchmaker = ExactLeague(game), make_matchmaker(rule)
    league.add(0)
    series: dict[str, list[float]] = {"strength": [], "nash_conv": [], "distinct": []}
    while True:
        mixture = league.mixture(opponents(matchmaker, league.view(equilibrium=rule == "meta")))
        series["strength"].append(strength(game, mixture))
        series["nash_conv"].append(nash_conv(2 * game - 1, mixture))
        series["distinct"].append(len(set(league.pool.addresses)))
        if len(league.pool) == size:
            return series
        league.add(oracle(game @ mixture))


def lone_pair(game: np.ndarray, draws: random.Random, rounds: int) -> dict[str, list[Any]]:
    """Let two learners that know only each other respond in turn; returns `walk` [(a, b)] and the better `strength`."""
    a, b = draws.randrange(len(game)), draws.randrange(len(game))
    pure = np.eye(len(game))
    walk, strengths = [(a, b)], []
    for _ in range(rounds):
        a = lowest(game @ pure[b])
        b = lowest(game @ pure[a])
        walk.append((a, b))
        strengths.append(max(strength(game, pure[a]), strength(game, pure[b])))
    return {"walk": walk, "strength": strengths}


def textbook(game: np.ndarray, draws: random.Random, rounds: int, eviction: str) -> dict[str, list[float]]:
    """Let five learners respond to samples of a bounded pool; returns strength and distinct strategies by round.

    Draws, in order: the learners' first strategies; then, each round and learner, 12 of the entries that the uniform
    matchmaker may choose, without replacement. Answers enter the pool at the end of a round.
    """
    league, uniform = ExactLeague(game, LIMIT, eviction), make_matchmaker("uniform")
    for learner in range(LEARNERS):
        league.add(draws.randrange(len(game)), f"learner {learner}")
    series: dict[str, list[float]] = {"strength": [], "distinct": []}
    for _ in range(rounds):
        strategies = league.strategies()
        support = np.flatnonzero(opponents(uniform, league.view())).tolist()
        answers = []
        for _ in range(LEARNERS):
            sample = strategies[draws.sample(support, min(SAMPLE, len(support)))]
            answers.append(lowest(game[:, sample].mean(1)))
        for learner, answer in enumerate(answers):
            league.add(answer, f"learner {learner}")
        series["strength"].append(strength(game, league.mixture(opponents(uniform, league.view()))))
        series["distinct"].append(len(set(league.pool.addresses)))
    return series


def textbook_run(rounds: int, eviction: str, seed: int = 7) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the lone pair and the league of one stream of draws: the pair's two come first."""
    draws = random.Random(seed)
    return lone_pair(circle(), draws, rounds), textbook(circle(), draws, rounds, eviction)


def run() -> dict[str, Any]:
    """Play everything and return it as JSON types."""
    rules = {"latest": "latest", "uniform": "uniform", "pfsp": "pfsp?weighting=squared", "nash": "meta"}
    recorded: dict[str, Any] = {
        "rock_paper_scissors": {
            "latest": respond(rock_paper_scissors(), "latest", 30, lowest),
            "uniform, lowest": respond(rock_paper_scissors(), "uniform", 1000, lowest),
            "uniform, highest": respond(rock_paper_scissors(), "uniform", 1000, highest),
            "nash": respond(rock_paper_scissors(), "meta", 10, lowest),
        },
        "circle": {name: respond(circle(), rule, 120, lowest) for name, rule in rules.items()},
    }
    recorded["circle"]["uniform, rounding"] = respond(circle(), "uniform", 120, rounding)
    for eviction in ("oldest", "thin"):
        pair, league = textbook_run(120, eviction)
        recorded[f"league, {eviction}"] = league
    recorded["lone_pair"] = pair
    return recorded


def main() -> None:
    """Write results/league_exact.{json,md,png} and print the table."""
    recorded = run()
    (RESULTS / "league_exact.json").write_text(json.dumps(recorded) + "\n")
    print(league_exact_report.write(recorded, RESULTS))


if __name__ == "__main__":
    main()
