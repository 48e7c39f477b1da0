"""The table and the figure of `matrix_games.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np

from sfmarl.results.figure import Panel, save_figure

Run = dict[str, Any]
"""One finished part, as `matrix_games` records it."""

PLAYERS = ("player_0", "player_1")
"""Curves of every part: the rate of action 0."""
FLIPS = ("flips of player_0", "flips of player_1")
"""Curves of tabular learners: changes of the more probable action so far."""

ABOUT: dict[str, tuple[str, str, str]] = {
    "dilemma": (
        "iterated prisoner's dilemma, two appo learners",
        "env-steps",
        "launch/prisoners_dilemma.py: 100 rounds an episode, T, R, P, S = 5, 3, 1, 0, each player sees the last round. "
        "Curve: share of rounds in which a player cooperated, sampled actions",
    ),
    "pennies": (
        "matching pennies, two appo learners",
        "env-steps",
        "launch/matching_pennies.py: policies are mixed actions, entropy bonus .5. Curve: share of heads, sampled "
        "actions",
    ),
    "pennies_no_entropy": (
        "matching pennies, two appo learners, no entropy bonus",
        "env-steps",
        "launch/matching_pennies.py --entropy-coef 0",
    ),
    "pennies_q": (
        "matching pennies, two greedy Q-learners",
        "rounds",
        "tabular.py: learning rate .1, exploration .1. Curve: how often each player's greedy action has changed; "
        "rates are of its greedy actions, the average of all that was played. A published run of 20,000 rounds counts "
        "1172 changes",
    ),
    "pennies_averaged": (
        "matching pennies, soft answers to the other's average",
        "rounds",
        "tabular.py: stochastic fictitious play, temperature .25. Curve: probability of heads",
    ),
}
"""Part -> (title, unit of its curves' x, what it is)."""


def write(runs: Sequence[Run], results: Path) -> str:
    """Write `results`/matrix_games.md and .png and return the table."""
    grouped = {name: sorted((r for r in runs if r["recipe"] == name), key=lambda r: r["seed"]) for name in ABOUT}
    grouped = {name: of_part for name, of_part in grouped.items() if of_part}
    table = _table(grouped)
    machines = sorted({machine.sentence(run["machine"]) for run in runs})
    lines = [
        "# Two learners in matrix games",
        "",
        "Each learns for itself, against the other. Rates are those of action 0 (cooperate, heads): in the first and "
        "in the last tenth of the curve, and over all that was played. Range: of player 0's curve in its second half. "
        "Flips: how often each tabular learner's more probable action changed.",
        "",
        table,
        "",
        *(f"* {name}: {ABOUT[name][2]}." for name in grouped),
        "",
        f"Machine: {'; '.join(machines)}. Curves: [matrix_games.png](matrix_games.png). Printed by "
        "`python benchmarks/matrix_games.py`; data in `matrix_games.json`.",
    ]
    (results / "matrix_games.md").write_text("\n".join(lines) + "\n")
    _figure(grouped, results / "matrix_games.png")
    return table


def _table(grouped: Mapping[str, Sequence[Run]]) -> str:
    lines = [
        "| part | seed | steps | player 0: first, last tenth, average | player 1 | range | flips | wall seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in grouped.items():
        for run in runs:
            first, second = (_rates(run, player) for player in PLAYERS)
            flips = "" if run["flips"] is None else " and ".join(f"{count:,}" for count in run["flips"])
            lines.append(
                f"| {name} | {run['seed']} | {run['steps']:,} | {first} | {second} | {_range(run)} | {flips} "
                f"| {run['wall_seconds']:.0f} |"
            )
    return "\n".join(lines)


def _rates(run: Run, player: str) -> str:
    rates = np.array(run["curves"][player])[:, 1]
    tenth = max(1, len(rates) // 10)
    return f"{rates[:tenth].mean():.2f}, {rates[-tenth:].mean():.2f}, {run['average'][player]:.3f}"


def _range(run: Run) -> str:
    rates = np.array(run["curves"][PLAYERS[0]])[:, 1]
    late = rates[len(rates) // 2 :]
    return f"{late.min():.2f} to {late.max():.2f}"


def _figure(grouped: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Draw a row for each part and a column for each seed: what goes in circles has no mean over seeds."""
    seeds = sorted({run["seed"] for runs in grouped.values() for run in runs})
    rows = []
    for name, runs in grouped.items():
        # what greedy learners do changes too often to be drawn: how often is the curve
        flips = name == "pennies_q"
        ylabel, curves = ("changes of the greedy action", FLIPS) if flips else ("rate of action 0", PLAYERS)
        rows.append([_panel(name, runs, seed, ylabel, curves) for seed in seeds])
    save_figure(rows, path, "Two learners in matrix games, one run in each panel")


def _panel(name: str, runs: Sequence[Run], seed: int, ylabel: str, curves: Sequence[str]) -> Panel:
    """Return the curves of one run; an empty panel where it is missing."""
    title, xlabel, _ = ABOUT[name]
    found = [run["curves"] for run in runs if run["seed"] == seed]
    groups = {key: [np.array(of_run[key], np.float64) for of_run in found] for key in curves}
    return Panel(f"{title}, seed {seed}", xlabel, ylabel, groups)
