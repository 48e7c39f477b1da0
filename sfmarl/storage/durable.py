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
    with contextlib.suppress(UsageError):
        if safe_name(name) == component:
            return name
    raise RunError(f"{component!r} is not an encoded name.")


def contained(root: Path, relative: str) -> Path:
    """Return `root / relative` if that stays inside `root`, symbolic links followed.

    Raises RunError for an absolute path, for `..`, and for a link that leads out of `root`.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or "\0" in relative:
        raise RunError(f"{relative!r} is not a path inside {root}.")
    path = root / pure
    # realpath: Path.resolve raises RuntimeError at links that lead in a circle
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
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


def make_directory(path: Path) -> None:
    """Create the directory and its parents, unless they are there, and make their names durable. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_directory(folder.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` so that a reader finds the old content or the new one, never a part. Raises OSError."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        # somebody killed left it, or it is a link, whose target is not ours: a new file is made
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # half of it would go on filling a full disk
        raise
    sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small text for people; not through a link, and whatever the text holds. Raises OSError and no other."""
    _put_text(path, "w", text)


def append_text(path: Path, text: str) -> None:
    """Append a small text in one write, since others may append as well; else like `write_text`."""
    _put_text(path, "a", text)


def open_in_place(path: Path | str, flags: int) -> int:
    """Open a file, but not one that a link leads to (ELOOP): what is written stays in the directory. An `opener`."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def _put_text(path: Path, mode: str, text: str) -> None:
    # backslashreplace: a traceback may hold lone surrogates
    with open(path, mode, encoding="utf-8", errors="backslashreplace", opener=open_in_place) as file:
        file.write(text)


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
