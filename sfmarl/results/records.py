"""A run directory as something to look at: settings, metrics and summary, whatever state it is in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfmarl.errors import UsageError, nearest
from sfmarl.results.series import is_series, seed_dirs

TEAM_RETURN = "episode/return_team/"
"""Scalar of the training episodes, but for the team's name."""
TEAM_SCORE = "eval/return_team/"
"""Scalar of evaluations, but for the team's name."""

_NEEDED: dict[str, type | tuple[type, ...]] = {
    "env": str,
    "algo": str,
    "seed": int,
    "env_kwargs": (dict, type(None)),
    "hp": (dict, type(None)),
}
"""What runs are grouped by, whatever version wrote it."""


@dataclass(frozen=True)
class RunRecord:
    """What a run has written so far; it may still be going on."""

    path: Path
    """The run directory."""
    settings: dict[str, Any]
    """`config.json` as it is: settings of other versions of this package are no obstacle here."""
    records: list[dict[str, Any]]
    """Whole lines of `metrics.jsonl`, oldest first."""
    summary: dict[str, Any] | None
    """`summary.json`; None while the run has not ended."""

    @property
    def teams(self) -> list[str]:
        """Teams that returns were recorded of, in seat order."""
        names = (name for record in self.records for name in record)
        found = (n.removeprefix(p) for n in names for p in (TEAM_RETURN, TEAM_SCORE) if n.startswith(p))
        return list(dict.fromkeys(found))


def find_runs(path: Path) -> list[Path]:
    """Return the run directories that `path` stands for: itself, or the seeds of a series.

    Raises UsageError, with the nearest names beside it or the runs below it, for anything else.
    """
    if (path / "config.json").is_file():
        return [path]
    if is_series(path):
        return seed_dirs(path)
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise UsageError(f"there is no run {path}.{nearest(path.name, siblings)}")
    inside = sorted(p.parent for p in path.glob("*/config.json"))
    hint = f" It holds runs: name them, e.g. {inside[0]}." if inside else ""
    raise UsageError(f"{path} is neither a run directory nor a series: it has no config.json and no series.json.{hint}")


def read_run(path: Path, warn: Callable[[str], None]) -> RunRecord:
    """Read a run directory; `warn` is told about damaged lines of its metrics, which are left out.

    Raises UsageError when its settings cannot be read or when nothing was recorded.
    """
    settings = _read_json(path / "config.json")
    if not isinstance(settings, dict) or not all(
        isinstance(settings.get(name), kind) for name, kind in _NEEDED.items()
    ):
        raise UsageError(f"{path / 'config.json'} is not a settings file of sfmarl.")
    records, damaged = _read_lines(path / "metrics.jsonl")
    if damaged:
        warn(f"{path / 'metrics.jsonl'}: {damaged} damaged {'line is' if damaged == 1 else 'lines are'} left out.")
    if not records:
        raise UsageError(f"{path} has recorded nothing yet: metrics.jsonl is missing, empty or damaged throughout.")
    summary = _read_json(path / "summary.json") if (path / "summary.json").exists() else None
    return RunRecord(path, settings, records, summary if isinstance(summary, dict) else None)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Restore it from a copy of the run directory.") from error


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the whole records of a metrics file and the number of lines that are none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    records, damaged = [], 0
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if _is_record(record):
            records.append(record)
        else:
            damaged += 1
    return records, damaged


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or not {"env_steps", "wall_seconds"} <= record.keys():
        return False
    numbers = (value for value in record.values() if value is not None)
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)
