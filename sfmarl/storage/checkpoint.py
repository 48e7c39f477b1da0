"""Checkpoints: whole or absent, verified when read, never executed.

    RUN/checkpoints/step-000000200704/     one checkpoint, named by its env-steps
        manifest.json                      SHA-256 and size of every other file; written last
        run.json                           the runner's counters and generators
        teams.json                         team -> policy and agents
        policies/NAME/policy.json          what rebuilds the policy: spec, algorithm, hyperparameters, version
                      actor.safetensors    what was published to the inference workers
                      learner.json         the algorithm's state: scalars
                      learner.safetensors  and tensors
    RUN/checkpoints/best.json              which of them scored best

A checkpoint is written into a directory `.tmp-...` beside it and renamed when everything is on disk, so a kill at any
instruction leaves the previous ones untouched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.specs import PolicySpec
from sfmarl.storage.checkpoint_reader import FORMAT, NAME, Checkpoint, PolicyState, Seat, in_words, manifest_digest
from sfmarl.storage.durable import (
    contained,
    dump_json,
    hash_file,
    parse_json,
    replace_file,
    safe_name,
    sync_directory,
    sync_file,
)
from sfmarl.storage.tensors import dump_tensors

__all__ = [
    "Best",
    "Checkpoint",
    "PolicyState",
    "Seat",
    "begin",
    "checkpoint_paths",
    "commit",
    "discard",
    "latest",
    "mark_best",
    "open_checkpoint",
    "prune",
    "read_best",
    "write_policy",
]

_FOLDER = "checkpoints"
_TEMPORARY = ".tmp-"
_SERIAL = itertools.count()


@dataclass(frozen=True)
class Best:
    """The checkpoint that scored best so far."""

    checkpoint: str
    """Its directory's name."""
    score: float
    """What it scored."""
    metric: str
    """What the score measures."""


def begin(run_dir: Path, env_steps: int) -> Path:
    """Return a new empty directory that policies are written to; leftovers of earlier attempts are removed.

    Raises RunError when it cannot be created.
    """
    folder = Path(run_dir) / _FOLDER
    # unique: whoever still writes into one that was given up must not write into this one
    temporary = folder / f"{_TEMPORARY}{os.getpid()}-{next(_SERIAL)}-step-{env_steps:012d}"
    with _written(temporary):
        contained(Path(run_dir), _FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{_TEMPORARY}*"):
            _remove(leftover)
        (temporary / "policies").mkdir(parents=True)
    return temporary


def write_policy(
    tmp: Path,
    spec: PolicySpec,
    algo: str,
    hp: Any,
    actor: nn.Module,
    algorithm_state: Mapping[str, Any],
    policy_version: int,
) -> None:
    """Write one policy into the directory `begin` returned; called where the learner lives.

    `hp` is the hyperparameter dataclass or its dictionary. Raises RunError when the disk does not take it.
    """
    hp = dataclasses.asdict(hp) if dataclasses.is_dataclass(hp) else dict(hp)
    copy_policy(tmp, PolicyState(spec, algo, hp, actor.state_dict(), dict(algorithm_state), policy_version))


def copy_policy(tmp: Path, state: PolicyState) -> None:
    """Write a policy as another checkpoint held it. Raises RunError when the disk does not take it."""
    folder = Path(tmp) / "policies" / safe_name(state.spec.name)
    about = {
        "spec": state.spec.to_json(),
        "algo": state.algo,
        "hp": state.hp,
        "policy_version": state.policy_version,
    }
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.json").write_bytes(dump_json(about))
        (folder / "actor.safetensors").write_bytes(dump_tensors(state.actor_tensors))
        (folder / "learner.safetensors").write_bytes(dump_tensors(state.algorithm_state["tensors"]))
        (folder / "learner.json").write_bytes(dump_json(state.algorithm_state["scalars"]))


def commit(tmp: Path, run_state: Any, teams: Mapping[str, Seat] | None = None) -> Path:
    """Make the checkpoint in `tmp` durable and give it its name; returns its final path.

    `run_state` is any JSON value. `teams` says who plays which team; by default every policy plays the team of its
    own name. A second checkpoint of the same env-steps is named `step-....1`: nothing is overwritten.
    Damaged ones that a resumed run had to go back behind are renamed `damaged-...`: they are not newer than this one.

    Raises RunError when the disk does not take it; earlier checkpoints are untouched then.
    """
    tmp = Path(tmp)
    with _written(tmp):
        (tmp / "run.json").write_bytes(dump_json(run_state))
        if teams is not None:
            seats = {team: {"policy": seat.policy, "agents": list(seat.agents)} for team, seat in teams.items()}
            # a list: JSON objects are written sorted, and the order of teams is their seat order
            (tmp / "teams.json").write_bytes(dump_json([[team, seat] for team, seat in seats.items()]))
        files = {}
        for path in sorted(p for p in tmp.rglob("*") if p.is_file()):
            sync_file(path)
            sha256, size = hash_file(path)
            files[path.relative_to(tmp).as_posix()] = {"sha256": sha256, "bytes": size}
        manifest: dict[str, Any] = {"format": FORMAT, "files": files}
        manifest["sha256"] = manifest_digest(manifest)
        (tmp / "manifest.json").write_bytes(dump_json(manifest))
        sync_file(tmp / "manifest.json")
        for folder in [tmp, *(p for p in tmp.rglob("*") if p.is_dir())]:
            sync_directory(folder)
        name = tmp.name[tmp.name.index("step-") :]
        final, attempt = tmp.with_name(name), 0
        while os.path.lexists(final):
            attempt += 1
            final = tmp.with_name(f"{name}.{attempt}")
        os.rename(tmp, final)
        sync_directory(final.parent)
    _set_aside_damaged(final)
    return final


def discard(tmp: Path) -> None:
    """Remove a checkpoint that will not be completed: half of one would go on filling a full disk."""
    _remove(Path(tmp))


def prune(run_dir: Path, keep: int, protect: Collection[str | Path] = ()) -> None:
    """Remove all but the `keep` newest checkpoints (at least one), the best one, and those named in `protect`."""
    best = read_best(run_dir)
    spared = {Path(p).name for p in protect} | ({best.checkpoint} if best else set())
    with _written(Path(run_dir) / _FOLDER):
        for path in checkpoint_paths(run_dir)[max(keep, 1) :]:
            if path.name not in spared:
                # renamed first: a kill in between must not leave half a checkpoint under its name
                doomed = path.with_name(f"{_TEMPORARY}pruned-{path.name}")
                os.rename(path, doomed)
                _remove(doomed)


def mark_best(run_dir: Path, checkpoint: str | Path, score: float, metric: str) -> None:
    """Record, atomically, which checkpoint scored best. Raises RunError when the disk does not take it."""
    path = Path(run_dir) / _FOLDER / "best.json"
    with _written(path):
        replace_file(path, dump_json({"checkpoint": Path(checkpoint).name, "score": score, "metric": metric}))


def read_best(run_dir: Path, warn: Callable[[str], None] | None = None) -> Best | None:
    """Return the best checkpoint's record; None when there is none or when it is damaged (`warn` is told)."""
    path = Path(run_dir) / _FOLDER / "best.json"
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
    """Return the run's checkpoint directories, newest first, unverified."""
    folder = Path(run_dir) / _FOLDER
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=_order, reverse=True)


def latest(run_dir: Path, warn: Callable[[str], None] | None = None) -> Checkpoint:
    """Return the newest checkpoint that is whole; `warn` is told in words about each newer one that is not.

    Raises RunError, naming what is wrong with each, when none is left.
    """
    wrong = []
    for path in checkpoint_paths(run_dir):
        try:
            contained(Path(run_dir), f"{_FOLDER}/{path.name}")
            checkpoint = Checkpoint(path)
        except RunError as error:
            wrong.append(str(error))
            continue
        for text in wrong if warn else ():
            warn(f"{text} {path.name} is used.")
        return checkpoint
    if wrong:
        raise RunError(f"No checkpoint of {run_dir} can be used:\n" + "\n".join(f"  {w}" for w in wrong))
    raise RunError(f"{Path(run_dir) / _FOLDER} holds no checkpoint.")


def open_checkpoint(path: Path, which: str = "best", warn: Callable[[str], None] | None = None) -> Checkpoint:
    """Return a checkpoint of the run directory `path`, or the checkpoint directory `path` itself.

    `which`: `best` (the newest one when no evaluation has marked one yet), `latest`, a checkpoint's name, or the path
    of one. Raises UsageError when there is no such thing, RunError when it is damaged.
    """
    path = Path(path)
    if (path / "manifest.json").is_file():
        return Checkpoint(path)
    if not (path / _FOLDER).is_dir():
        raise UsageError(
            f"{path} is neither a run directory nor a checkpoint: it has no {_FOLDER}/ and no manifest.json."
        )
    if which in ("best", "latest"):
        best = read_best(path, warn) if which == "best" else None
        if best is None:
            return latest(path, warn)
        try:
            contained(path, f"{_FOLDER}/{best.checkpoint}")
            return Checkpoint(path / _FOLDER / best.checkpoint)
        except RunError as error:
            newest = latest(path, warn)
            if warn:
                warn(f"{error} It was the best one; {newest.path.name}, the latest, is used instead.")
            return newest
    if NAME.fullmatch(which) and (path / _FOLDER / which).is_dir():
        return Checkpoint(path / _FOLDER / which)
    if (Path(which) / "manifest.json").is_file():
        return Checkpoint(Path(which))
    names = [p.name for p in checkpoint_paths(path)]
    raise UsageError(
        f"{path} has no checkpoint {which!r}.{nearest(which, names)} Say best, latest, or one of: {', '.join(names)}."
    )


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn a refusal of the disk into words."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} could not be written: {error.strerror or error}. Checkpoints written before it are untouched; "
            "free space or permit writing there."
        ) from error


def _set_aside_damaged(committed: Path) -> None:
    """Rename unusable checkpoints that claim as many env-steps as the one just written, or more."""
    for path in checkpoint_paths(committed.parent.parent):
        if path == committed or _order(path) < (_order(committed)[0], 0):
            continue
        try:
            Checkpoint(path)
        except RunError:
            # the new checkpoint is on disk: a name that cannot be changed is no failure of it
            with contextlib.suppress(OSError):
                os.rename(path, path.with_name(f"damaged-{path.name}"))


def _order(path: Path) -> tuple[int, int]:
    """Return (env-steps, number) of a checkpoint's name, by which checkpoints are ordered."""
    match = NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else (-1, 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # what stays (somebody still writes into it) is removed next time
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
