"""What a league's pool may begin with: snapshots of other leagues, and policies of runs that took none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.evaluation.policy import build_actor
from sfmarl.league.snapshot import SnapshotMeta, differences, freeze
from sfmarl.league.store import MemoryStore, SnapshotStore, open_store
from sfmarl.models.acting import flat_size, flatten_into
from sfmarl.run.league_plan import architecture
from sfmarl.storage.checkpoint import Checkpoint, checkpoint_paths, open_checkpoint


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
        try:
            actor = build_actor(state)
            theirs = architecture(state.spec, actor)
        except (RunError, UsageError) as error:
            unlike.append(f"{name!r}: {str(error).rstrip('.')}")
            continue
        if different := differences(ours, theirs):
            unlike.append(f"{name!r}: {'; '.join(different[:5])}")
            continue
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
        env_steps = int(opened.run_state.get("env_steps", 0))
        store.put(freeze(theirs, flat, SnapshotMeta(name, env_steps=env_steps, policy_version=state.policy_version)))
    if not store.addresses():
        raise UsageError(
            f"The pool cannot be seeded: no policy of {opened.path} is built like the league's. {'. '.join(unlike)}."
        )
    return store
