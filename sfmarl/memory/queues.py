"""Queues of tickets: a few ints that say where to look. They are hints; the words in shared memory are the truth."""

from __future__ import annotations

import struct
from collections import deque
from queue import Empty, Full
from typing import Protocol

import faster_fifo

Ticket = tuple[int, int, int]
"""(worker, split, generation)."""

_TICKET = struct.Struct("<3q")
CAPACITY_BYTES = 1 << 16


def _dumps(ticket: Ticket) -> bytes:
    return _TICKET.pack(*ticket)


def _loads(data) -> Ticket:
    return _TICKET.unpack(data)


class TicketQueue(Protocol):
    """Many writers, one reader."""

    def put(self, ticket: Ticket) -> None:
        """Add a ticket; dropped when the queue is full, for the reader rescans the words anyway."""
        ...

    def get_many(self, timeout: float) -> list[Ticket]:
        """Return all tickets there are, waiting up to `timeout` seconds for the first; an empty list if none came."""
        ...


class SharedQueue:
    """Between processes, on faster-fifo. Tickets are packed by struct: nothing is pickled."""

    def __init__(self) -> None:
        self._queue = faster_fifo.Queue(max_size_bytes=CAPACITY_BYTES, dumps=_dumps, loads=_loads)

    def put(self, ticket: Ticket) -> None:
        """See TicketQueue."""
        try:
            self._queue.put_nowait(ticket)
        except Full:
            pass

    def get_many(self, timeout: float) -> list[Ticket]:
        """See TicketQueue."""
        try:
            return self._queue.get_many(block=timeout > 0, timeout=timeout)
        except Empty:
            return []


class LocalQueue:
    """Inside one process (serial mode): never waits."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()

    def put(self, ticket: Ticket) -> None:
        """See TicketQueue."""
        self._tickets.append(ticket)

    def get_many(self, timeout: float) -> list[Ticket]:
        """See TicketQueue."""
        tickets = list(self._tickets)
        self._tickets.clear()
        return tickets
