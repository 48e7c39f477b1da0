"""Runs beside each other: learning curves as a picture, final scores as a table.

Runs that differ only in their seed are one group; a group is a mean over its runs with a t-interval, so a seed is one
sample. Groups are named by the algorithm and by the settings in which they differ, or as the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sfmarl.errors import RunError, UsageError
from sfmarl.monitor.record_files import EventFile
from sfmarl.results.curves import curve_of
from sfmarl.results.figure import Panel, save_figure
from sfmarl.results.records import TEAM_RETURN, TEAM_SCORE, RunRecord, find_runs, read_run
from sfmarl.results.table import format_table
from sfmarl.statistics import Interval, mean_interval
from sfmarl.storage.durable import dump_json, replace_file

LATE = 0.1
"""Share of a run's env-steps, at its end, that "late training return" is the mean of."""

_UNIMPORTANT = frozenset(
    {"seed", "run_dir", "quiet", "device", "sfmarl_version", "checkpoint_seconds", "keep_checkpoints", "log_seconds",
     "eval_episodes", "final_eval_episodes", "eval_env_steps", "max_restarts", "hang_seconds", "max_worker_gib",
     "max_skipped_updates", "max_env_faults", "learner_threads"}
)  # fmt: skip
"""Settings that do not make two runs different recipes."""

_AXES = (("env_steps", "env-steps"), ("wall_seconds", "seconds of training"))


@dataclass(frozen=True)
class Comparison:
    """Groups of runs."""

    groups: Mapping[str, Sequence[RunRecord]]
    """Label -> runs, in the order they were named."""

    @property
    def teams(self) -> list[str]:
        """Teams of any run, in seat order."""
        return list(dict.fromkeys(team for runs in self.groups.values() for run in runs for team in run.teams))

    def scores(self, label: str, team: str) -> list[float]:
        """Return the last evaluation of each run of a group that has one."""
        curves = (curve_of(run.records, TEAM_SCORE + team) for run in self.groups[label])
        return [float(curve[-1, 1]) for curve in curves if len(curve)]

    def late_returns(self, label: str, team: str) -> list[float]:
        """Return each run's mean training return over the last LATE of its env-steps."""
        curves = (curve_of(run.records, TEAM_RETURN + team) for run in self.groups[label])
        return [float(c[c[:, 0] >= (1.0 - LATE) * c[-1, 0], 1].mean()) for c in curves if len(c)]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            label: {
                "runs": [str(run.path) for run in runs],
                "seeds": [run.settings["seed"] for run in runs],
                "env": runs[0].settings["env"],
                **{f"{key}_median": _median(runs, key) for key in ("env_steps", "wall_seconds")},
                "teams": {
                    team: {
                        "scores": self.scores(label, team),
                        "score": mean_interval(self.scores(label, team)).to_json(),
                        "late_training_return": mean_interval(self.late_returns(label, team)).to_json(),
                    }
                    for team in self.teams
                },
            }
            for label, runs in self.groups.items()
        }

    def __str__(self) -> str:
        """Return a table for people, one row per group."""
        teams = self.teams
        header = ["runs of", "runs"]
        header += [f"{what} of {team}" for team in teams for what in ("evaluation", "late training return")]
        rows = []
        for label, runs in self.groups.items():
            row = [label, str(len(runs))]
            for team in teams:
                row += map(_cell, (self.scores(label, team), self.late_returns(label, team)))
            rows.append([*row, f"{_median(runs, 'env_steps'):,.0f}", f"{_median(runs, 'wall_seconds'):,.0f}"])
        notes = (
            "(undiscounted returns, summed over the team; a ± b: mean over runs with its 95 % t-interval, a run is one "
            f"sample;\n the last evaluation of each run; late: the last {LATE:.0%} of its env-steps; env-steps and "
            "seconds are medians)"
        )
        return f"{format_table([*header, 'env-steps', 'seconds'], rows)}\n{notes}"

    def warnings(self) -> list[str]:
        """Return what makes the groups less comparable than they look."""
        envs = {
            (run.settings["env"], str(run.settings.get("env_kwargs"))) for runs in self.groups.values() for run in runs
        }
        found = []
        if len(envs) > 1:
            named = "; ".join(f"{env} {kwargs}" for env, kwargs in sorted(envs))
            found.append(f"the runs are of different environments, whose returns do not compare: {named}")
        for label, runs in self.groups.items():
            seeds = [run.settings["seed"] for run in runs]
            if len(set(seeds)) < len(seeds):
                found.append(f"{label}: some runs have the same seed ({', '.join(map(str, seeds))}), so they are no "
                             "independent samples")  # fmt: skip
            going = [str(run.path) for run in runs if run.summary is None]
            if going:
                found.append(f"{label}: not finished yet: {', '.join(going)}")
        return found

    def panels(self) -> list[list[Panel]]:
        """Return, for each team, a row of evaluations and a row of training returns, by env-steps and by seconds."""
        rows = []
        for team in self.teams:
            for prefix, title in (
                (TEAM_SCORE, "evaluation, greedy"),
                (TEAM_RETURN, "training episodes, sampled actions"),
            ):
                groups = {x: self._curves(prefix + team, x) for x, _ in _AXES}
                if not any(len(curve) for curves in groups["env_steps"].values() for curve in curves):
                    continue
                rows.append(
                    [
                        Panel(f"{team}: {title}", xlabel, "" if column else "undiscounted team return", groups[x])
                        for column, (x, xlabel) in enumerate(_AXES)
                    ]
                )
        return rows

    def _curves(self, name: str, x: str) -> dict[str, list[np.ndarray]]:
        return {label: [curve_of(run.records, name, x) for run in runs] for label, runs in self.groups.items()}

    def write(self, out: Path) -> Path:
        """Write compare.png, .txt, .json and a TensorBoard event file with the picture into `out`; return the PNG.

        Raises RunError when the disk does not take them.
        """
        picture = out / "compare.png"
        try:
            out.mkdir(parents=True, exist_ok=True)
            save_figure(self.panels(), picture, " | ".join(self.groups) if len(self.groups) < 4 else "")
            replace_file(out / "compare.txt", f"{self}\n".encode())
            replace_file(out / "compare.json", dump_json(self.to_json()))
            events = EventFile(out, None)
            with Image.open(picture) as image:
                events.append_image("compare", picture.read_bytes(), image.size)
            events.close()
        except OSError as error:
            raise RunError(f"{out} cannot be written: {error.strerror or error}. Choose another --out.") from error
        return picture


def compare_runs(named: Sequence[tuple[str | None, Path]], warn: Callable[[str], None]) -> Comparison:
    """Read and group runs: (label or None, run directory or series).

    A label of None is made of what distinguishes the run's settings from the others'. `warn` is told what was left out.
    Raises UsageError for what is no run, for a run that recorded no returns, and for one that is named twice.
    """
    found: list[tuple[str | None, RunRecord]] = []
    for label, path in named:
        found += [(label, read_run(run, warn)) for run in find_runs(path)]
    if not found:
        raise UsageError(
            "there is nothing to compare: no run is named, or a series has not begun. Name run directories."
        )
    paths = [run.path.resolve() for _, run in found]
    for (_, run), path in zip(found, paths, strict=True):
        if paths.count(path) > 1:
            raise UsageError(f"{run.path} is named twice. Name every run once.")
        if not run.teams:
            raise UsageError(f"{run.path} has recorded no episode's return yet.")
    groups: dict[str, list[RunRecord]] = {}
    automatic = iter(_labels([run for label, run in found if label is None]))
    for label, run in found:
        groups.setdefault(next(automatic) if label is None else label, []).append(run)
    return Comparison(groups)


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a label per run: its algorithm and every setting in which the runs differ, seeds and the like apart."""
    flat = [_flat(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in (*_UNIMPORTANT, "algo"))
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    return [
        " ".join([settings["algo"], *(f"{key}={settings.get(key, '-')}" for key in differing)]) for settings in flat
    ]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with hyperparameters and environment arguments beside the others."""
    nested = {**(settings.get("env_kwargs") or {}), **(settings.get("hp") or {})}
    return {**{key: value for key, value in settings.items() if key not in ("hp", "env_kwargs")}, **nested}


def _median(runs: Sequence[RunRecord], key: str) -> float:
    return float(np.median([max(record[key] or 0 for record in run.records) for run in runs]))


def _cell(samples: list[float]) -> str:
    interval: Interval = mean_interval(samples)
    return str(interval) if interval.count else "-"
