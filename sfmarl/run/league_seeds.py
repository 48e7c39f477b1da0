"""What a league's pool may begin with: snapshots of other leagues, and policies of runs that took none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.algorithms import get_algorithm
from sfmarl.errors import UsageError, nearest
from sfmarl.league.snapshot import Snapshot, SnapshotMeta, differences, freeze
from sfmarl.league.store import MemoryStore, SnapshotStore, open_store
from sfmarl.models.acting import flat_size, flatten_into
from sfmarl.run.league_plan import architecture
from sfmarl.storage.checkpoint import Checkpoint, PolicyState, checkpoint_paths, open_checkpoint
from sfmarl.storage.config_file import from_json


def seed_store(source: str, ours: str) -> SnapshotStore:
    """Return the snapshots of `source`, which are built like `ours` (canonical JSON, `league_plan.architecture`).

    A run or checkpoint directory without snapshots has those of its (best) checkpoint's policies that are built alike;
    `RUN:POLICY` names one. Raises UsageError when it has none, naming what differs, RunError when it is damaged.
    """
    path, colon, policy = source.rpartition(":")
    if colon and "://" not in source and not Path(source).exists():
        return _of_checkpoint(open_checkpoint(Path(path).expanduser()), ours, policy)
    store = open_store(source)
    where = Path(source).expanduser()
    is_checkpoint = (where / "manifest.json").is_file()
    if "://" not in source and (is_checkpoint or checkpoint_paths(where)) and not store.addresses():
        return _of_checkpoint(open_checkpoint(where), ours)
    return store


def _of_checkpoint(opened: Checkpoint, ours: str, policy: str = "") -> MemoryStore:
    names = opened.policy_names
    if policy and policy not in names:
        raise UsageError(
            f"The pool cannot be seeded: {opened.path} holds no policy {policy!r}.{nearest(policy, names)} "
            f"It has {', '.join(names)}."
        )
    store, unlike = MemoryStore(where=str(opened.path)), []
    for name in [policy] if policy else names:
        state = opened.read_policy(name)
        preset = get_algorithm(state.algo).hyperparameters()
        hp = from_json(type(preset), state.hp, f"policy {name!r} of {opened.path}")
        if not hasattr(hp, "net"):
            unlike.append(f"{name!r} was trained by {state.algo}, whose networks are not described by settings")
            continue
        theirs = architecture(state.spec, hp)
        if different := differences(ours, theirs):
            unlike.append(f"{name!r}: {'; '.join(different[:5])}")
            continue
        store.put(_frozen(state, hp, theirs, int(opened.run_state.get("env_steps", 0))))
    if not store.addresses():
        raise UsageError(
            f"The pool cannot be seeded: no policy of {opened.path} is built like the league's. {'. '.join(unlike)}."
        )
    return store


def _frozen(state: PolicyState, hp: Any, built: str, env_steps: int) -> Snapshot:
    actor = get_algorithm(state.algo).cls.build_actor(state.spec, hp)
    try:
        actor.load_state_dict(state.actor_tensors)
    except RuntimeError as error:
        raise UsageError(
            f"The pool cannot be seeded: the weights of {state.spec.name!r} do not fit its actor: {error}"
        ) from error
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    meta = SnapshotMeta(state.spec.name, env_steps=env_steps, policy_version=state.policy_version)
    return freeze(built, flat, meta)
