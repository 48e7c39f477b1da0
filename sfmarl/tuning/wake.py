"""What it costs to wake another process by a ticket and to be woken by its answer."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter, perf_counter_ns, process_time

import numpy as np

from sfmarl.errors import RunError
from sfmarl.memory.queues import SharedQueue, Ticket
from sfmarl.run.fork_server import fork_server
from sfmarl.run.processes import end_with_parent

TRIPS = 300
"""Wake-ups that are measured."""


@dataclass(frozen=True)
class WakeUps:
    """Tickets sent to a sleeping process and answered by it."""

    round_trips: np.ndarray
    """[n] seconds between a ticket and its answer."""
    one_way: np.ndarray
    """[2 n] seconds between the sending of a ticket and the sleeper's reading it, both ways."""
    cpu_seconds: float
    """Computing that both sides do for a round trip."""


def measure_wake_up() -> tuple[float, float]:
    """Return seconds of a round trip between two sleeping processes, and the computing both sides do for it."""
    measured = measure_wake_ups()
    return median(measured.round_trips), measured.cpu_seconds


def measure_wake_ups() -> WakeUps:
    """Send tickets to another process and back, one at a time. Raises RunError when it does not answer."""
    context = fork_server()
    ours, theirs = SharedQueue(), SharedQueue()
    child = context.Process(target=_echo, args=(theirs, ours))
    trips, one_way = [], []
    try:
        child.start()
        for trip in range(TRIPS):
            if trip == TRIPS // 10:
                computing = process_time()
            begin = perf_counter_ns()
            theirs.put((trip, 0, 0))
            # the first one also waits until the process is there
            answer = _next(ours, 60.0 if trip == 0 else 1.0)
            now = perf_counter_ns()
            if answer is None or answer[0] != trip:
                raise RunError("a process that was started to measure wake-ups does not answer.")
            _, heard, answered = answer
            trips.append(now - begin)
            one_way += [heard - begin, now - answered]
        computing = 2 * (process_time() - computing) / (TRIPS - TRIPS // 10)
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
    warm = TRIPS // 10
    return WakeUps(np.array(trips[warm:]) * 1e-9, np.array(one_way[2 * warm :]) * 1e-9, computing)


def _echo(inbox: SharedQueue, outbox: SharedQueue) -> None:
    """Answer every ticket with when it was read and when it is answered (ns of the monotonic clock, the machine's)."""
    end_with_parent()
    while True:
        for trip, *_ in inbox.get_many(1.0):
            outbox.put((trip, perf_counter_ns(), perf_counter_ns()))


def _next(queue: SharedQueue, seconds: float) -> Ticket | None:
    deadline = perf_counter() + seconds
    while perf_counter() < deadline:
        if tickets := queue.get_many(seconds):
            return tickets[0]
    return None
