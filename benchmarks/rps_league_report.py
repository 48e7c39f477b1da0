"""The table and the figure of `rps_league.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from simplex import CORNERS, distance, nash_convs, pool_averages, turns

from sfmarl.statistics import Interval, mean_interval

Run = dict[str, Any]
"""One finished part, as `rps_league` records it."""

GOAL = 0.05
"""Distance from even that the pool's average has to come within."""

ABOUT: dict[str, tuple[str, str]] = {
    "latest": (
        "latest only, serial",
        "`--matchmaker latest`: the player meets itself as it is now, in every match, and learns from both seats; "
        "snapshots are taken and never met",
    ),
    "uniform": (
        "uniform over the pool, serial",
        "the recipe: every snapshot alike, none ever evicted, no match against itself once there is a snapshot",
    ),
    "latest_less_entropy": (
        "latest only, less entropy, serial",
        "`--matchmaker latest --entropy-coef 0.05`: a third of the recipe's bonus",
    ),
    "latest_no_entropy": (
        "latest only, no entropy bonus, serial",
        "`--matchmaker latest --entropy-coef 0`: nothing draws it to the centre or keeps it from the corners",
    ),
    "latest_async": ("latest only, asynchronous", "as `latest`, with two worker processes of 48 games"),
    "uniform_async": ("uniform over the pool, asynchronous", "as `uniform`, with two worker processes of 48 games"),
}
"""Part -> (title, what it is)."""


class Scores(NamedTuple):
    """What a run is summed up to; "late" is the second half of its snapshots."""

    turns: float
    """Times round the centre."""
    late_distance: float
    """Mean distance from even of a late snapshot."""
    last_distance: float
    """Mean distance from even over the last tenth of the snapshots."""
    late_nash_conv: float
    """Mean NashConv of a late snapshot."""
    pool_distance: float
    """Distance from even of the whole pool's average."""
    pool_nash_conv: float
    """Its NashConv."""


def scores(run: Run) -> Scores:
    """Return a run's scores."""
    strategies = strategies_of(run)
    late, average = strategies[len(strategies) // 2 :], pool_averages(strategies)[-1:]
    return Scores(
        turns(strategies),
        float(distance(late).mean()),
        float(distance(strategies[-max(1, len(strategies) // 10) :]).mean()),
        float(nash_convs(late).mean()),
        float(distance(average)[0]),
        float(nash_convs(average)[0]),
    )


def strategies_of(run: Run) -> np.ndarray:
    """Return the probabilities [P, 3] of a run's snapshots, oldest first."""
    return np.array(run["path"], np.float64)[:, 1:]


def write(runs: Sequence[Run], results: Path) -> str:
    """Write `results`/rps_league.md and .png and return the table."""
    grouped = {name: sorted((r for r in runs if r["recipe"] == name), key=lambda r: r["seed"]) for name in ABOUT}
    grouped = {name: of_part for name, of_part in grouped.items() if of_part}
    table = _table(grouped)
    machines = sorted({machine.sentence(run["machine"]) for run in runs})
    lines = [
        "# Rock-paper-scissors, learned by a league",
        "",
        "launch/rock_paper_scissors.py: APPO, one player, a snapshot about every five updates, none earlier, an "
        "entropy bonus of .15 per nat where a won round is 1. Observations are constant, so a policy is one mixed "
        "action, which is read from the network of every snapshot: exact, nothing is sampled.",
        "",
        "Distance: of the most different probability from 1/3, at most .667. NashConv: what both players together "
        "would gain by best responses to the strategy played in both seats, 0 for the even one, 2 for a pure one; "
        "exploitability is half of it. Newest: each snapshot at the time it was taken, mean over the second half of "
        "the run (and over its last tenth). Average: the mean strategy of all snapshots in the pool, equally weighted, "
        f"at the end; the goal is a distance below {GOAL}. Turns: round the centre, along all snapshots. Means over "
        "seeds with a 95 % t-interval.",
        "",
        table,
        "",
        *_verdicts(grouped),
        "",
        *(f"* {name}: {ABOUT[name][1]}." for name in grouped),
        "",
        "With latest-only play the newest policy goes round: what it answers is always what it has just left behind. "
        "Its time average is close to even all the same, as theory has it for such cycles, but no policy of the run is "
        "that average. An entropy bonus pulls to the centre, and a cycle lasts while its steps overshoot by more: "
        "compare the last tenth of `latest` and of `latest_less_entropy`. Without a bonus it widens until it is stuck "
        "in a corner, where nothing else is tried any more. Against the pool the newest policy swings, too, and ever "
        "less, because an average that becomes even leaves ever less to gain. The recipe's bonus is for the pool's "
        "sake: who has beaten it for long must still be able to leave the corner.",
        "",
        f"Machine: {'; '.join(machines)}. Paths: [rps_league.png](rps_league.png). Printed by "
        "`python benchmarks/rps_league.py`; data in `rps_league.json`.",
    ]
    (results / "rps_league.md").write_text("\n".join(lines) + "\n")
    _figure(grouped, results / "rps_league.png")
    return table


def _table(grouped: Mapping[str, Sequence[Run]]) -> str:
    lines = [
        "| part | seed | snapshots | turns | newest: distance (last tenth) | newest: NashConv | average: distance "
        "| average: NashConv | wall seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in grouped.items():
        found = [scores(run) for run in runs]
        for run, s in zip(runs, found, strict=True):
            lines.append(
                f"| {name} | {run['seed']} | {len(run['path'])} | {s.turns:.1f} | {s.late_distance:.3f} "
                f"({s.last_distance:.3f}) | {s.late_nash_conv:.2f} | {s.pool_distance:.3f} | {s.pool_nash_conv:.3f} "
                f"| {run['wall_seconds']:.0f} |"
            )
        mean = Scores(*(mean_interval(column) for column in zip(*found, strict=True)))
        lines.append(
            f"| **{name}** | mean | | {mean.turns} | {mean.late_distance} ({mean.last_distance}) "
            f"| {mean.late_nash_conv} | {mean.pool_distance} | {mean.pool_nash_conv} | |"
        )
    return "\n".join(lines)


def _verdicts(grouped: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return one line for each part that meets its pool: whether every seed reaches the goal."""
    lines = []
    for name in ("uniform", "uniform_async"):
        found = [scores(run).pool_distance for run in grouped.get(name, ())]
        if found:
            interval: Interval = mean_interval(found)
            verdict = "passes" if max(found) < GOAL else "MISSES"
            lines.append(f"{name} {verdict}: the average is {interval} from even, at most {max(found):.3f}.")
    return lines


def _figure(grouped: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Draw a row for each part: a triangle for each seed, then distances from even over the snapshots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seeds = sorted({run["seed"] for runs in grouped.values() for run in runs})
    size = 4.2 * (len(seeds) + 1), 0.6 + 3.9 * len(grouped)
    figure, grid = pyplot.subplots(len(grouped), len(seeds) + 1, figsize=size, squeeze=False, layout="constrained")
    try:
        for row, (name, runs) in zip(grid, grouped.items(), strict=True):
            for axes, seed in zip(row, seeds, strict=False):
                axes.set_title(f"{ABOUT[name][0]}, seed {seed}", fontsize=9)
                axes.axis("off")
                for run in runs:
                    if run["seed"] == seed:
                        _draw_triangle(axes, strategies_of(run))
            _draw_distances(row[-1], runs)
        grid[0, 0].legend(loc="upper left", fontsize=7)
        figure.suptitle(
            "Rock-paper-scissors: strategies of the snapshots, early ones dark, late ones bright, "
            "and of the pool's average (red, cross: in the end)",
            fontsize=11,
        )
        figure.savefig(path, dpi=90, format="png")
    finally:
        pyplot.close(figure)


def _draw_triangle(axes: Any, strategies: np.ndarray) -> None:
    axes.fill(*CORNERS.T, fill=False, edgecolor="grey", linewidth=0.8)
    for name, (x, y), away in zip(("rock", "paper", "scissors"), CORNERS, ((0, -1), (0, -1), (0, 1)), strict=True):
        axes.annotate(name, (x, y), xytext=(8 * away[0], 9 * away[1]), textcoords="offset points", ha="center",
                      va="center", fontsize=8)  # fmt: skip
    newest, average = strategies @ CORNERS, pool_averages(strategies) @ CORNERS
    axes.plot(*newest.T, color="grey", linewidth=0.4, zorder=1)
    axes.scatter(*newest.T, c=np.arange(len(newest)), cmap="viridis", s=8, zorder=2, label="newest")
    axes.plot(*average.T, color="red", linewidth=1.5, zorder=3, label="average of the pool")
    axes.plot(*average[-1], marker="x", color="red", markersize=9, zorder=4)
    axes.plot(*CORNERS.mean(axis=0), marker="+", color="black", markersize=12, zorder=5, label="even")
    axes.set_aspect("equal")


def _draw_distances(axes: Any, runs: Sequence[Run]) -> None:
    for number, run in enumerate(runs):
        strategies, first = strategies_of(run), number == 0
        snapshots = np.arange(1, len(strategies) + 1)
        axes.plot(snapshots, distance(strategies), color="grey", linewidth=0.5, label="newest" if first else None)
        of_pool = distance(pool_averages(strategies))
        axes.plot(snapshots, of_pool, color="red", linewidth=1.2, label="average of the pool" if first else None)
    axes.axhline(GOAL, color="black", linestyle=":", linewidth=0.8, label=f"{GOAL}")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.0)
    axes.set_xlabel("snapshots")
    axes.set_title("distance from even, every seed", fontsize=9)
    axes.legend(fontsize=7, loc="lower left")
    axes.grid(alpha=0.3)
