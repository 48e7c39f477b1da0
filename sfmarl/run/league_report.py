"""Scalars of a league that every record has: Elo ratings, win rates, sizes and traffic."""

from __future__ import annotations

import numpy as np

from sfmarl.run.league import League


def scalars(league: League) -> dict[str, float]:
    """Return the scalars of a record (names in `metrics.METRICS`)."""
    results, traffic = league.results, league.live.traffic
    found = {
        "league/pool_size": float(len(league.pool)),
        "league/cache_hits": float(traffic.hits),
        "league/cache_misses": float(traffic.misses),
        "league/bytes_moved": float(traffic.bytes_moved),
        "league/bytes_if_all_pulled": float(league.bytes_if_all_pulled),
        "league/matches_live": float(results.matches["live"]),
        "league/matches_frozen": float(results.matches["frozen"]),
    }
    against = {script.replace("/", "-"): script for script in league.settings.scripts}
    if addresses := league.pool.addresses:
        against |= {"oldest": addresses[0], "newest": addresses[-1]}
    for player, name in enumerate(league.names):
        counts = results.payoff.counts([name], list(against.values()))
        for label, rate, games in zip(against, counts.win_rate[0], counts.games[0], strict=True):
            if games:
                found[f"league/{name}/win_rate_{label}"] = float(rate)
        found[f"league/{name}/elo"] = results.elo.ratings[name]
        met = league.pairing.latest(player)
        found[f"league/{name}/self_play"] = met[name]
        found[f"league/{name}/effective_opponents"] = _effective(np.array([*met.values()]))
    return found


def _effective(p: np.ndarray) -> float:
    """Return exp(entropy) of a distribution: how many outcomes that are equally likely are as uncertain."""
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))
