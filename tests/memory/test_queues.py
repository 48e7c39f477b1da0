"""Bells and queues: nobody oversleeps, and a killed reader holds up no writer."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import context, reduction

import psutil
import pytest
from child_processes import HEAD, get_tickets, put_tickets, read_forever, ring, sleep_on

from sfmarl.errors import RunError
from sfmarl.memory.queues import CAPACITY_BYTES, QUEUE_BYTES, Bell, LocalQueue, SharedQueue

PATIENCE = 60.0
"""Seconds after which something that should happen at once is considered hung."""

CONTEXT = multiprocessing.get_context("spawn")


def ends(function, *args) -> bool:
    """Run `function` in a thread and return whether it ended within PATIENCE."""
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


def wait_until_asleep(process) -> None:
    deadline = time.monotonic() + PATIENCE
    calm = 0
    while calm < 5:  # several looks in a row: it is not merely between two instructions
        assert time.monotonic() < deadline, "the child never went to sleep"
        calm = calm + 1 if psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING else 0
        time.sleep(0.01)


def test_a_ring_before_the_sleep_is_not_lost():
    bell = Bell()
    bell.ring()
    assert ends(bell.sleep, 3600)


def test_a_ring_during_the_sleep_wakes_a_thread():
    bell = Bell()
    threading.Timer(0.05, bell.ring).start()
    assert ends(bell.sleep, 3600)


def test_nobody_rings_and_the_sleep_ends_all_the_same():
    assert ends(Bell().sleep, 0.02)


def test_one_sleep_uses_up_all_rings():
    bell = Bell()
    for _ in range(3):
        bell.ring()
    bell.sleep(3600)
    begin = time.monotonic()
    bell.sleep(0.05)
    assert time.monotonic() - begin >= 0.05


def test_a_bell_wakes_a_sleeper_in_another_process():
    bell = Bell()
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=sleep_on, args=(bell, theirs), daemon=True)
    process.start()
    assert ours.poll(PATIENCE) and ours.recv() == "asleep"
    wait_until_asleep(process)
    assert not ours.poll(), "it sleeps while nobody rings"
    bell.ring()
    assert ours.poll(PATIENCE) and ours.recv() == "awake"
    process.join()


def test_a_bell_is_heard_from_another_process():
    bell = Bell()
    process = CONTEXT.Process(target=ring, args=(bell,))
    process.start()
    assert ends(bell.sleep, 3600)
    process.join()
    assert process.exitcode == 0


def test_a_bell_closes_its_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    bells = [Bell() for _ in range(8)]
    assert len(os.listdir("/proc/self/fd")) == before + 8
    del bells
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("make", [LocalQueue, SharedQueue])
def test_tickets_come_out_as_they_went_in(make):
    queue = make()
    tickets = [(0, 0, 0), (3, 1, 2**40), (63, 7, -1)]
    for ticket in tickets:
        queue.put(ticket)
    assert queue.get_many(timeout=0) == tickets
    assert queue.get_many(timeout=0) == []


def test_a_local_queue_never_waits():
    assert ends(LocalQueue().get_many, 3600)


def test_tickets_cross_processes_in_both_directions():
    here, there = SharedQueue(), SharedQueue()
    tickets = [(worker, worker % 3, 5) for worker in range(200)]
    ours, theirs = CONTEXT.Pipe()
    reader = CONTEXT.Process(target=get_tickets, args=(there, theirs, len(tickets)), daemon=True)
    writer = CONTEXT.Process(target=put_tickets, args=(here, tickets), daemon=True)
    reader.start()
    writer.start()
    assert ours.poll(PATIENCE) and ours.recv() == "reading"
    for ticket in tickets:
        there.put(ticket)
    assert ours.poll(PATIENCE) and ours.recv() == tickets
    got: list = []
    while len(got) < len(tickets):
        got += here.get_many(timeout=1)
        assert got or writer.is_alive() or writer.exitcode == 0
    assert got == tickets
    for process in (reader, writer):
        process.join()
        assert process.exitcode == 0


def test_a_full_queue_drops_the_ticket_and_still_rings():
    queue = SharedQueue()
    count = CAPACITY_BYTES // 24 + 1  # more than there is room for, whatever the queue adds to each
    for number in range(count):
        queue.put((number, 0, 0))
    queue._bell.sleep(3600)
    queue.put((count, 0, 0))
    assert ends(queue._bell.sleep, 3600), "the reader is woken: the words will tell it what the ticket would have"
    tickets = queue.get_many(timeout=0)
    while more := queue.get_many(timeout=0):
        tickets += more
    assert 0 < len(tickets) < count
    assert tickets == [(number, 0, 0) for number in range(len(tickets))]
    queue.put(HEAD)
    assert queue.get_many(timeout=0) == [HEAD]


def heap_files() -> set[str]:
    """Return what of multiprocessing's sparse files is mapped here."""
    with open("/proc/self/maps") as maps:
        return {line.split()[5] for line in maps if "/pym-" in line or "/pymp-" in line}


def test_a_queue_lies_in_memory_that_is_reserved(monkeypatch):
    """Where multiprocessing's own heap is a sparse file, a full /dev/shm would be a SIGBUS."""
    reserved, real, before = [], os.posix_fallocate, heap_files()

    def fallocate(descriptor, offset, size):
        real(descriptor, offset, size)
        reserved.append((size, os.fstat(descriptor).st_blocks * 512))

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    queues = SharedQueue.several(5)
    assert [size for size, _ in reserved] == [5 * QUEUE_BYTES] and reserved[0][1] >= 5 * QUEUE_BYTES
    for queue in queues:
        queue.put(HEAD)
        queue.put(HEAD)
    assert all(queue.get_many(0) == [HEAD, HEAD] for queue in queues), "their memory does not overlap"
    assert heap_files() == before
    multiprocessing.RawValue("i", 3)
    assert len(reserved) == 1, "nobody else's objects are made there"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
def test_no_room_for_queues_is_a_run_error(monkeypatch, code):
    def refuse(descriptor, offset, size):
        raise OSError(code, os.strerror(code))

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(RunError, match=f"204.0 KiB of shared memory for 3 queues: {os.strerror(code)}. End other"):
        SharedQueue.several(3)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before
    assert SharedQueue().get_many(0) == [], "the heap is the usual one again, and memory is asked for anew"


def test_queues_take_a_descriptor_each_and_two_for_all_and_give_them_back():
    before = len(os.listdir("/proc/self/fd"))
    queues = SharedQueue.several(8)
    assert len(os.listdir("/proc/self/fd")) == before + 8 + 2, "a bell each, the memory and its mapping"
    passed = Passed()
    with spawning(passed):
        reduction.ForkingPickler.dumps(queues)
    assert len(passed.descriptors) == 8 + 1
    del queues, passed
    assert len(os.listdir("/proc/self/fd")) == before


class Passed:
    """Takes note of what a child is passed."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def duplicate_for_child(self, descriptor: int) -> int:
        self.descriptors.append(descriptor)
        return descriptor

    DupFd = int


@contextlib.contextmanager
def spawning(popen):
    context.set_spawning_popen(popen)
    try:
        yield
    finally:
        context.set_spawning_popen(None)


def run_writer(queue: SharedQueue, count: int) -> None:
    writer = CONTEXT.Process(target=put_tickets, args=(queue, [HEAD] * count), daemon=True)
    writer.start()
    writer.join(PATIENCE)
    assert writer.exitcode == 0, "a writer hangs"


def test_a_reader_that_is_killed_in_its_sleep_holds_up_nobody():
    """On a condition variable the writers would wait for the dead once its replacement waits, too."""
    queue = SharedQueue()
    ours, theirs = CONTEXT.Pipe()
    reader = CONTEXT.Process(target=read_forever, args=(queue, theirs), daemon=True)
    reader.start()
    assert ours.poll(PATIENCE) and ours.recv() == "reading"
    wait_until_asleep(reader)
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    assert reader.exitcode == -signal.SIGKILL
    run_writer(queue, 5)
    replacement = CONTEXT.Process(target=get_tickets, args=(queue, theirs, 205), daemon=True)
    replacement.start()
    assert ours.poll(PATIENCE) and ours.recv() == "reading"
    wait_until_asleep(replacement)
    run_writer(queue, 200)
    assert ours.poll(PATIENCE) and ours.recv() == [HEAD] * 205
    replacement.join()
