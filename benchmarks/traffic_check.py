"""The small end of the replay against a real league run: bytes and matches, predicted beside measured.

The run's settings, its env-steps, the mean length of its matches, its pace of taking snapshots and their size go in;
nothing that it moved does. Its envs are the actors, its machine is the rack, its live snapshots are the design `live`;
time is counted in env-steps of one env. Results against snapshots are drawn as if all were equally strong.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from traffic_events import Simulation
from traffic_fleet import Design, Fleet
from traffic_league import ReplayedLeague, Schedule, Strengths

from sfmarl.errors import UsageError
from sfmarl.league.store import open_store
from sfmarl.results.records import read_run
from sfmarl.run.league import REFRESH_ENV_STEPS

TOLERANCE = 0.15
"""Relative error that is still a match, beside two standard deviations of chance: results are modelled, not known."""
SEEDS = 20
"""Replays whose mean is the prediction and whose standard deviation says what chance makes of one run."""
COMMAND = (
    *("league", "native/tic_tac_toe", "--env-steps", "400000", "--num-workers", "2", "--num-envs-per-worker", "32"),
    *("--snapshot-env-steps", "10000", "--snapshot-win-rate", "1", "--live-snapshots", "8", "--log-seconds", "1"),
    *("--epochs", "1", "--hidden", "16", "--wall-seconds", "60", "--quiet"),
)
"""A league whose pool outgrows its live snapshots; no win rate exceeds 1, so snapshots are taken by env-steps alone."""


def check(run_dir: Path | None) -> dict[str, Any]:
    """Return the comparison with a league run, as JSON types; without one COMMAND is run.

    Raises UsageError for a directory that holds no league run or one that is too short, CalledProcessError when the
    run fails.
    """
    if run_dir is not None:
        return compare(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "run"
        subprocess.run([sys.executable, "-m", "sfmarl", *COMMAND, "--run-dir", str(target)], check=True)
        return {"command": f"sfmarl {' '.join(COMMAND)}", **compare(target)}


def compare(run_dir: Path) -> dict[str, Any]:
    """Return what a run measured beside what the replay predicts. Raises UsageError, see `check`."""
    run = read_run(run_dir, warn=lambda text: print(text, file=sys.stderr))
    settings, last = run.settings, run.records[-1]
    league = settings.get("league")
    if league is None or "league/bytes_moved" not in last:
        raise UsageError(f"{run_dir} is no league run: its traffic cannot be compared. Name one of `sfmarl league`.")
    store = open_store(run_dir)
    taken = sorted((store.describe(address).meta for address in store.addresses()), key=lambda meta: meta.order)
    if len(taken) < 2:
        raise UsageError(f"{run_dir} has not taken two snapshots yet: it moved nothing that could be compared.")
    interval = (taken[-1].env_steps - taken[0].env_steps) / (taken[-1].order - taken[0].order)
    size = store.get(store.addresses()[0]).weights.nbytes
    measured = {
        "matches": last["league/matches_live"] + last["league/matches_frozen"],
        "bytes moved": last["league/bytes_moved"],
        "bytes if all pulled": last["league/bytes_if_all_pulled"],
    }
    envs = settings["num_workers"] * settings["num_envs_per_worker"]
    predictions = [
        predict(league, envs, settings["num_workers"], last["env_steps"], _length(run.records), interval, size, seed)
        for seed in range(SEEDS)
    ]
    drawn = {name: [p[name] for p in predictions] for name in measured}
    return {
        "run": f"{settings['env']}, {last['env_steps']:,} env-steps, {envs} envs, {taken[-1].order + 1} snapshots of "
        f"{size:,} bytes, one every {interval:,.0f} env-steps, {league['live_snapshots']} of them live at a time",
        "tolerance": TOLERANCE,
        "measured": measured,
        "predicted": {name: float(np.mean(values)) for name, values in drawn.items()},
        "deviation": {name: float(np.std(values, ddof=1)) for name, values in drawn.items()},
    }


def _length(records: Sequence[dict[str, Any]]) -> float:
    """Return the mean length of a run's matches in env-steps; records hold that of the matches since the last one."""
    known = [(r["episodes"], r["episode/length"]) for r in records if r.get("episode/length")]
    if not known:
        raise UsageError("the run has finished no match yet, so there is nothing to be compared.")
    ends, lengths = np.array(known).T
    return float(np.average(lengths, weights=np.diff(ends, prepend=0.0)))


def predict(
    league: dict[str, Any],
    envs: int,
    workers: int,
    env_steps: int,
    length: float,
    interval: float,
    size: int,
    seed: int,
) -> dict[str, float]:
    """Return matches and bytes of a run with these settings.

    `length` are env-steps of a match, `interval` those from one snapshot to the next, `size` its bytes.
    """
    # snapshots are taken at refreshes, which are REFRESH_ENV_STEPS apart and as many more as a pass of the loop takes
    refreshes = max(1, int(interval / REFRESH_ENV_STEPS))
    refresh = round(interval / refreshes / length)
    schedule = Schedule(
        refresh=refresh,
        snapshot=refreshes * refresh,
        limit=league["pool_size"],
        players=len(league["roles"]),
        self_play=league["self_play"],
        decay=league["payoff_decay"],
    )
    matches = round(env_steps / length)
    replayed = ReplayedLeague(league["matchmaker"], schedule, Strengths(0, 0, 0), 0, seed)
    epochs = replayed.epochs(matches)
    live = Design("live", rack=league["live_snapshots"], live=True)
    fleet = Fleet(envs, envs, size, mean_match=length)
    simulation = Simulation(live, fleet, epochs, schedule.refresh, seed)
    _, end = simulation.run(matches)
    met = Design("pull-all", actor=league["pool_size"], pull_all=True)
    everybody = Simulation(met, Fleet(workers, workers, size, mean_match=length), epochs, schedule.refresh, seed)
    _, all_pulled = everybody.run(matches)
    return {
        "matches": float(end.matches),
        "bytes moved": float(end.store_bytes),
        "bytes if all pulled": float(all_pulled.store_bytes),
    }
