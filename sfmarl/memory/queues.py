"""Queues of tickets: a few ints that say where to look. They are hints; the words in shared memory are the truth."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import struct
from collections import deque
from multiprocessing import reduction
from queue import Empty, Full
from typing import Protocol

import faster_fifo

from sfmarl.memory.reserved_heap import ReservedHeap

Ticket = tuple[int, int, int]
"""(worker, split, generation)."""

_TICKET = struct.Struct("<3q")
CAPACITY_BYTES = 1 << 16
CAPACITY_TICKETS = 1024
QUEUE_BYTES = CAPACITY_BYTES + mmap.PAGESIZE
"""What is reserved for a queue between processes: its ring, and a page for the few words that go with it."""


def _dumps(ticket: Ticket) -> bytes:
    return _TICKET.pack(*ticket)


def _loads(data) -> Ticket:
    return _TICKET.unpack(data)


_MUTEX = struct.Struct("<iIiIi")
MUTEX_OFFSET, _QUEUE_BYTES, _PROCESS_SHARED = 56, 208, 128
"""Where the mutex lies in a faster-fifo queue, what the queue takes, and a bit of the mutex's kind (glibc, x86-64)."""


class TicketQueue(Protocol):
    """Many writers, one reader."""

    def put(self, ticket: Ticket) -> None:
        """Add a ticket; dropped when the queue is full, for the reader rescans the words anyway."""
        ...

    def get_many(self, timeout: float) -> list[Ticket]:
        """Return all tickets there are, waiting up to `timeout` seconds for the first; an empty list if none came."""
        ...


class Bell:
    """An eventfd to sleep on until somebody rings, in whatever process.

    faster-fifo's own wait is a condition variable in shared memory. glibc lets a signaller wait for those it woke, so a
    reader that was killed in its wait blocks every later writer for ever. The kernel keeps no such debt.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if fd is None else fd
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def ring(self) -> None:
        """Wake the sleeper, or spare it its next sleep."""
        os.eventfd_write(self._fd, 1)

    def sleep(self, seconds: float) -> None:
        """Return when the bell was rung since the last call, or after `seconds` (to the millisecond)."""
        if self._poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._fd)

    def __reduce__(self):
        return _attach_bell, (reduction.DupFd(self._fd),)

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", None)) is not None:
            os.close(fd)
            self._fd = None


def _attach_bell(dup: reduction.DupFd) -> Bell:
    return Bell(dup.detach())


class SharedQueue:
    """Between processes, on faster-fifo, in reserved memory. Tickets are packed by struct: nothing is pickled."""

    def __init__(self, memory: ReservedHeap | None = None) -> None:
        """Make a queue in `memory`, by default its own. Raises RunError when the machine cannot give it."""
        with (memory or _memory_for(1)).in_use():
            self._queue = faster_fifo.Queue(max_size_bytes=CAPACITY_BYTES, dumps=_dumps, loads=_loads)
        self._bell = Bell()

    @classmethod
    def several(cls, count: int) -> list[SharedQueue]:
        """Return `count` queues in one piece of memory: passed together they take one descriptor more than bells."""
        memory = _memory_for(count)
        return [cls(memory) for _ in range(count)]

    def put(self, ticket: Ticket) -> None:
        """See TicketQueue."""
        with contextlib.suppress(Full):
            self._queue.put_nowait(ticket)
        self._bell.ring()

    def get_many(self, timeout: float) -> list[Ticket]:
        """See TicketQueue. May return nothing before `timeout` is over."""
        tickets = self._get()
        if not tickets and timeout > 0:
            self._bell.sleep(timeout)
            tickets = self._get()
        return tickets

    def lock_holder(self) -> int | None:
        """Return the thread id that holds the ring's mutex, 0 for one that is not known yet, None if nobody does.

        Also None where the mutex is not laid out as expected: then a lock that died with its owner shows only by the
        processes that hang in it.
        """
        memory = self._queue.queue_obj_buffer
        if len(memory) != _QUEUE_BYTES:
            return None
        locked, _, owner, _, kind = _MUTEX.unpack_from(memory, MUTEX_OFFSET)
        return owner if locked and kind & _PROCESS_SHARED else None

    def _get(self) -> list[Ticket]:
        try:
            return self._queue.get_many_nowait()
        except Empty:
            return []


def _memory_for(count: int) -> ReservedHeap:
    remedy = "End other programs, raise the container's memory limit, or lower --num-workers."
    return ReservedHeap(count * QUEUE_BYTES, f"{count} queue{'s' * (count != 1)}", remedy)


class LocalQueue:
    """Inside one process (serial mode, local inference): never waits. Whoever never looks loses the oldest tickets."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque(maxlen=CAPACITY_TICKETS)

    def put(self, ticket: Ticket) -> None:
        """See TicketQueue."""
        self._tickets.append(ticket)

    def get_many(self, timeout: float) -> list[Ticket]:
        """See TicketQueue."""
        tickets = list(self._tickets)
        self._tickets.clear()
        return tickets
