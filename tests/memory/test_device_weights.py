"""Weights handed over on the device: never other ones than the store's, whoever of the two processes is replaced.

A file that both sides map stands in for a GPU's memory.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from child_processes import FileSharing, pattern, publish_device_patterns

from sfmarl.memory.device_weights import CudaSharing, DeviceWeightsReader, DeviceWeightsWriter
from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.weights import HANDLE_BYTES, WeightStore, plan_weights

CPU = torch.device("cpu")
SIZE = 5


def make_segment(size: int = SIZE) -> Segment:
    layout = Layout()
    plan_weights(layout, 0, size)
    layout.add("stop", (1,), np.int64)
    return Segment(layout)


class Setting:
    def __init__(self, tmp_path: Path) -> None:
        self.sharing = FileSharing(tmp_path)
        self.store = WeightStore(make_segment(), 0)
        self.out = torch.full((SIZE,), -1.0)

    def writer(self, sharing=None) -> DeviceWeightsWriter:
        return DeviceWeightsWriter(self.store, CPU, sharing or self.sharing)

    def reader(self, sharing=None) -> DeviceWeightsReader:
        return DeviceWeightsReader(self.store, CPU, sharing or self.sharing)

    def publish(self, writer: DeviceWeightsWriter | None, version: int) -> None:
        """The device's copy says 1000 more, so that one sees where a reader read."""
        if writer is not None:
            writer.write(torch.from_numpy(pattern(1000 + version, SIZE)), version)
        self.store.publish(pattern(version, SIZE), version)


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


class Refusing:
    def seal(self, tensor):
        raise RuntimeError("no IPC here")

    def open(self, handle):
        raise RuntimeError("no IPC here")


class Wordy(Refusing):
    def seal(self, tensor):
        return b"x" * (HANDLE_BYTES + 1)


def test_nothing_is_read_before_the_first_version(setting):
    reader = setting.reader()
    setting.writer()
    assert reader.read(setting.out) == 0 and (setting.out == -1).all()


def test_every_version_is_read_from_the_device(setting):
    reader, writer = setting.reader(), setting.writer()
    for version in range(3, 8):
        setting.publish(writer, version)
        assert reader.read(setting.out) == version and (setting.out == 1000 + version).all()


def test_without_a_learner_that_shares_the_store_is_to_be_read(setting):
    setting.publish(None, 1)
    assert setting.reader().read(setting.out) == 0


@pytest.mark.parametrize("sharing", [Refusing(), Wordy()])
def test_a_device_that_shares_nothing_leaves_everything_to_the_store(setting, sharing):
    writer, reader = setting.writer(sharing), setting.reader()
    assert not writer.available
    setting.publish(writer, 1)
    assert reader.read(setting.out) == 0


def test_a_handle_that_cannot_be_opened_is_tried_once(setting):
    refusing = Refusing()
    reader, writer = setting.reader(refusing), setting.writer()
    setting.publish(writer, 1)
    assert reader.read(setting.out) == 0
    refusing.open = pytest.fail
    setting.publish(writer, 2)
    assert reader.read(setting.out) == 0


def test_a_replaced_reader_finds_the_handle(setting):
    writer = setting.writer()
    setting.publish(writer, 1)
    setting.publish(writer, 2)
    assert setting.reader().read(setting.out) == 2 and (setting.out == 1002).all()


def test_a_dead_learners_buffer_is_not_asked_once_there_is_a_new_one(setting):
    reader = setting.reader()
    setting.publish(setting.writer(), 1)
    assert reader.read(setting.out) == 1
    second = setting.writer()
    assert reader.read(setting.out) == 0, "withdrawn, and nothing new is offered before it holds weights"
    setting.publish(second, 2)
    assert reader.read(setting.out) == 2 and (setting.out == 1002).all()
    third = setting.writer(Refusing())
    setting.publish(third, 3)
    assert reader.read(setting.out) == 0


def test_a_new_learners_buffer_does_not_hold_what_was_published_before(setting):
    setting.publish(setting.writer(), 1)
    second, reader = setting.writer(), setting.reader()
    second.write(torch.from_numpy(pattern(1002, SIZE)), 2)  # offered, but the store still says 1
    assert reader.read(setting.out) == 0
    setting.store.publish(pattern(2, SIZE), 2)
    assert reader.read(setting.out) == 2 and (setting.out == 1002).all()


@pytest.mark.slow
def test_a_reader_never_sees_half_of_a_version(tmp_path):
    size = 50_000
    segment = make_segment(size)
    store, out, last = WeightStore(segment, 0), torch.empty(size), 0
    reader = DeviceWeightsReader(store, CPU, FileSharing(tmp_path))
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=publish_device_patterns, args=(segment, tmp_path, size))
    child.start()
    try:
        seen = 0
        while seen < 100:
            if version := reader.read(out):
                assert version >= last and (out == float(version)).all()
                seen, last = seen + (version > last), version
            assert child.is_alive()
    finally:
        segment.array("stop")[0] = 1
        child.join()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_tensor_is_handed_to_another_process():
    context = multiprocessing.get_context("spawn")
    segment, device = make_segment(), torch.device("cuda")
    ours, theirs = context.Pipe()
    writer = DeviceWeightsWriter(WeightStore(segment, 0), device, CudaSharing())
    assert writer.available
    child = context.Process(target=_read_on_the_device, args=(segment, theirs))
    child.start()
    for version in range(1, 6):
        writer.write(torch.from_numpy(pattern(1000 + version, SIZE)).to(device), version)
        WeightStore(segment, 0).publish(pattern(version, SIZE), version)
        ours.send(version)
        assert ours.recv() == (version, [1000.0 + version] * SIZE)
    ours.send(None)
    child.join()
    assert child.exitcode == 0


def _read_on_the_device(segment: Segment, pipe) -> None:
    device = torch.device("cuda")
    reader, out = DeviceWeightsReader(WeightStore(segment, 0), device), torch.empty(SIZE, device=device)
    while pipe.recv() is not None:
        pipe.send((reader.read(out), out.tolist()))
