"""Frozen policies: immutable weights under the hash of their content.

    address = SHA-256 of  b"sfmarl snapshot 1\\0" + architecture + b"\\0" + weights

`architecture` is canonical JSON (sorted keys, no spaces, ASCII): whatever must agree for the weights to mean the same,
that is the policy's spec and the actor's settings. `weights` are the published floats as little-endian float32. Who
took the snapshot, when and of what is not hashed: the same weights are the same snapshot, whoever froze them.

As bytes a snapshot is a safetensors file with one tensor, `weights` [n] float32; architecture and facts are JSON
strings in its header.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike
from safetensors import SafetensorError

from sfmarl.errors import RunError

FORMAT = "sfmarl snapshot 1"
"""Names the layout of the bytes and is part of what is hashed."""

CLASS = "class"
"""Among the actor's settings in an architecture: which class of an algorithm's own it is. Absent: the usual one."""

MAX_HEADER_BYTES = 1 << 24
"""A longer header is not one of ours."""


@dataclass(frozen=True)
class SnapshotMeta:
    """Facts about a snapshot that its address does not depend on."""

    player: str
    """The learning player whose policy was frozen."""
    role: str = "simple"
    """The player's role: `simple`, `main`, `main_exploiter`, `league_exploiter`."""
    parent: str | None = None
    """Address of the snapshot that the player's learning began from; None for fresh weights."""
    env_steps: int = 0
    """Env-steps of the run when it was taken."""
    policy_version: int = 0
    """Version of the frozen policy."""
    order: int = 0
    """Snapshots that entered its pool before it."""


class Described(NamedTuple):
    """What a snapshot's header says."""

    architecture: str
    """Canonical JSON."""
    meta: SnapshotMeta
    """Facts."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A frozen policy; `freeze` makes one."""

    architecture: str
    """Canonical JSON of what the weights are the weights of."""
    weights: np.ndarray
    """[n] float32. Its memory belongs to nobody else and cannot be made writable."""
    meta: SnapshotMeta
    """Facts about it."""
    address: str
    """SHA-256 of its content, 64 hex digits."""


def freeze(architecture: Mapping[str, Any] | str, weights: ArrayLike, meta: SnapshotMeta) -> Snapshot:
    """Return a snapshot of a copy of `weights` [n], float32 or what casts to it; `architecture` is a JSON object.

    Raises RunError when a weight is NaN or infinite, TypeError or ValueError when `architecture` is no JSON.
    """
    text = canonical(json.loads(architecture) if isinstance(architecture, str) else architecture)
    # an array over bytes: nobody can write into it, not even after setflags
    frozen = np.frombuffer(np.asarray(weights, "<f4").tobytes(), "<f4")
    if not np.isfinite(frozen).all():
        count = np.count_nonzero(~np.isfinite(frozen))
        raise RunError(
            f"Player {meta.player!r} cannot be frozen at env-step {meta.env_steps}: {count} of {len(frozen)} weights "
            "are NaN or infinite. Resume from an earlier checkpoint with a smaller learning rate."
        )
    return Snapshot(text, frozen, meta, address_of(text, frozen))


def canonical(architecture: Mapping[str, Any]) -> str:
    """Return JSON that is equal for equal values. Raises TypeError or ValueError for what JSON lacks."""
    return json.dumps(architecture, sort_keys=True, separators=(",", ":"), allow_nan=False)


def address_of(architecture: str, weights: np.ndarray) -> str:
    """Return the address of `weights` [n] float32 under a canonical `architecture`."""
    digest = hashlib.sha256(f"{FORMAT}\0{architecture}\0".encode())
    digest.update(np.ascontiguousarray(weights, "<f4").data)
    return digest.hexdigest()


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as a safetensors file."""
    facts = json.dumps(asdict(snapshot.meta), sort_keys=True)
    header = {
        "format": FORMAT,
        "architecture": snapshot.architecture,
        "meta": facts,
        # the address does not cover the facts; a flipped bit in them must be noticed too
        "meta_sha256": hashlib.sha256(facts.encode()).hexdigest(),
    }
    return safetensors.numpy.save({"weights": snapshot.weights}, header)


def decode(data: bytes, address: str, source: str) -> Snapshot:
    """Return the snapshot that `data`, the content of `source`, holds.

    Raises RunError when it is no snapshot or is not the one that `address` names. Nothing in it is executed.
    """
    architecture, meta = describe(data, source)
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(source, str(error)) from error
    if set(tensors) != {"weights"} or tensors["weights"].dtype != np.float32 or tensors["weights"].ndim != 1:
        raise damaged(source, "it does not hold one tensor `weights` [n] of float32")
    snapshot = freeze(architecture, tensors["weights"], meta)
    if snapshot.address != address:
        raise damaged(source, f"its content has the hash {snapshot.address[:12]}, its name is {address[:12]}")
    return snapshot


def header_size(data: bytes, source: str) -> int:
    """Return how many bytes the header takes, of a file that begins with `data`. Raises RunError."""
    size = 8 + struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 8 < size <= MAX_HEADER_BYTES:
        raise damaged(source, "it does not begin like a safetensors file")
    return size


def describe(data: bytes, source: str) -> Described:
    """Return what the header says of a file that begins with `data`; the weights are not looked at. Raises RunError."""
    try:
        header = json.loads(data[8 : header_size(data, source)])["__metadata__"]
        if header["format"] != FORMAT:
            raise damaged(source, f"its format is {header['format']!r}, not {FORMAT!r}")
        if hashlib.sha256(header["meta"].encode()).hexdigest() != header["meta_sha256"]:
            raise damaged(source, "its facts are not the ones that were written")
        return Described(canonical(json.loads(header["architecture"])), SnapshotMeta(**json.loads(header["meta"])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(source, f"its header cannot be read ({type(error).__name__}: {error})") from error


def damaged(source: str, why: str) -> RunError:
    """Return the error that names a file which is no whole snapshot."""
    return RunError(f"{source} is not a snapshot that can be used: {why}. Delete it or copy it again.")


def differences(expected: str, found: str) -> list[str]:
    """Return where two architectures (canonical JSON) differ, e.g. `actor.hidden: [64, 64] here, [32] there`."""
    return list(_differences(json.loads(expected), json.loads(found), ""))


def _differences(here: Any, there: Any, path: str) -> list[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        keys = sorted({*here, *there})
        return [
            text
            for key in keys
            for text in _differences(here.get(key), there.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if here == there else [f"{path or 'all'}: {json.dumps(here)} here, {json.dumps(there)} there"]
