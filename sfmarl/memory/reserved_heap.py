"""multiprocessing's heap, from which shared ctypes objects come, in memory that was reserved."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import heap, util

from sfmarl.memory.segment import reserve


class ReservedHeap(heap.Heap):
    """Memory for the ctypes objects of a few queues, in one memfd that a child is passed with them.

    The usual heap maps sparse files of /dev/shm or TMPDIR: once those are full, the first write is a SIGBUS.
    """

    _alignment = 64  # what two processes write never shares a cache line

    def __init__(self, size: int, what: str, remedy: str) -> None:
        """Reserve nothing yet: the first object that is made reserves `size` bytes. Otherwise as `reserve`."""
        super().__init__(size)
        self._what, self._remedy = what, remedy

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have objects that are made inside come from here. What another thread makes meanwhile does, to no harm.

        Raises RunError inside when the machine cannot give the memory.
        """
        usual, heap.BufferWrapper._heap = heap.BufferWrapper._heap, self
        try:
            yield
        finally:
            heap.BufferWrapper._heap = usual

    def _new_arena(self, size: int) -> tuple[heap.Arena, int, int]:
        length = self._roundup(max(self._size, size), mmap.PAGESIZE)
        descriptor = reserve(length, self._what, self._remedy)
        arena = heap.Arena(length, descriptor)
        util.Finalize(arena, os.close, (descriptor,))  # an arena closes only the files that it made itself
        self._arenas.append(arena)
        return arena, 0, length
