"""Exact leagues as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = (1, 5, 15, 30, 45, 60)


def write(recorded: dict[str, Any], folder: Path) -> str:
    """Write league_exact.md and league_exact.png; returns the text."""
    text = "\n".join(lines(recorded))
    (folder / "league_exact.md").write_text(text)
    figure(recorded, folder / "league_exact.png")
    return text


def lines(recorded: dict[str, Any]) -> list[str]:
    """Return the report."""
    game, ring, pair = recorded["rock_paper_scissors"], recorded["circle"], recorded["lone_pair"]
    bounded = recorded["league, oldest"]["strength"]
    sizes, pools = (10, 100, 1000), (15, 60, 120)
    return [
        "# Leagues of exact best responses",
        "",
        "The league's own pool, payoff table and matchmakers; an exact best response is the learner. Nothing is "
        "sampled except where a seed is named. The column or row `textbook` holds published scores.",
        "",
        "## Rock-paper-scissors: NashConv of the matchmaker's mixture",
        "",
        "| opponents | tie-break of the oracle | population | NashConv | textbook |",
        "|---|---|---|---|---|",
        f"| latest | lowest | 1 to 30 | {_range(game['latest']['nash_conv'])} | 2.0 |",
        *(
            f"| uniform | {ties} | 10 / 100 / 1000 | {_at(game[f'uniform, {ties}']['nash_conv'], sizes)} "
            "| .40 / .10-.14 / .04 |"
            for ties in ("lowest", "highest")
        ),
        f"| Nash | lowest | 1 / 2 / 3 | {_at(game['nash']['nash_conv'], (1, 2, 3))} | 0 at 3 |",
        "",
        "## Circle game, N = 30, one learner from strategy 0: strength",
        "",
        "| opponents | tie-break of the oracle | pool | strength | textbook |",
        "|---|---|---|---|---|",
        f"| latest | lowest | 1 to 120 | {_range(ring['latest']['strength'])} | 0 |",
        f"| uniform | lowest | 15 / 60 / 120 | {_at(ring['uniform']['strength'], pools)} | |",
        f"| uniform | rounding | 15 / 60 / 120 | {_at(ring['uniform, rounding']['strength'], pools)} "
        "| .40 / .433 / .454 |",
        f"| PFSP, squared | lowest | 15 / 60 / 120 | {_at(ring['pfsp']['strength'], pools)} | |",
        f"| Nash | lowest | 14 / 15 / 120 | {_at(ring['nash']['strength'], (14, 15, 120))} | .500 at 15 |",
        "",
        "Many strategies answer a uniform pool equally well, and which one enters it decides how fast it becomes even. "
        "The textbook's digits come back when shares of 1 / P are added up in float64 and the largest score is taken, "
        "so that rounding breaks ties: that repeats only with the same order of additions. The row above it, with "
        "exact ties, holds everywhere.",
        "",
        "## Circle game, five learners, best responses to 12 sampled of the pool, `random.seed(7)`: strength",
        "",
        "| | " + " | ".join(f"round {r}" for r in ROUNDS) + " | mean of rounds 46-60 | round 120 |",
        "|---" * (len(ROUNDS) + 3) + "|",
        _rounds("lone pair", pair["strength"]),
        *(_rounds(f"league, rule `{rule}`", recorded[f"league, {rule}"]["strength"]) for rule in ("oldest", "thin")),
        "| textbook | 0.150 | 0.233 | 0.338 | 0.437 | 0.340 | 0.280 | 0.292 | |",
        "",
        "A strategy beats the 14 that follow it. The pair's two strategies are drawn first, then the five learners' "
        "(`randrange`); each learner draws 12 entries (`random.sample`); of equal answers the lowest; answers enter "
        "when all five are found; the last 150 stay; strength is that of the uniform mixture over the pool.",
        "",
        "The pool is full at round 30. From then on first in, first out forgets: strength falls from "
        f"{bounded[29]:.3f} to {bounded[119]:.3f} at round 120. That is why the pool's rule is `thin` unless another "
        "is asked for.",
        "",
        f"![the pair's walk, diversity, collapse](league_exact.png) The lone pair repeats after "
        f"{_period(pair['walk'])} rounds.",
        "",
        "Printed by `python benchmarks/league_exact.py`; data in `league_exact.json`.",
        "",
    ]


def figure(recorded: dict[str, Any], path: Path) -> None:
    """Draw the pair's walk, the pools' diversity beside their strength, and the collapse of latest-only."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = plt.figure(figsize=(15, 4.4), layout="constrained")
    walk = np.array(recorded["lone_pair"]["walk"][:13]).reshape(-1)
    ring = drawn.add_subplot(1, 3, 1, projection="polar")
    ring.plot(2 * np.pi * walk / 30, 1 + np.arange(len(walk)), "o-", markersize=3, linewidth=0.8)
    ring.set_title("the lone pair's walk: angle = strategy,\nradius = answers so far")
    ring.set_yticklabels([])
    ring.set_xticks(2 * np.pi * np.arange(0, 30, 5) / 30, [str(i) for i in range(0, 30, 5)])
    spread = drawn.add_subplot(1, 3, 2)
    for rule in ("oldest", "thin"):
        series = recorded[f"league, {rule}"]
        points = spread.scatter(
            series["distinct"], series["strength"], s=14, label=f"{rule} goes", c=range(1, 121),
            marker="o" if rule == "oldest" else "^", cmap="viridis",
        )  # fmt: skip
    drawn.colorbar(points, ax=spread, label="round")
    spread.set(xlabel="distinct strategies in the pool", ylabel="strength", title="league of five, pool of 150")
    spread.legend()
    collapse = drawn.add_subplot(1, 3, 3)
    for rule in ("latest", "uniform", "pfsp", "nash"):
        strengths = recorded["circle"][rule]["strength"]
        collapse.plot(np.arange(1, len(strengths) + 1), strengths, label=rule)
    collapse.set(
        xlabel="pool", ylabel="strength of the opponents' mixture", title="one learner: what it trains against"
    )
    collapse.legend()
    drawn.savefig(path, dpi=100)
    plt.close(drawn)


def _rounds(name: str, strengths: Sequence[float]) -> str:
    at = [f"{strengths[r - 1]:.3f}" for r in ROUNDS]
    return f"| {name} | {' | '.join(at)} | {np.mean(strengths[45:60]):.3f} | {strengths[119]:.3f} |"


def _at(values: Sequence[float], sizes: Sequence[int]) -> str:
    return " / ".join(f"{values[size - 1] + 0.0:.3f}" for size in sizes)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _period(walk: Sequence[Sequence[int]]) -> int:
    """Return after how many rounds the pair is where it was; it forgets everything else, so it repeats from then on."""
    last = [*walk[-1]]
    return next(back for back in range(1, len(walk)) if [*walk[-1 - back]] == last)
