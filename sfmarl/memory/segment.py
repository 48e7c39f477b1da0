"""One anonymous shared-memory segment for the whole run: planned, sized, reserved, then carved into arrays."""

from __future__ import annotations

import errno
import math
import mmap
import os
from dataclasses import dataclass, field
from multiprocessing import reduction

import numpy as np
import psutil

from sfmarl.errors import RunError
from sfmarl.memory.cgroup import memory_headroom

ALIGNMENT = 64
"""Bytes; arrays start on a cache line of their own, so that two writers never share one."""
SLOTS = "slots"
FEWER_SLOTS = (
    "Lower --num-envs-per-worker, --num-workers, --rollout or --ring; if the environment's state() is large, take "
    "--state-source joint."
)
"""What a run's segment is for, and what to do when there is no room for it."""


@dataclass
class Layout:
    """Names, shapes and dtypes of the arrays of a segment, in the order they lie in it."""

    entries: dict[str, tuple[int, tuple[int, ...], np.dtype]] = field(default_factory=dict)
    """Name -> (offset in bytes, shape, dtype)."""
    size: int = 0
    """Bytes of the whole segment."""

    def add(self, name: str, shape: tuple[int, ...], dtype: np.dtype | type) -> None:
        """Append an array. Raises ValueError when the name is taken."""
        if name in self.entries:
            raise ValueError(f"the layout already has an array called {name!r}")
        dtype = np.dtype(dtype)
        self.entries[name] = (self.size, tuple(shape), dtype)
        nbytes = math.prod(shape) * dtype.itemsize  # in Python: NumPy would overflow where a message is due
        self.size += -(-nbytes // ALIGNMENT) * ALIGNMENT


class Segment:
    """An anonymous memfd mapped into every process that is handed this object.

    It has no name in any file system: when the last process that maps it ends, however it ends, the memory is gone.
    Passing it to a child as a `multiprocessing` argument duplicates the descriptor; contents are never copied.
    """

    def __init__(self, layout: Layout) -> None:
        """Reserve `layout.size` bytes, zeroed. Raises RunError when the machine cannot give them."""
        self.layout = layout
        self._fd = reserve(layout.size, SLOTS, FEWER_SLOTS)
        self._map()

    def _map(self) -> None:
        self._mmap = mmap.mmap(self._fd, max(self.layout.size, 1))

    def array(self, name: str) -> np.ndarray:
        """Return the shared array called `name` (KeyError when the layout has none)."""
        offset, shape, dtype = self.layout.entries[name]
        return np.ndarray(shape, dtype, buffer=self._mmap, offset=offset)

    def memory(self) -> np.ndarray:
        """Return this process's whole mapping as bytes, uint8 [layout.size]."""
        return np.ndarray((self.layout.size,), np.uint8, buffer=self._mmap)

    def __reduce__(self):
        return _attach, (self.layout, reduction.DupFd(self._fd))

    def __del__(self) -> None:
        # arrays may outlive this object: the mapping closes itself with the last of them
        if (fd := getattr(self, "_fd", None)) is not None:
            os.close(fd)
            self._fd = None


def available_bytes() -> int:
    """Return how many bytes the machine, or the container's memory limit, can still give to this process."""
    available = psutil.virtual_memory().available
    headroom = memory_headroom()
    return available if headroom is None else min(available, headroom)


def reserve(size: int, what: str, remedy: str) -> int:
    """Return the descriptor of a new memfd of `size` bytes, zeroed; the memory is ours from here on.

    Raises RunError when the machine cannot give it: how much, for `what`, why, and the `remedy`.
    """
    require_available(size, what, remedy)
    descriptor = os.memfd_create("sfmarl", os.MFD_CLOEXEC)
    try:
        # reserves the pages now: too little memory is an error here, not a SIGBUS at some later write
        os.posix_fallocate(descriptor, 0, max(size, 1))
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.ENOSPC, errno.ENOMEM):
            raise
        raise _too_large(size, what, error.strerror, remedy) from error
    return descriptor


def require_available(size: int, what: str = SLOTS, remedy: str = FEWER_SLOTS) -> None:
    """Raise RunError when the machine cannot give `size` bytes of shared memory."""
    if size > (available := available_bytes()):
        # Linux promises more than there is and kills somebody when it is asked to keep the promise
        raise _too_large(size, what, f"only {in_units(available)} are available", remedy)


def in_units(size: int) -> str:
    """Return bytes as a person reads them."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _too_large(size: int, what: str, reason: str, remedy: str) -> RunError:
    return RunError(f"cannot reserve {in_units(size)} of shared memory for {what}: {reason}. {remedy}")


def _attach(layout: Layout, dup: reduction.DupFd) -> Segment:
    segment = Segment.__new__(Segment)
    segment.layout = layout
    segment._fd = dup.detach()
    segment._map()
    return segment
