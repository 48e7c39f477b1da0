"""What is recorded of a league: ratings by all games so far, win rates, sizes and traffic."""

from __future__ import annotations

from collections.abc import Sequence

from sfmarl.league.payoff import Payoff
from sfmarl.league.ratings import bradley_terry
from sfmarl.run.league import League


def ratings(payoff: Payoff, scripts: Sequence[str]) -> dict[str, float]:
    """Return key -> rating of everybody who played; the first of `scripts` that did is fixed at 1200, else the mean."""
    keys = payoff.keys
    if not keys:
        return {}
    counts = payoff.counts(keys, keys)
    known = [script for script in scripts if script in keys]
    rated = bradley_terry(counts.wins, counts.draws, anchor=keys.index(known[0]) if known else None)
    return dict(zip(keys, rated.ratings.tolist(), strict=True))


def scalars(league: League) -> dict[str, float]:
    """Return the scalars of a record (names in `metrics.METRICS`); the league's ratings are brought up to date."""
    league.opponents.ratings = ratings(league.results.payoff, league.settings.scripts)
    traffic = league.live.traffic
    found = {
        "league/pool_size": float(len(league.pool)),
        "league/cache_hits": float(traffic.hits),
        "league/cache_misses": float(traffic.misses),
        "league/bytes_moved": float(traffic.bytes_moved),
        "league/bytes_if_all_pulled": float(traffic.pull_all_bytes),
        "league/matches_live": float(league.results.matches["live"]),
        "league/matches_frozen": float(league.results.matches["frozen"]),
    }
    against = {script.replace("/", "-"): script for script in league.settings.scripts}
    if addresses := league.pool.addresses:
        against |= {"oldest": addresses[0], "newest": addresses[-1]}
    for name in league.names:
        counts = league.results.payoff.counts([name], list(against.values()))
        for label, rate, games in zip(against, counts.win_rate[0], counts.games[0], strict=True):
            if games:
                found[f"league/{name}/win_rate_{label}"] = float(rate)
        if name in league.opponents.ratings:
            found[f"league/{name}/rating"] = league.opponents.ratings[name]
    return found
