"""The traffic of replayed leagues as Markdown and as a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = dict[str, Any]
"""One simulation, as `league_traffic.Replay.run` returns it."""

WALLS = (10.0, 25.0, 100.0)
"""Gbit/s of an uplink: where a design ends."""
MATCHES = 200_000_000
"""Of the textbook's league."""
MATCH_SECONDS = 300.0
"""Of one of them."""
DAY = 86_400.0


def write(recorded: dict[str, Any], folder: Path) -> str:
    """Write league_traffic.md and league_traffic.png; returns the text."""
    text = "\n".join(lines(recorded))
    (folder / "league_traffic.md").write_text(text)
    figure(recorded, folder / "league_traffic.png")
    return text


def wall(runs: Sequence[Run], gbit: float) -> float:
    """Return at how many actors a design's mean traffic fills a link, along its curve, beyond its ends extrapolated."""
    actors, traffic = (np.log([run[name] for run in runs]) for name in ("actors", "store_gbit"))
    after = min(max(int(np.searchsorted(traffic, math.log(gbit))), 1), len(runs) - 1)
    slope = (actors[after] - actors[after - 1]) / (traffic[after] - traffic[after - 1])
    return math.exp(actors[after] + slope * (math.log(gbit) - traffic[after]))


def whole_league(pools: Sequence[Run], snapshot: int, matches: int = MATCHES) -> float:
    """Return the bytes that a league moves in all, its pool growing from nothing to the largest of `pools`."""
    # by size of the pool: bytes per match, and how many matches have been played when it is reached
    sizes, per_match = np.array([(run["pool"], run["store_bytes_per_match"]) for run in pools]).T
    grown = np.linspace(0, sizes[-1], 1000)
    growing = np.trapezoid(np.interp(grown, sizes, per_match), grown * snapshot)
    return float(growing + (matches - sizes[-1] * snapshot) * per_match[-1])


def lines(recorded: dict[str, Any]) -> list[str]:
    """Return the report."""
    about, runs = recorded["settings"], recorded["actors"]
    size, schedule, designs = about["snapshot_bytes"], about["schedule"], about["designs"]
    most = max(run["actors"] for run in runs)
    full = {run["design"]: run for run in runs if run["actors"] == most}
    pool, snapshot = next(iter(full.values()))["pool"], schedule["snapshot"]
    every = snapshot * MATCH_SECONDS / most
    text = [
        "# Traffic of a league's snapshots",
        "",
        f"Matchmaking for up to {most} actors in racks of {about['per_rack']} and a pool of {pool} snapshots of "
        f"{_bytes(size)}, replayed as discrete events through the league's own pool, payoff table, matchmakers and "
        f"cache. Matches last {MATCH_SECONDS:.0f} s on average (lognormal unless said otherwise), a snapshot is taken "
        f"every {snapshot:,} matches (at {most} actors every {every / 60:.0f} minutes), opponents are drawn by PFSP "
        "squared unless said otherwise, and every match has a frozen opponent: a share s of self-play takes a share s "
        "off the traffic of matches. Who beats whom is a model (`traffic_league.py`). Bytes are the cache's own count; "
        "Gbit/s are those that the store sends when nothing limits it.",
        "",
        "* pull-all: every actor keeps the whole pool and fetches each snapshot when it is taken",
        "* one per match: an actor keeps its present opponent and fetches the next",
        "* actors keep 8: the last eight that it met",
        "* rack keeps 64, all: one per match, out of a cache that the actors of a rack share",
        f"* 16 live: matches are drawn among 16 snapshots that every rack holds, of which a quarter may change at each "
        f"refresh, every {schedule['refresh']:,} matches. That is how sfmarl's runs do it",
        "",
        f"## {most} actors, caches warm",
        "",
        "| design | memory per actor | memory per rack | store, mean Gbit/s | busiest minute | rack link | per match "
        "| mean with restarts once a day | actors at "
        + " | actors at ".join(f"{gbit:.0f} Gbit/s" for gbit in WALLS)
        + " |",
        "|---" * (8 + len(WALLS)) + "|",
    ]
    again = {run["design"]: run for run in recorded["restarts"]}
    for name, run in full.items():
        design = designs[name]
        curve = [r for r in runs if r["design"] == name]
        ends = " | ".join(f"{wall(curve, gbit):,.0f}" for gbit in WALLS)
        text.append(
            f"| {name} | {_bytes(design['actor'] * size)} | {_bytes(design['rack'] * size)} "
            f"| {run['store_gbit']:.3g} | {run['store_gbit_peak_minute']:.3g} | {run['rack_gbit']:.2g} "
            f"| {_bytes(run['store_bytes_per_match'])} | {again[name]['store_gbit']:.3g} | {ends} |"
        )
    text += [
        "",
        f"Actors at which the mean fills the uplink follow the curve of the figure; beyond {most} they are "
        "extrapolated. Where only snapshots or refreshes cost traffic it grows with the square of the actors, who also "
        "bring them sooner. A cache that keeps all drops what it used least recently when a snapshot comes, which is "
        "seldom what the pool dropped, and fetches that again. "
        f"What a mean hides: pull-all sends {most} copies of each snapshot at once, "
        f"{_bytes(most * size)}, and begins with {_bytes(most * size * pool)} when it joins a full pool: "
        + ", ".join(f"{most * size * pool * 8e-9 / gbit / 3600:,.1f} h at {gbit:.0f} Gbit/s" for gbit in WALLS)
        + ". An actor on a machine that is lent out and taken back once a day (exponential) fetches it all again.",
        "",
        "## Matchmakers: how far a cache gets depends on whom they choose",
        "",
        "Effective opponents: 1 / sum of p squared.",
        "",
        _table(
            ("matchmaker", "effective opponents"),
            [
                ([rule, f"{of[0]['effective_opponents']:.1f}"], of)
                for rule, of in _groups([*full.values(), *recorded["matchmakers"]], "matchmaker")
            ],
            lambda run: f"{run['store_gbit']:.3g}",
        ),
        "",
        "## Waiting for weights",
        "",
        f"Seconds between the end of a match and the next one's weights: mean, 99 % of matches; and how many matches "
        f"are played of those that would be without waiting. The store's uplink and each rack's link "
        f"({about['rack_link']:.0f} Gbit/s) send one transfer after the other.",
        "",
        _table(
            ("uplink",),
            [([f"{gbit:.0f} Gbit/s"], of) for gbit, of in _groups(recorded["links"], "store_link")],
            lambda run: f"{_seconds(run['wait_mean'])}, {_seconds(run['wait_p99'])}; {100 * run['match_rate']:.0f} %",
        ),
        "",
        "Durations of matches and the busiest minute of one per match, Gbit/s: "
        + ", ".join(f"{run['spread']} {run['store_gbit_peak_minute']:.3g}" for run in recorded["spreads"])
        + f" (mean {recorded['spreads'][0]['store_gbit']:.3g}).",
        "",
        "## From cold",
        "",
        f"{most} actors begin to play a full pool with empty caches. Store, mean Gbit/s, as time goes on.",
        "",
        *_cold(recorded["cold"]),
        "",
        "## A pool that grows",
        "",
        "Store, mean Gbit/s, caches warm.",
        "",
        _table(
            ("pool",),
            [([str(size)], of) for size, of in _groups([*recorded["pools"], *full.values()], "pool")],
            lambda run: f"{run['store_gbit']:.3g}",
        ),
        "",
        *_whole(recorded, full, most),
        *_check(recorded["check"]),
        "![traffic by actors, from cold, by pool](league_traffic.png)",
        "",
        "Printed by `python benchmarks/league_traffic.py`"
        + (f" at scale {about['scale']:g}" if about["scale"] != 1 else "")
        + f", seed {about['seed']}; data in `league_traffic.json`.",
        "",
    ]
    return text


def _cold(runs: Sequence[Run]) -> list[str]:
    """Return how traffic settles: the mean of each quarter."""
    ends = [f"to {run['hours'] * 2 * quarter / 4:.1f} h" for run in runs[:1] for quarter in range(1, 5)]
    found = [f"| design | {' | '.join(ends)} |", "|---" * (1 + len(ends)) + "|"]
    for run in runs:
        quarters = (f"{part.mean():.3g}" for part in np.array_split(np.array(run["series"]), 4))
        found.append(f"| {run['design']} | {' | '.join(quarters)} |")
    return found


def _whole(recorded: dict[str, Any], full: dict[str, Run], most: int) -> list[str]:
    """Return the textbook's league in all."""
    about = recorded["settings"]
    size, snapshot = about["snapshot_bytes"], recorded["settings"]["schedule"]["snapshot"]
    pool = next(iter(full.values()))["pool"]
    taken = MATCHES // snapshot
    days = {actors: MATCHES * MATCH_SECONDS / actors / DAY for actors in sorted({100, 1000, most})}
    found = [
        f"## The textbook's league: {MATCHES:,} matches of five minutes",
        "",
        "Wall-clock without waiting: "
        + ", ".join(f"{time:,.0f} days with {actors} actors" for actors, time in days.items())
        + f" ({MATCHES * MATCH_SECONDS / DAY / 365.25:,.0f} years of play). Storage: {taken:,} snapshots are taken, "
        f"{_bytes(taken * size)}; the pool's {pool} are {_bytes(pool * size)} once what it evicted is swept. The pool "
        "grows from nothing, then stays full.",
        "",
        f"| design, {most} actors | moved in all | with restarts once a day | days at "
        + " | days at ".join(f"{gbit:.0f} Gbit/s" for gbit in WALLS)
        + " |",
        "|---" * (3 + len(WALLS)) + "|",
    ]
    again = {run["design"]: run for run in recorded["restarts"]}
    for name, run in full.items():
        grown = [r for r in recorded["pools"] if r["design"] == name] + [run]
        total = whole_league(grown, snapshot)
        # restarts were simulated with the full pool: their share grows with it
        extra = (again[name]["store_bytes_per_match"] - run["store_bytes_per_match"]) * (MATCHES - pool * snapshot / 2)
        limits = " | ".join(f"{max(days[most], total * 8e-9 / gbit / DAY):,.0f}" for gbit in WALLS)
        found.append(f"| {name} | {_bytes(total)} | {_bytes(total + max(0.0, extra))} | {limits} |")
    return [*found, "", "Days: playing, or sending it all, whichever takes longer.", ""]


def _check(check: dict[str, Any] | None) -> list[str]:
    """Return the comparison with a real run."""
    if check is None:
        return []
    rows = []
    for name, measured in check["measured"].items():
        error, chance = check["predicted"][name] / measured - 1, check["deviation"][name]
        within = abs(error) * measured <= check["tolerance"] * measured + 2 * chance
        predicted = f"{check['predicted'][name]:,.0f} ± {chance:,.0f}"
        rows.append(f"| {name} | {measured:,.0f} | {predicted} | {100 * error:+.1f} % | {'yes' if within else 'NO'} |")
    command = f" (`{check['command']}`)" if "command" in check else ""
    return [
        "## The small end against a real run",
        "",
        f"{check['run']}{command}. The same simulator, pool, matchmaker and cache at the run's settings, env-steps, "
        "mean length of a match and pace of taking snapshots; it knows nothing of results and of what was moved. "
        "Matches and what all would have pulled follow from these; bytes moved are what is put to the test. "
        f"±: standard deviation of one replay. Tolerance: {100 * check['tolerance']:.0f} % and two of these.",
        "",
        "| | measured | predicted | error | within |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _groups(runs: Iterable[Run], by: str) -> list[tuple[Any, list[Run]]]:
    """Return runs grouped by one of their fields, in the order of their appearance."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(run[by], []).append(run)
    return [*groups.items()]


def _table(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[Run]]], show: Any) -> str:
    """Return a table with a column for each design; `show` writes a run."""
    names = list(dict.fromkeys(run["design"] for _, runs in rows for run in runs))
    found = [f"| {' | '.join((*heads, *names))} |", "|---" * (len(heads) + len(names)) + "|"]
    for first, runs in rows:
        by_name = {run["design"]: show(run) for run in runs}
        found.append(f"| {' | '.join((*first, *(by_name.get(name, '') for name in names)))} |")
    return "\n".join(found)


def _bytes(count: float) -> str:
    """Return a number of bytes with three digits and a decimal unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def _seconds(seconds: float) -> str:
    """Return a duration with two digits."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def figure(recorded: dict[str, Any], path: Path) -> None:
    """Draw traffic by actors with the walls, from cold, and by the size of the pool."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, (by_actors, cold, by_pool) = plt.subplots(1, 3, figsize=(17, 5), layout="constrained")
    names = list(recorded["settings"]["designs"])
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    for name, runs in _groups(recorded["actors"], "design"):
        actors = [run["actors"] for run in runs]
        by_actors.plot(actors, [run["store_gbit"] for run in runs], "o-", color=colours[name], label=name)
        by_actors.plot(actors, [run["store_gbit_peak_minute"] for run in runs], ":", color=colours[name])
    by_actors.set(
        xscale="log", yscale="log", xlabel="actors", ylabel="Gbit/s from the store",
        title="caches warm: mean, and busiest minute (dotted)",
    )  # fmt: skip
    # two refreshes: what live snapshots cost comes in bursts, at every other one
    most = max(run["actors"] for run in recorded["actors"])
    minutes = math.ceil(2 * recorded["settings"]["schedule"]["refresh"] * MATCH_SECONDS / most / 60)
    for run in recorded["cold"]:
        width = min(minutes, len(run["series"]))
        mean = np.convolve(run["series"], np.ones(width) / width, mode="valid")
        cold.plot((np.arange(len(mean)) + width / 2) / 60, mean, color=colours[run["design"]])
    cold.set(
        yscale="log", xlabel="hours", ylabel=f"Gbit/s from the store, mean of {minutes} minutes", title="from cold"
    )
    full = [run for run in recorded["actors"] if run["actors"] == most]
    for name, runs in _groups([*recorded["pools"], *full], "design"):
        by_pool.plot([r["pool"] for r in runs], [r["store_gbit"] for r in runs], "o-", color=colours[name])
    by_pool.set(
        xscale="log", yscale="log", xlabel="snapshots in the pool", ylabel="Gbit/s from the store",
        title=f"{most} actors, caches warm",
    )  # fmt: skip
    for axes in (by_actors, cold, by_pool):
        for gbit in WALLS:
            axes.axhline(gbit, color="grey", linestyle="--", linewidth=0.8)
            axes.annotate(
                f"{gbit:.0f} Gbit/s", (0.01, gbit), xycoords=("axes fraction", "data"), fontsize=8, va="bottom"
            )
        axes.grid(alpha=0.3)
    by_actors.legend(fontsize=8)
    drawn.savefig(path, dpi=100)
    plt.close(drawn)
