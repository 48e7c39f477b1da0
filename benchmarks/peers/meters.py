"""Counters that one process writes and another reads: eight bytes in a file, mapped into both.

A measurement gives its child a folder (`METERS` in the environment); every process of the child has files of its own
there, so that nothing is locked and nothing is sent.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

FOLDER = "SFMARL_PEER_METERS"
"""Environment variable with the folder."""


class Meter:
    """One counter."""

    def __init__(self, path: Path | None) -> None:
        """`path` may exist already; None counts for nobody."""
        if path is None:
            self._value = memoryview(bytearray(8)).cast("q")
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 8)
            self._value = memoryview(mmap.mmap(descriptor, 8)).cast("q")
        finally:
            os.close(descriptor)

    @classmethod
    def from_environment(cls, name: str) -> Meter:
        """Return the counter `name` in the folder that a measurement named."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder) / name if folder else None)

    def add(self, count: int) -> None:
        """Count up."""
        self._value[0] += count

    def set(self, count: int) -> None:
        """Replace the count."""
        self._value[0] = count


class MeterReader:
    """The sums of all counters in a folder, by the part of their names before a dash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._meters: dict[str, memoryview] = {}

    def read(self, kind: str) -> int:
        """Return the sum of `kind` and of all `kind-...`."""
        for name in os.listdir(self._folder):
            path = self._folder / name
            if name not in self._meters and path.stat().st_size == 8:
                with path.open("rb") as file:
                    self._meters[name] = memoryview(mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)).cast("q")
        return sum(value[0] for name, value in self._meters.items() if name.partition("-")[0] == kind)
