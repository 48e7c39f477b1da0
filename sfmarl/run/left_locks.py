"""Whether somebody who is dead left a queue locked."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sfmarl.memory import queues as queues_module
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.child import Child

UNSIGNED_SECONDS = 0.2
"""A lock that stays taken for so long and bears no name was taken by somebody who died before signing it."""

_QUEUES = queues_module.__file__.encode("ascii", "backslashreplace").decode()
"""As faulthandler writes it."""


def left_locked(child: Child, queues: Iterable[SharedQueue]) -> bool:
    """Whether a user of `queues` that was killed left one locked: it signed the lock, or hung waiting for it."""
    if child.killed_for and _QUEUES in child.dump.read():
        return True
    return any(_holds(queue, child.process.pid) for queue in queues)


def _holds(queue: SharedQueue, dead: int) -> bool:
    """Whether the process `dead` holds the queue's lock, or somebody who never signs it does."""
    if (holder := queue.lock_holder()) == dead:
        return True
    deadline = time.monotonic() + UNSIGNED_SECONDS
    while holder == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
        holder = queue.lock_holder()
    return holder == 0
