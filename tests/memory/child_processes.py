"""What the children of these tests do. A module of its own, so that a fresh interpreter imports little."""

from __future__ import annotations

import time

import numpy as np

from sfmarl.memory.queues import Bell, SharedQueue
from sfmarl.memory.segment import Segment
from sfmarl.memory.weights import WeightStore

HEAD = (1, 2, 3)


def fill_array(segment: Segment, name: str, value: int) -> None:
    segment.array(name)[...] += value


def ring(bell: Bell) -> None:
    bell.ring()


def sleep_on(bell: Bell, pipe) -> None:
    pipe.send("asleep")
    bell.sleep(600)
    pipe.send("awake")


def read_forever(queue: SharedQueue, pipe) -> None:
    pipe.send("reading")
    while True:
        queue.get_many(600)


def put_tickets(queue: SharedQueue, tickets: list[tuple[int, int, int]]) -> None:
    for ticket in tickets:
        queue.put(ticket)


def get_tickets(queue: SharedQueue, pipe, count: int) -> None:
    tickets: list[tuple[int, int, int]] = []
    pipe.send("reading")
    while len(tickets) < count:
        tickets += queue.get_many(600)
    pipe.send(tickets)


def pattern(version: int, size: int) -> np.ndarray:
    """Weights of which every element says which version they are, exact in float32."""
    return np.full(size, version, np.float32)


def publish_patterns(segment: Segment, size: int) -> None:
    """Publish in bursts of three, which overtake a reader in mid-copy, until the array `stop` says so."""
    store, stop = WeightStore(segment, 0), segment.array("stop")
    version = 0
    while not stop[0]:
        for _ in range(3):
            version += 1
            store.publish(pattern(version, size), version)
        time.sleep(0.0001)
