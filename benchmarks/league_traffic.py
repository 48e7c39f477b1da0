"""What a league's snapshots cost in traffic, memory and waiting: its matchmaking replayed for up to 4000 actors.

    python benchmarks/league_traffic.py                  # all of it, and a short real run for the check: 5 minutes
    python benchmarks/league_traffic.py --run RUN        # check against a league run that is there already
    python benchmarks/league_traffic.py --no-check
    python benchmarks/league_traffic.py --scale 0.05 --no-check --results /tmp/try    # does everything run?

Discrete events (`traffic_events.py`) of a fleet (`traffic_fleet.py`) that plays a league (`traffic_league.py`) with the
real pool, payoff table, matchmakers and cache. `traffic_check.py` compares the small end with a real run's own metrics,
`league_traffic_report.py` writes results/league_traffic.{json,md,png}. A function of its seed: no clock is read.

Where the sizes come from. AlphaStar (Vinyals et al. 2019, Nature 575, Methods) needs 55 million weights to act: 220 MB
as float32, so a snapshot is 200 MB here. Its league took almost 900 snapshots in 44 days, one in 70 minutes; here one
is taken every 50,000 matches, which 4000 actors play in 63 minutes. For each of its 12 learning players it ran 16,000
matches at a time, for which 16 actor tasks on accelerators computed actions in batches: a thousand matches share a copy
of an opponent's weights there. The league of 2e8 five-minute matches, 500 snapshots and 4000 actors is that of the
textbook whose circle game `league_exact.py` plays.

Not counted: the weights of who is learning, which every design sends to whoever acts for it just the same.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import league_traffic_report
import numpy as np
import traffic_check
from traffic_events import Simulation
from traffic_fleet import WINDOW, Design, Fleet
from traffic_league import Epoch, ReplayedLeague, Schedule, Strengths

RESULTS = Path(__file__).parent / "results"
SEED = 1
SNAPSHOT_BYTES = 200_000_000
POOL = 500
ACTORS = (100, 400, 1000, 2000, 4000)
PER_RACK = 40
SCHEDULE = Schedule(refresh=12_500, snapshot=50_000, limit=POOL, players=3)
LINKS = (10.0, 25.0, 100.0)
"""Gbit/s of the store's uplink."""
RACK_GBIT = 25.0
"""Gbit/s from a rack's cache to its actors, where waiting is looked at."""
LIFETIME = 24 * 3600.0
"""Seconds after which an actor on machines that are lent out is restarted, where restarts are looked at."""
POOLS = (10, 50, 200)
"""Sizes of a pool on its way to POOL."""

DESIGNS = {
    design.name: design
    for design in (
        Design("pull-all", actor=POOL, pull_all=True),
        Design("one per match", actor=1),
        Design("actors keep 8", actor=8),
        Design("rack keeps 64", actor=1, rack=64),
        Design("rack keeps all", actor=1, rack=POOL),
        Design("16 live", rack=16, live=True),
    )
}
PFSP = "pfsp?weighting=squared"
MATCHMAKERS = (PFSP, "uniform", "latest", "window?size=10&latest=0.5", "quality?latest=0.8")


class Replay:
    """Simulations of one scale; leagues are played once and shared by all fleets, since they advance by matches."""

    def __init__(self, scale: float) -> None:
        """`scale` shortens everything that is counted in matches, for a trial."""
        self._schedule = replace(
            SCHEDULE, refresh=int(SCHEDULE.refresh * scale), snapshot=int(SCHEDULE.snapshot * scale)
        )
        # two intervals, a snapshot in the middle of each: the second is what is reported
        self._matches = 2 * self._schedule.snapshot
        self._leagues: dict[tuple[str, int], tuple[ReplayedLeague, list[Epoch]]] = {}

    def run(
        self,
        design: str,
        actors: int = ACTORS[-1],
        matchmaker: str = PFSP,
        pool: int = POOL,
        cold: bool = False,
        **fleet: Any,
    ) -> dict[str, Any]:
        """Simulate and return what happened, as JSON types.

        `cold`: rack caches begin empty, and there are 4 times as many matches. `fleet`: further settings of `Fleet`.
        """
        matches = self._matches * (4 if cold else 1)
        epochs = self._epochs(matchmaker, pool, matches)
        settings = Fleet(actors, PER_RACK, SNAPSHOT_BYTES, **fleet)
        simulation = Simulation(DESIGNS[design], settings, epochs, self._schedule.refresh, SEED, warm=not cold)
        half, end = simulation.run(matches)
        seconds, matches = end.seconds - half.seconds, end.matches - half.matches
        gbit = 8e-9 / seconds
        waits = np.array(simulation.waits[half.waited :])
        series = simulation.store.series(0.0 if cold else half.seconds, end.seconds)
        ideal = actors / settings.mean_match
        found = {
            "design": design,
            "actors": actors,
            "matchmaker": matchmaker,
            "pool": pool,
            "effective_opponents": float(np.mean([1 / (p**2).sum() for p in epochs[0].probability])),
            "spread": settings.spread,
            "lifetime": settings.lifetime,
            "store_link": None if math.isinf(settings.store_gbit) else settings.store_gbit,
            "matches": matches,
            "hours": seconds / 3600,
            "store_bytes_per_match": (end.store_bytes - half.store_bytes) / matches,
            "store_gbit": (end.store_bytes - half.store_bytes) * gbit,
            "store_gbit_peak_minute": float(series.max()) * 8e-9 / WINDOW,
            "rack_gbit": (end.rack_bytes - half.rack_bytes) * gbit / settings.racks,
            "wait_mean": float(waits.mean()),
            "wait_p99": float(np.quantile(waits, 0.99)),
            "match_rate": matches / seconds / ideal,
            "restarts": simulation.restarts,
        }
        if cold:
            found["series"] = (series * 8e-9 / WINDOW).tolist()
        print(f"{design}, {actors} actors, {matchmaker}, pool {pool}: {found['store_gbit']:.3g} Gbit/s", flush=True)
        return found

    def _epochs(self, matchmaker: str, pool: int, matches: int) -> list[Epoch]:
        """Return at least so many matches of a league."""
        if (matchmaker, pool) not in self._leagues:
            self._leagues[matchmaker, pool] = ReplayedLeague(matchmaker, self._schedule, Strengths(), pool, SEED), []
        league, played = self._leagues[matchmaker, pool]
        played += league.epochs(matches - len(played) * self._schedule.refresh)
        return played


def replay(scale: float) -> dict[str, Any]:
    """Simulate everything and return it as JSON types."""
    league = Replay(scale)
    moving = [name for name, design in DESIGNS.items() if not design.pull_all]
    return {
        "settings": {
            "seed": SEED,
            "snapshot_bytes": SNAPSHOT_BYTES,
            "per_rack": PER_RACK,
            "schedule": asdict(SCHEDULE),
            "strengths": asdict(Strengths()),
            "designs": {name: asdict(design) for name, design in DESIGNS.items()},
            "rack_link": RACK_GBIT,
            "scale": scale,
        },
        "actors": [league.run(name, actors) for actors in ACTORS for name in DESIGNS],
        "restarts": [league.run(name, lifetime=LIFETIME) for name in DESIGNS],
        "matchmakers": [league.run(name, matchmaker=rule) for rule in MATCHMAKERS[1:] for name in moving],
        "pools": [league.run(name, pool=pool) for pool in POOLS for name in DESIGNS],
        "links": [
            league.run(name, store_gbit=gbit, rack_gbit=RACK_GBIT)
            for gbit in LINKS
            for name, design in DESIGNS.items()
            if not design.live
        ],
        "spreads": [league.run("one per match", spread=spread) for spread in ("constant", "exponential", "lognormal")],
        "cold": [league.run(name, cold=True) for name in moving],
    }


def main(words: Sequence[str] | None = None) -> None:
    """Write results/league_traffic.{json,md,png} and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, help="check against this league run instead of a new one")
    parser.add_argument("--no-check", action="store_true", help="leave out the comparison with a real run")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten every simulation to this part")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args(words)
    recorded = replay(args.scale)
    recorded["check"] = None if args.no_check else traffic_check.check(args.run)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "league_traffic.json").write_text(json.dumps(recorded) + "\n")
    print(league_traffic_report.write(recorded, args.results))


if __name__ == "__main__":
    main()
