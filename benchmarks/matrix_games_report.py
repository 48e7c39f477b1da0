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
        "matching pennies, two appo learners, entropy bonus .1",
        "env-steps",
        "launch/matching_pennies.py: policies are mixed actions. Curve: share of heads among sampled actions",
    ),
    "pennies_no_entropy": (
        "matching pennies, two appo learners, no entropy bonus",
        "env-steps",
        "the same with `--entropy-coef 0`",
    ),
    "pennies_q": (
        "matching pennies, two greedy Q-learners",
        "rounds",
        "tabular.py: learning rate .1, exploration .1. Curve: whether heads is the greedy action (at the points that "
        "are kept)",
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
        "in the last tenth of the curve, and over all that was played. `crossings` counts how often player 0's curve "
        "passes one half, `flips` how often each tabular learner's more probable action changed.",
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
        "| part | seed | steps | player 0: first, last tenth, average | player 1 | crossings | flips | wall seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in grouped.items():
        for run in runs:
            first, second = (_rates(run, player) for player in PLAYERS)
            flips = "" if run["flips"] is None else " and ".join(f"{count:,}" for count in run["flips"])
            lines.append(
                f"| {name} | {run['seed']} | {run['steps']:,} | {first} | {second} | {crossings(run)} | {flips} "
                f"| {run['wall_seconds']:.0f} |"
            )
    return "\n".join(lines)


def _rates(run: Run, player: str) -> str:
    rates = np.array(run["curves"][player])[:, 1]
    tenth = max(1, len(rates) // 10)
    return f"{rates[:tenth].mean():.2f}, {rates[-tenth:].mean():.2f}, {run['average'][player]:.3f}"


def crossings(run: Run) -> int:
    """Return how often player 0's curve passes from one side of one half to the other."""
    side = np.sign(np.array(run["curves"]["player_0"])[:, 1] - 0.5)
    side = side[side != 0]
    return int((side[1:] != side[:-1]).sum())


def _figure(grouped: Mapping[str, Sequence[Run]], path: Path) -> None:
    rows = [
        [_panel(name, grouped[name], "rate of action 0", PLAYERS) for name in names if name in grouped]
        for names in (("dilemma", "pennies"), ("pennies_no_entropy", "pennies_averaged"))
    ]
    tabular = [name for name in ("pennies_q", "pennies_averaged") if name in grouped]
    rows.append([_panel(name, grouped[name], "changes of the more probable action", FLIPS) for name in tabular])
    if len({len(row) for row in rows}) > 1:
        # some parts are missing: below each other
        rows = [[panel] for row in rows for panel in row]
    save_figure(rows, path, "Two learners in matrix games")


def _panel(name: str, runs: Sequence[Run], ylabel: str, curves: Sequence[str]) -> Panel:
    title, xlabel, _ = ABOUT[name]
    return Panel(
        title, xlabel, ylabel, {key: [np.array(run["curves"][key], np.float64) for run in runs] for key in curves}
    )
