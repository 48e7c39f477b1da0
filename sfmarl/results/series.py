"""A series: the same settings trained with several seeds, one after the other, and what they reach together.

RUN/series.json        the seeds and the settings they share
RUN/seed-N/            a run directory like any other
RUN/aggregate.json     scores per seed and over seeds, written anew whenever a seed ends
RUN/aggregate.txt      the same for people
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfmarl.config import Config, default_run_dir
from sfmarl.errors import RunError, UsageError
from sfmarl.results.table import format_table
from sfmarl.run.runner import check_run, resume, train
from sfmarl.statistics import Interval, mean_interval
from sfmarl.storage.checkpoint import checkpoint_paths
from sfmarl.storage.checkpoint_finder import order
from sfmarl.storage.config_file import config_from_json, config_to_json, read_config
from sfmarl.storage.durable import dump_json, replace_file
from sfmarl.storage.lock import locked, make_run_dir
from sfmarl.user_code import absolute, import_user_code

SERIES = "series.json"
"""What makes a directory a series."""

_KEPT = ("stopped_by", "env_steps", "agent_steps", "wall_seconds", "agent_steps_per_second", "evaluation", "best")


@dataclass(frozen=True)
class SeriesResult:
    """What the seeds of a series have reached."""

    run_dir: Path
    """The series' directory."""
    config: Config
    """The settings that the seeds share."""
    summaries: dict[int, dict[str, Any] | None]
    """Seed -> what its `summary.json` holds; None while there is none."""

    def over_seeds(self) -> dict[str, Interval]:
        """Return team -> mean of the seeds' final evaluations with its 95 % t-interval; a seed is one sample."""
        scores: dict[str, list[float]] = {}
        for summary in self.summaries.values():
            for team, score in _evaluated(summary).items():
                scores.setdefault(team, []).append(score["mean"])
        return {team: mean_interval(of_team) for team, of_team in scores.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "env": self.config.env,
            "env_kwargs": self.config.env_kwargs,
            "algo": self.config.algo,
            "mode": self.config.mode,
            "over_seeds": {team: x.to_json() for team, x in self.over_seeds().items()},
            "seeds": [
                {"seed": seed, "run_dir": _seed_dir(seed), **({k: summary[k] for k in _KEPT} if summary else {})}
                for seed, summary in self.summaries.items()
            ],
        }

    def __str__(self) -> str:
        """Return a table for people: a row per seed and, below, mean and interval over seeds."""
        config, over = self.config, self.over_seeds()
        episodes = {s["evaluation"]["episodes"] for s in self.summaries.values() if _evaluated(s)}
        played = f"final evaluation, greedy, {' or '.join(map(str, sorted(episodes)))} episodes" if episodes else ""
        title = f"{config.algo} on {config.env}, {len(self.summaries)} seeds"
        rows = [_row(seed, summary, list(over)) for seed, summary in self.summaries.items()]
        if over:
            count = max(x.count for x in over.values())
            rows.append([f"mean of {count}", *map(str, over.values()), "", "", "", ""])
        header = ["seed", *(f"return of {team}" for team in over), "env-steps", "seconds", "agent-steps/s", "end"]
        lines = [f"{title}: {played}" if played else title, format_table(header, rows)]
        if over:
            lines.append("(a ± b: 95 % t-interval; of a seed over its episodes, of the mean over seeds)")
        return "\n".join(lines)


def default_series_dir(config: Config, seeds: Sequence[int]) -> Path:
    """Return runs/ENV-ALGO-Nseeds-TIME under the working directory."""
    single = default_run_dir(config)
    return single.with_name(single.name.replace(f"-s{config.seed}-", f"-{len(seeds)}seeds-"))


def is_series(path: Path) -> bool:
    """Whether `path` is the directory of a series."""
    return os.path.isfile(path / SERIES)  # whoever reads what cannot be looked at says why


def seed_dirs(path: Path) -> list[Path]:
    """Return the run directories of the series at `path` that exist, in the order of its seeds."""
    return [run for seed in read_series(path)[1] if (run := path / _seed_dir(seed)).is_dir()]


def read_series(path: Path, imports: Sequence[str] | None = None) -> tuple[Config, list[int]]:
    """Return the shared settings and the seeds of the series at `path`; `imports` as in `read_config`.

    Raises UsageError when it is none.
    """
    file = path / SERIES
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        seeds, config = data["seeds"], data["config"]
    except FileNotFoundError:
        raise UsageError(f"{path} is not a series of runs: it has no {SERIES}.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read: {error}. Restore it from a copy of the directory.") from error
    _check_seeds(seeds)
    return config_from_json(config, file, imports), seeds


def train_seeds(config: Config, seeds: Sequence[int]) -> SeriesResult:
    """Train `config` once with every seed, in RUN/seed-N, and write the aggregate table; `config.seed` is not used.

    Raises UsageError before anything is written; RunError or KeyboardInterrupt when a seed ends like that, which ends
    the series: `resume_series` goes on.
    """
    _check_seeds(list(seeds))
    config = replace(config, imports=absolute(config.imports))
    import_user_code(config.imports)
    check_run(config)
    run_dir = config.run_dir or default_series_dir(config, seeds)
    make_run_dir(run_dir)
    with locked(run_dir):
        if is_series(run_dir):
            raise UsageError(f"{run_dir} holds a series already. Name another --run-dir.")
        config = replace(config, run_dir=run_dir)
        with required(run_dir / SERIES):
            _write_series(config, list(seeds))
        return _go_on(config, list(seeds), {})


def resume_series(run_dir: str | Path, **overrides: Any) -> SeriesResult:
    """Finish the series in `run_dir`: seeds that are not over go on, finished ones stay; `overrides` replace settings.

    A finished seed goes on, too, when the overrides raise the budget that ended it.
    Raises as `train_seeds` does, and UsageError when every seed is finished.
    """
    run_dir = Path(run_dir)
    if "imports" in overrides:
        overrides["imports"] = absolute(overrides["imports"])
    config, seeds = read_series(run_dir, overrides.get("imports"))
    config = replace(config, run_dir=run_dir, **overrides)
    with locked(run_dir):
        if all(_finished(run_dir / _seed_dir(seed), overrides) for seed in seeds):
            raise UsageError(f"all {len(seeds)} seeds of {run_dir} are finished. Raise --env-steps to train on.")
        with wanted(run_dir / SERIES):
            _write_series(config, seeds)
        return _go_on(config, seeds, overrides)


def _go_on(config: Config, seeds: list[int], overrides: dict[str, Any]) -> SeriesResult:
    run_dir = config.run_dir
    for number, seed in enumerate(seeds, 1):
        path = run_dir / _seed_dir(seed)
        if _finished(path, overrides):
            continue
        if not config.quiet:
            print(f"seed {seed} ({number} of {len(seeds)})", flush=True)
        try:
            if checkpoint_paths(path):
                resume(path, **overrides)
            else:
                # killed before its first checkpoint: there is nothing to go on from
                shutil.rmtree(path, ignore_errors=True)
                train(replace(config, seed=seed, run_dir=path))
        except RunError as error:
            raise RunError(f"seed {seed}: {error}\nThe series goes on with: sfmarl resume {run_dir}") from error
        except KeyboardInterrupt:
            print(f"interrupted at seed {seed}; the series goes on with: sfmarl resume {run_dir}", flush=True)
            raise
        finally:
            result = _write_aggregate(config, seeds)
    return result


def _finished(path: Path, overrides: dict[str, Any]) -> bool:
    """Whether a seed's run ended as its settings, with `overrides`, say it should."""
    summary = _read_summary(path)
    if summary is None:
        return False
    config = replace(read_config(path / "config.json", overrides.get("imports")), **overrides)
    match summary["stopped_by"]:
        case "stopped by wall_seconds":
            return 0 < config.wall_seconds <= summary["wall_seconds"]
        case "stopped by stop_score":
            return config.stop_score is not None and summary["best"]["score"] >= config.stop_score
        case _:
            # the last checkpoint is asked for at the last env-step; a full disk may not have taken it
            saved = [order(path)[0] for path in checkpoint_paths(path)[:1]]
            return min([summary["env_steps"], *saved]) >= config.env_steps


def _read_summary(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _write_series(config: Config, seeds: list[int]) -> None:
    replace_file(config.run_dir / SERIES, dump_json({"seeds": seeds, "config": config_to_json(config)}))


def _write_aggregate(config: Config, seeds: list[int]) -> SeriesResult:
    summaries = {seed: _read_summary(config.run_dir / _seed_dir(seed)) for seed in seeds}
    result = SeriesResult(config.run_dir, config, summaries)
    for name, data in (("aggregate.json", dump_json(result.to_json())), ("aggregate.txt", f"{result}\n".encode())):
        with wanted(config.run_dir / name):
            replace_file(config.run_dir / name, data)
    return result


@contextmanager
def required(path: Path) -> Iterator[None]:
    """Have it be a RunError that a file cannot be written without which nothing can begin or go on."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror or error}. Free space, or permit it.") from error


@contextmanager
def wanted(path: Path) -> Iterator[None]:
    """Have it be a warning that a file cannot be written: the runs are complete without it."""
    try:
        yield
    except OSError as error:
        print(f"warning: {path} could not be written: {error.strerror or error}.", flush=True)


def _check_seeds(seeds: Any) -> None:
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds = {seeds}: give one or more different whole numbers from 0 on, e.g. --seeds 1 2 3.")


def _seed_dir(seed: int) -> str:
    return f"seed-{seed}"


def _evaluated(summary: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return team -> score of a summary's final evaluation; empty when it has none."""
    return summary["evaluation"]["teams"] if summary and summary["evaluation"] else {}


def _row(seed: int, summary: dict[str, Any] | None, teams: list[str]) -> list[str]:
    if summary is None:
        return [str(seed), *("-" for _ in teams), "-", "-", "-", "not finished"]
    scores = _evaluated(summary)
    returns = (str(Interval.from_json(scores[team])) if team in scores else "-" for team in teams)
    return [
        str(seed),
        *returns,
        f"{summary['env_steps']:,}",
        f"{summary['wall_seconds']:,.0f}",
        f"{summary['agent_steps_per_second']:,.0f}",
        summary["stopped_by"],
    ]
