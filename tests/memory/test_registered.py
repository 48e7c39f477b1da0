"""Page-locking: the whole mapping, once, given back at the end; a refusal is a warning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfmarl.memory.registered import registered
from sfmarl.memory.segment import Layout, Segment

CPU = torch.device("cpu")


class Runtime:
    """Stands in for the CUDA runtime."""

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.calls: list[tuple] = []

    def cudaHostRegister(self, pointer: int, size: int, flags: int) -> int:
        self.calls.append(("register", pointer, size))
        return self.error

    def cudaHostUnregister(self, pointer: int) -> int:
        self.calls.append(("unregister", pointer))
        return 0


@pytest.fixture
def segment():
    layout = Layout()
    layout.add("a", (3, 5), np.float32)
    layout.add("b", (1000,), np.uint8)
    return Segment(layout)


def test_without_a_gpu_nothing_is_registered(segment):
    with registered(segment, CPU, pytest.fail) as locked:
        assert not locked


def test_the_mapping_holds_every_array_and_is_given_back_when_the_block_fails(segment):
    runtime = Runtime()
    start = segment.array("a").ctypes.data

    def fail() -> None:
        with registered(segment, CPU, pytest.fail, runtime) as locked:
            assert locked
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert runtime.calls == [("register", start, segment.layout.size), ("unregister", start)]
    assert start <= segment.array("b").ctypes.data <= start + segment.layout.size - 1000


def test_a_refusal_is_a_warning_and_nothing_is_given_back(segment):
    runtime, said = Runtime(error=2), []
    with registered(segment, CPU, said.append, runtime) as locked:
        assert not locked
    assert [name for name, *_ in runtime.calls] == ["register"]
    assert len(said) == 1 and "error 2" in said[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_registered_arrays_are_pinned_for_torch_and_a_second_registration_is_refused(segment):
    device, said = torch.device("cuda"), []
    array = torch.from_numpy(segment.array("a"))
    assert not array.is_pinned()
    with registered(segment, device, pytest.fail) as locked:
        assert locked and array.is_pinned()
        with registered(segment, device, said.append) as again:
            assert not again and said
        # the refusal is not raised by whatever is launched next
        assert torch.ones(3, device=device).sum().item() == 3
    assert not array.is_pinned()
