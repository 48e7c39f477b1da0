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


class FileSharing:
    """A file that several processes map, in place of a device's memory."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._count = 0

    def seal(self, tensor) -> bytes:
        import torch

        path = self._folder / f"buffer-{id(tensor)}-{self._count}"
        self._count += 1
        mapped = torch.from_file(str(path), shared=True, size=tensor.numel()).view(tensor.shape)
        mapped.copy_(tensor)
        tensor.set_(mapped)
        return f"{path}|{tensor.shape[1]}".encode()

    def open(self, handle: bytes):
        import torch

        path, size = handle.decode().split("|")
        return torch.from_file(path, shared=True, size=2 * int(size)).view(2, int(size))


def publish_device_patterns(segment: Segment, folder, size: int) -> None:
    """As `publish_patterns`, through a device buffer as well."""
    import torch

    from sfmarl.memory.device_weights import DeviceWeightsWriter

    store, stop = WeightStore(segment, 0), segment.array("stop")
    writer, version = DeviceWeightsWriter(store, torch.device("cpu"), FileSharing(folder)), 0
    while not stop[0]:
        for _ in range(3):
            version += 1
            writer.write(torch.from_numpy(pattern(version, size)), version)
            store.publish(pattern(version, size), version)
        time.sleep(0.0001)
