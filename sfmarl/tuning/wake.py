"""What it costs to wake another process by a ticket and to be woken by its answer."""

from __future__ import annotations

from statistics import median
from time import perf_counter, process_time

from sfmarl.errors import RunError
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.fork_server import fork_server
from sfmarl.run.processes import end_with_parent

TRIPS = 300
"""Wake-ups that are measured."""


def measure_wake_up() -> tuple[float, float]:
    """Return seconds of a round trip between two sleeping processes, and the computing both sides do for it."""
    context = fork_server()
    ours, theirs = SharedQueue(), SharedQueue()
    child = context.Process(target=_echo, args=(theirs, ours))
    trips = []
    try:
        child.start()
        for trip in range(TRIPS):
            if trip == TRIPS // 10:
                computing = process_time()
            begin = perf_counter()
            theirs.put((0, 0, 0))
            # the first one also waits until the process is there
            if not _next(ours, 60.0 if trip == 0 else 1.0):
                raise RunError("a process that was started to measure wake-ups does not answer.")
            trips.append(perf_counter() - begin)
        computing = 2 * (process_time() - computing) / (TRIPS - TRIPS // 10)
    finally:
        child.kill()
        child.join()
    return median(trips[TRIPS // 10 :]), computing


def _echo(inbox: SharedQueue, outbox: SharedQueue) -> None:
    end_with_parent()
    while True:
        for ticket in inbox.get_many(1.0):
            outbox.put(ticket)


def _next(queue: SharedQueue, seconds: float) -> bool:
    deadline = perf_counter() + seconds
    while perf_counter() < deadline:
        if queue.get_many(seconds):
            return True
    return False
