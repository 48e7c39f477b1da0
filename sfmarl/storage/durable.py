"""Files that survive a kill and are safe to read: fsync, atomic replacement, contained paths. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from sfmarl.errors import RunError, UsageError

MAX_NAME_BYTES = 240
"""Longest file name made of a user's name; Linux file systems end at 255."""


def safe_name(name: str) -> str:
    """Return `name` as one path component, reversibly (`original_name`): percent-encoded, without dots or slashes.

    Raises UsageError for an empty name and for one whose encoding is longer than a file name may be.
    """
    encoded = quote(name, safe="").replace(".", "%2E")
    if not encoded or len(encoded) > MAX_NAME_BYTES:
        raise UsageError(f"{name[:40]!r} cannot name a file: use 1 to {MAX_NAME_BYTES} characters.")
    return encoded


def original_name(component: str) -> str:
    """Invert `safe_name`. Raises RunError for a component that `safe_name` does not produce."""
    name = unquote(component, errors="replace")
    if not component or safe_name(name) != component:
        raise RunError(f"{component!r} is not an encoded name.")
    return name


def contained(root: Path, relative: str) -> Path:
    """Return `root / relative` if that stays inside `root`, symbolic links followed.

    Raises RunError for an absolute path, for `..`, and for a link that leads out of `root`.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or "\0" in relative:
        raise RunError(f"{relative!r} is not a path inside {root}.")
    path = root / pure
    if not path.resolve().is_relative_to(root.resolve()):
        raise RunError(f"{path} is a link that leaves {root}.")
    return path


def sync_directory(path: Path) -> None:
    """Make the directory's entries (created, renamed and removed names) durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the file's content durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` so that a reader finds the old content or the new one, never a part. Raises OSError."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_bytes(data)
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # half of it would go on filling a full disk
        raise
    sync_directory(path.parent)


def hash_file(path: Path) -> tuple[str, int]:
    """Return (SHA-256 in hex, bytes) of a file's content. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def dump_json(value: Any) -> bytes:
    """Return `value` as readable UTF-8 JSON; equal values give equal bytes. Raises TypeError for what JSON lacks."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def parse_json(data: bytes, what: Path) -> Any:
    """Return the value that `data`, the content of `what`, holds. Raises RunError when it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{what} is not valid JSON ({error}).") from error
