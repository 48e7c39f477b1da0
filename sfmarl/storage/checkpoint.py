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

A checkpoint is written here, into a directory `.tmp-...` beside it, and renamed when everything is on disk, so a kill
leaves the previous ones untouched. `checkpoint_finder.py` finds one again, `checkpoint_reader.py` reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sfmarl.errors import RunError
from sfmarl.specs import PolicySpec
from sfmarl.storage.checkpoint_finder import FOLDER, Best, checkpoint_paths, latest, open_checkpoint, order, read_best
from sfmarl.storage.checkpoint_reader import FORMAT, Checkpoint, PolicyState, Seat, manifest_digest
from sfmarl.storage.durable import (
    contained,
    dump_json,
    hash_file,
    make_directory,
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

_TEMPORARY = ".tmp-"
_SERIAL = itertools.count()


def path_of(run_dir: Path, env_steps: int) -> Path:
    """Return where the first checkpoint that a run makes at `env_steps` lies."""
    return Path(run_dir) / FOLDER / f"step-{env_steps:012d}"


def begin(run_dir: Path, env_steps: int) -> Path:
    """Return a new empty directory that policies are written to; leftovers of earlier attempts are removed.

    Raises RunError when it cannot be created.
    """
    folder = Path(run_dir) / FOLDER
    # unique: whoever still writes into one that was given up must not write into this one
    temporary = folder / f"{_TEMPORARY}{os.getpid()}-{next(_SERIAL)}-{path_of(run_dir, env_steps).name}"
    with _written(temporary):
        contained(Path(run_dir), FOLDER)
        make_directory(folder)
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
    with _written(Path(run_dir) / FOLDER):
        for path in checkpoint_paths(run_dir)[max(keep, 1) :]:
            if path.name not in spared:
                # renamed first: a kill in between must not leave half a checkpoint under its name
                doomed = path.with_name(f"{_TEMPORARY}pruned-{path.name}")
                os.rename(path, doomed)
                _remove(doomed)


def mark_best(run_dir: Path, checkpoint: str | Path, score: float, metric: str) -> None:
    """Record, atomically, which checkpoint scored best. Raises RunError when the disk does not take it."""
    path = Path(run_dir) / FOLDER / "best.json"
    with _written(path):
        replace_file(path, dump_json({"checkpoint": Path(checkpoint).name, "score": score, "metric": metric}))


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
        if path == committed or order(path) < (order(committed)[0], 0):
            continue
        try:
            Checkpoint(path)
        except RunError:
            # the new checkpoint is on disk: a name that cannot be changed is no failure of it
            with contextlib.suppress(OSError):
                os.rename(path, path.with_name(f"damaged-{path.name}"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # what stays (somebody still writes into it) is removed next time
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
