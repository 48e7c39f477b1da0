"""Which checkpoint of a run is meant: the newest whole one, the best one, or one by name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sfmarl.errors import RunError, SfmarlError, UsageError, nearest
from sfmarl.storage.checkpoint_reader import NAME, Checkpoint, in_words
from sfmarl.storage.durable import contained, parse_json

FOLDER = "checkpoints"


@dataclass(frozen=True)
class Best:
    """The checkpoint that scored best so far."""

    checkpoint: str
    """Its directory's name."""
    score: float
    """What it scored."""
    metric: str
    """What the score measures."""


def read_best(run_dir: Path, warn: Callable[[str], None] | None = None) -> Best | None:
    """Return the best checkpoint's record; None when there is none or when it is damaged (`warn` is told)."""
    path = Path(run_dir) / FOLDER / "best.json"
    try:
        data = parse_json(path.read_bytes(), path)
        best = Best(str(data["checkpoint"]), float(data["score"]), str(data["metric"]))
        if not NAME.fullmatch(best.checkpoint):
            raise RunError(f"{path} names {best.checkpoint!r}, which is no checkpoint.")
    except FileNotFoundError:
        return None
    except (OSError, RunError, KeyError, TypeError, ValueError) as error:
        if warn:
            warn(f"The record of the best checkpoint is ignored: {in_words(error)}")
        return None
    return best


def checkpoint_paths(run_dir: Path) -> list[Path]:
    """Return the run's checkpoint directories, newest first, unverified. Raises RunError when nobody may look."""
    folder = Path(run_dir) / FOLDER
    with _looked_at(folder, RunError):
        found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=order, reverse=True)


def latest(run_dir: Path, warn: Callable[[str], None] | None = None) -> Checkpoint:
    """Return the newest checkpoint that is whole; `warn` is told in words about each newer one that is not.

    Raises RunError, naming what is wrong with each, when none is left.
    """
    wrong = []
    for path in checkpoint_paths(run_dir):
        try:
            contained(Path(run_dir), f"{FOLDER}/{path.name}")
            checkpoint = Checkpoint(path)
        except RunError as error:
            wrong.append(str(error))
            continue
        for text in wrong if warn else ():
            warn(f"{text} {path.name} is used.")
        return checkpoint
    if wrong:
        raise RunError(f"No checkpoint of {run_dir} can be used:\n" + "\n".join(f"  {w}" for w in wrong))
    raise RunError(
        f"{Path(run_dir) / FOLDER} holds no checkpoint: the run ended before its first. Train anew with its settings, "
        f"sfmarl train --config {run_dir}, and delete this one."
    )


def open_checkpoint(path: Path, which: str = "best", warn: Callable[[str], None] | None = None) -> Checkpoint:
    """Return a checkpoint of the run directory `path`, or the checkpoint directory `path` itself.

    `which`: `best` (the newest one when no evaluation has marked one yet), `latest`, a checkpoint's name, or the path
    of one. Raises UsageError when there is no such thing, RunError when it is damaged.
    """
    path = Path(path)
    with _looked_at(path, UsageError):
        is_checkpoint, is_run = (path / "manifest.json").is_file(), (path / FOLDER).is_dir()
    if is_checkpoint:
        return Checkpoint(path)
    if not is_run:
        raise UsageError(
            f"{path} is neither a run directory nor a checkpoint: it has no {FOLDER}/ and no manifest.json."
        )
    if which in ("best", "latest"):
        best = read_best(path, warn) if which == "best" else None
        if best is None:
            return latest(path, warn)
        try:
            contained(path, f"{FOLDER}/{best.checkpoint}")
            return Checkpoint(path / FOLDER / best.checkpoint)
        except RunError as error:
            newest = latest(path, warn)
            if warn:
                warn(f"{error} It was the best one; {newest.path.name}, the latest, is used instead.")
            return newest
    if NAME.fullmatch(which) and (path / FOLDER / which).is_dir():
        return Checkpoint(path / FOLDER / which)
    if os.path.isfile(Path(which) / "manifest.json"):  # a name that is too long for a file is none
        return Checkpoint(Path(which))
    names = [p.name for p in checkpoint_paths(path)]
    raise UsageError(
        f"{path} has no checkpoint {which!r}.{nearest(which, names)} Say best, latest, or one of: {', '.join(names)}."
    )


def order(path: Path) -> tuple[int, int]:
    """Return (env-steps, number) of a checkpoint's name, by which checkpoints are ordered."""
    match = NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else (-1, 0)


@contextlib.contextmanager
def _looked_at(path: Path, kind: type[SfmarlError]) -> Iterator[None]:
    """Turn a path that the disk does not show (too long, not permitted) into words."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror or error}. Permit reading it, or name another.") from error
