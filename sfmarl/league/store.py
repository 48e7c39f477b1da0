"""Where snapshots lie: in memory, in a directory, behind a URL. All are asked by address.

    DIRECTORY/ADDRESS.safetensors     one snapshot; ADDRESS is the hash of its content (snapshot.py)

A store only ever gains and loses whole files whose names say what is in them, so several runs may share one: two that
write the same snapshot write the same content. Every snapshot is compared with its address when it is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sfmarl.errors import RunError, UsageError
from sfmarl.league.snapshot import Described, Snapshot, decode, describe, encode, header_size
from sfmarl.storage.durable import contained, make_directory, sync_directory, sync_file

FOLDER = "snapshots"
"""Where a run directory keeps its snapshots."""

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"
_TEMPORARY = ".tmp-"


class SnapshotStore(Protocol):
    """Snapshots by address. Errors of the medium are RunErrors; a malformed address is a UsageError."""

    where: str
    """The directory, URL or other place, for messages."""
    shared: bool
    """Others may have snapshots there, too: nothing that is there is this run's to delete."""

    def put(self, snapshot: Snapshot) -> None:
        """Keep the snapshot; one that is there already is left as it is."""

    def get(self, address: str) -> Snapshot:
        """Return the snapshot. Raises RunError when it is absent or is not what its address says."""

    def describe(self, address: str) -> Described:
        """Return architecture and facts without reading the weights. Raises RunError."""

    def has(self, address: str) -> bool:
        """Whether it is there; not whether it is whole."""

    def addresses(self) -> list[str]:
        """Return all addresses, sorted."""

    def delete(self, address: str) -> None:
        """Forget the snapshot; one that is absent is no error."""


class MemoryStore:
    """Snapshots of one process. They are immutable, so they are handed out as they are and not hashed again."""

    shared = False

    def __init__(self, where: str = "memory") -> None:
        self.where = where
        self._snapshots: dict[str, Snapshot] = {}

    def put(self, snapshot: Snapshot) -> None:
        """See SnapshotStore."""
        self._snapshots.setdefault(snapshot.address, snapshot)

    def get(self, address: str) -> Snapshot:
        """See SnapshotStore."""
        if not self.has(address):
            raise RunError(f"No snapshot {address[:12]} is in memory: it was evicted, or never taken.")
        return self._snapshots[address]

    def describe(self, address: str) -> Described:
        """See SnapshotStore."""
        snapshot = self.get(address)
        return Described(snapshot.architecture, snapshot.meta)

    def has(self, address: str) -> bool:
        """See SnapshotStore."""
        return checked(address) in self._snapshots

    def addresses(self) -> list[str]:
        """See SnapshotStore."""
        return sorted(self._snapshots)

    def delete(self, address: str) -> None:
        """See SnapshotStore."""
        self._snapshots.pop(checked(address), None)


class AddressStore(MemoryStore):
    """Takes note of addresses and keeps no weights: for trying out what would enter a pool."""

    def put(self, snapshot: Snapshot) -> None:
        """See SnapshotStore."""
        super().put(replace(snapshot, weights=snapshot.weights[:0].copy()))


class FileStore(ABC):
    """Snapshots as files of some medium; a subclass moves bytes and raises OSError."""

    where: str
    shared = True

    def put(self, snapshot: Snapshot) -> None:
        """See SnapshotStore. A damaged file under the address is replaced."""
        if self.has(snapshot.address):
            with contextlib.suppress(RunError):
                self.get(snapshot.address)
                return
        with self._medium(snapshot.address, "written"):
            self._write(file_name(snapshot.address), encode(snapshot))

    def get(self, address: str) -> Snapshot:
        """See SnapshotStore."""
        with self._medium(address, "read"):
            data = self._read(file_name(address), None)
        return decode(data, address, self._path(address))

    def describe(self, address: str) -> Described:
        """See SnapshotStore."""
        with self._medium(address, "read"):
            name = file_name(address)
            data = self._read(name, header_size(self._read(name, 8), self._path(address)))
        return describe(data, self._path(address))

    def has(self, address: str) -> bool:
        """See SnapshotStore."""
        with self._medium(address, "looked up"):
            return self._exists(file_name(address))

    def addresses(self) -> list[str]:
        """See SnapshotStore."""
        with self._medium("", "listed"):
            stems = [name[: -len(_SUFFIX)] for name in self._names() if name.endswith(_SUFFIX)]
        return sorted(stem for stem in stems if _ADDRESS.fullmatch(stem))

    def delete(self, address: str) -> None:
        """See SnapshotStore."""
        with self._medium(address, "deleted"), contextlib.suppress(FileNotFoundError):
            self._remove(file_name(address))

    @abstractmethod
    def _read(self, name: str, size: int | None) -> bytes:
        """Return the first `size` bytes of a file, or all."""

    @abstractmethod
    def _write(self, name: str, data: bytes) -> None:
        """Make the file appear whole or not at all, whoever else writes it at the same time."""

    @abstractmethod
    def _exists(self, name: str) -> bool: ...

    @abstractmethod
    def _names(self) -> list[str]:
        """Return the names of all files."""

    @abstractmethod
    def _remove(self, name: str) -> None: ...

    def _path(self, address: str) -> str:
        return f"{self.where}/{file_name(address)}" if address else self.where

    @contextlib.contextmanager
    def _medium(self, address: str, verb: str) -> Iterator[None]:
        """Turn what a disk or network refuses into words."""
        try:
            yield
        except FileNotFoundError as error:
            raise RunError(f"{self._path(address)} is gone: the snapshot was deleted, or never written.") from error
        except OSError as error:
            raise RunError(
                f"{self._path(address)} could not be {verb}: {error.strerror or error}. Free space, or permit it."
            ) from error


class DirectoryStore(FileStore):
    """Snapshots in a local or network directory, written to a temporary file, synced and renamed."""

    def __init__(self, path: Path | str, shared: bool = True) -> None:
        """`path` is created with the first snapshot; not `shared`: one run has it for itself.

        What that run left half-written when it was killed is removed then.
        """
        self.path = Path(path)
        self.shared = shared
        self.where = str(path)
        if not shared:
            for leftover in self.path.glob(f"{_TEMPORARY}*"):
                with contextlib.suppress(OSError):
                    leftover.unlink()

    def _read(self, name: str, size: int | None) -> bytes:
        with open(contained(self.path, name), "rb") as file:
            return file.read(-1 if size is None else size)

    def _write(self, name: str, data: bytes) -> None:
        make_directory(self.path)
        # random: two runs, perhaps on two machines, may write the same snapshot at the same time
        temporary = self.path / temporary_name(name)
        try:
            temporary.write_bytes(data)
            sync_file(temporary)
            os.replace(temporary, self.path / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self.path)

    def _exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _names(self) -> list[str]:
        return [path.name for path in self.path.iterdir()] if self.path.is_dir() else []

    def _remove(self, name: str) -> None:
        (self.path / name).unlink()


def checked(address: str) -> str:
    """Return `address` if it is one. Raises UsageError: no other string ever becomes part of a path."""
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"{address[:80]!r} is no snapshot's address: expected 64 hex digits.")
    return address


def file_name(address: str) -> str:
    """Return the name of a snapshot's file. Raises UsageError for what is no address."""
    return f"{checked(address)}{_SUFFIX}"


def temporary_name(name: str) -> str:
    """Return a name that no other writer uses and no reader takes for a snapshot."""
    return f"{_TEMPORARY}{secrets.token_hex(8)}-{name}"


def open_store(where: Path | str) -> FileStore:
    """Return the store of a directory, of a run directory (its `snapshots/`), or of a URL such as `s3://bucket/league`.

    Raises UsageError when a URL's protocol is unknown or needs a package that is not installed.
    """
    if "://" in str(where):
        from sfmarl.league.url_store import UrlStore

        return UrlStore(str(where))
    path = Path(where).expanduser()
    return DirectoryStore(path / FOLDER if os.path.isdir(path / FOLDER) else path)
