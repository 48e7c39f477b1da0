"""What `connect_four_league.py` found, as a table, a page and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import machine
from matplotlib.figure import Figure

GATE = 0.95
"""Win rate against random play, both seats."""
GATE_SECONDS = 30 * 60
OPPONENTS = ("random", "mcts:50", "mcts:200")


def rate(result: dict[str, Any], player: str, other: str) -> str:
    """Return a win rate with its interval."""
    names = [entry["name"] for entry in result["players"]]
    row, column = names.index(player), names.index(other)
    low, high = result["win_rate_low"][row][column], result["win_rate_high"][row][column]
    return f"{result['win_rate'][row][column]:.3f} [{low:.3f}, {high:.3f}]"


def reached(curve: list[dict[str, float]]) -> str:
    """Return when the first snapshot reached the gate."""
    first = next((point for point in curve if point["win_rate"] >= GATE), None)
    return "never" if first is None else f"{first['wall_seconds']:.0f} s, {first['env_steps']:,} env-steps"


def table(record: dict[str, Any]) -> str:
    """Return the outcome as Markdown."""
    lines = [
        f"| seed | trained by | env-steps | minutes | env-steps/s | {GATE} against random after | against random | "
        "against MCTS-50 | against MCTS-200 | league's final against it |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for seed, found in record["seeds"].items():
        for name, run in found["runs"].items():
            scores = " | ".join(rate(found["mcts"], name, other) for other in OPPONENTS[1:])
            duel = "-" if name == "league" else rate(found["own"], "league", name)
            lines.append(
                f"| {seed} | {name} | {run['env_steps']:,} | {run['wall_seconds'] / 60:.1f} | "
                f"{run['env_steps_per_second']:,.0f} | {reached(run['curve'])} | {rate(found['own'], name, 'random')} "
                f"| {scores} | {duel} |"
            )
    lines += ["", "Does any snapshot of the league beat its final policy?", ""]
    for seed, found in record["seeds"].items():
        for verdict in found["own"]["verdicts"]:
            if verdict["against"] == "own snapshot":
                worst = min(verdict["win_rates"], key=lambda entry: entry["win_rate"])
                beaten = ", ".join(verdict["beaten_by"]) or "none"
                lines.append(
                    f"* seed {seed}: {beaten} of {len(verdict['win_rates'])} ({verdict['correction']}); it beats "
                    f"{len(verdict['beats'])}; lowest win rate {worst['win_rate']:.3f} "
                    f"[{worst['low']:.3f}, {worst['high']:.3f}]."
                )
    return "\n".join(lines)


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    return "\n".join(
        [
            "# Connect Four by league",
            "",
            "`launch/connect_four_league.py` (PFSP over past selves, half of the matches self-play) beside the same "
            "recipe in pure self-play (`latest`), equal env-steps. Sampled actions, both seats; win rate = (wins + "
            "draws / 2) / games with Wilson's 95 % interval. MCTS: OpenSpiel's, so many simulations with one random "
            "rollout each.",
            "",
            table(record),
            "",
            f"{record['games']} games per ordered pair, {record['mcts_games']} where MCTS plays.",
            "",
            f"Machine: {machine.sentence(record['machine'])}.",
            "",
            f"![curves](connect_four_league.png) Printed by `{record['command']}` on {record['date']}; data in "
            "`connect_four_league.json`.",
            "",
        ]
    )


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the win rate against random play over wall-clock."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, colour in (("league", "C0"), ("latest", "C1")):
        for number, found in enumerate(record["seeds"].values()):
            points = found["runs"][name]["curve"]
            minutes = [point["wall_seconds"] / 60 for point in points]
            axes.plot(minutes, [p["win_rate"] for p in points], colour, lw=1.2, label=name if not number else None)
            axes.fill_between(minutes, [p["low"] for p in points], [p["high"] for p in points], color=colour,
                              alpha=0.12, lw=0)  # fmt: skip
    axes.axhline(GATE, color="grey", lw=0.8, ls="--")
    axes.set(xlabel="minutes of training", ylabel="win rate against random play", title="Connect Four, both seats")
    axes.legend()
    figure.savefig(path, dpi=120)
