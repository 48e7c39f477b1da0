"""The segment: arrays that do not touch each other, shared without a name, refused when there is no memory."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from child_processes import fill_array
from hypothesis import given, settings
from hypothesis import strategies as st

from sfmarl.errors import RunError
from sfmarl.memory import cgroup
from sfmarl.memory.segment import Layout, Segment, available_bytes

DTYPES = [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]
SHAPES = st.lists(st.integers(0, 7), max_size=4).map(tuple)


@settings(max_examples=60)
@given(st.lists(st.tuples(SHAPES, st.sampled_from(DTYPES)), max_size=12))
def test_arrays_are_aligned_and_do_not_overlap(arrays):
    layout = Layout()
    for index, (shape, dtype) in enumerate(arrays):
        layout.add(f"array{index}", shape, dtype)
    segment = Segment(layout)
    views = [segment.array(f"array{index}") for index in range(len(arrays))]
    for view, (shape, dtype) in zip(views, arrays, strict=True):
        assert view.shape == shape and view.dtype == dtype
        assert view.ctypes.data % 64 == 0
        assert not view.any(), "a new segment is zero"
    for index, view in enumerate(views):
        view.fill(index % 2 if view.dtype == np.bool_ else index + 1)
    for index, view in enumerate(views):
        assert (view == (index % 2 if view.dtype == np.bool_ else index + 1)).all(), "a neighbour wrote into it"
    ends = [offset + view.nbytes for (offset, _, _), view in zip(layout.entries.values(), views, strict=True)]
    starts = [offset for offset, _, _ in layout.entries.values()]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert max(ends, default=0) <= layout.size


def test_a_name_can_be_given_once():
    layout = Layout()
    layout.add("x", (2,), np.int32)
    with pytest.raises(ValueError, match="'x'"):
        layout.add("x", (3,), np.int64)
    assert Segment(layout).array("x").shape == (2,)


def test_unknown_names_are_key_errors():
    with pytest.raises(KeyError):
        Segment(Layout()).array("x")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_process_shares_the_arrays(method):
    layout = Layout()
    layout.add("before", (3,), np.int64)
    layout.add("x", (4, 2), np.float32)
    segment = Segment(layout)
    view = segment.array("x")
    view[...] = 1
    process = multiprocessing.get_context(method).Process(target=fill_array, args=(segment, "x", 41))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (view == 42).all() and not segment.array("before").any()


def mappings() -> list[str]:
    with open("/proc/self/maps") as maps:
        return [line.split(maxsplit=5)[5].strip() for line in maps if len(line.split(maxsplit=5)) == 6]


def test_the_memory_has_no_name_and_goes_with_its_last_user():
    gc.collect()
    before = mappings()
    layout = Layout()
    layout.add("x", (1000,), np.float64)
    segment = Segment(layout)
    new = [path for path in mappings() if path not in before]
    assert os.fstat(segment._fd).st_nlink == 0
    assert not any("/dev/shm" in path for path in new)
    assert sum("memfd:sfmarl" in path for path in mappings()) == sum("memfd:sfmarl" in path for path in before) + 1
    view = segment.array("x")
    del segment
    gc.collect()
    view[:] = 3.0
    assert view.sum() == 3000, "an array outlives the segment object"
    del view
    gc.collect()
    assert sum("memfd:sfmarl" in path for path in mappings()) == sum("memfd:sfmarl" in path for path in before)


def test_the_memory_is_reserved_at_once():
    layout = Layout()
    layout.add("x", (1 << 18,), np.float64)
    segment = Segment(layout)
    assert os.fstat(segment._fd).st_blocks * 512 >= layout.size


def small_layout() -> Layout:
    layout = Layout()
    layout.add("x", (3 << 20,), np.uint8)
    return layout


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
def test_a_kernel_that_refuses_is_a_run_error(monkeypatch, code):
    def refuse(fd, offset, length):
        raise OSError(code, os.strerror(code))

    before = open_descriptors()
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(RunError) as error:
        Segment(small_layout())
    assert os.strerror(code) in str(error.value) and "--ring" in str(error.value)
    assert "3.0 MiB" in str(error.value)
    del error
    gc.collect()
    assert open_descriptors() == before


def test_other_errors_of_the_kernel_are_not_explained_away(monkeypatch):
    def fail(fd, offset, length):
        raise OSError(errno.EINTR, "interrupted")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="interrupted"):
        Segment(small_layout())


def has_available(monkeypatch, size: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))


def limit_cgroup(monkeypatch, folder, limit: str, used: int, cached: int = 0) -> None:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile {cached}\ninactive_file {cached - cached // 3}\n"
                                        f"active_file {cached // 3}\n")  # fmt: skip
    monkeypatch.setattr(cgroup, "CGROUP", folder)


def test_more_than_the_machine_has_is_refused_before_anything_is_reserved(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", lambda *args: pytest.fail("reserved"))
    has_available(monkeypatch, (3 << 20) - 1)
    with pytest.raises(RunError) as error:
        Segment(small_layout())
    for remedy in ("--num-envs-per-worker", "--num-workers", "--rollout", "--ring", "--state-source joint"):
        assert remedy in str(error.value)


def test_exactly_what_the_machine_has_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path)
    has_available(monkeypatch, 3 << 20)
    assert Segment(small_layout()).array("x").size == 3 << 20


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    has_available(monkeypatch, 1 << 40)
    limit_cgroup(monkeypatch, tmp_path, limit=str(8 << 20), used=6 << 20)
    assert available_bytes() == 2 << 20
    with pytest.raises(RunError, match="available"):
        Segment(small_layout())


def test_cached_files_do_not_use_up_a_containers_limit(monkeypatch, tmp_path):
    has_available(monkeypatch, 1 << 40)
    limit_cgroup(monkeypatch, tmp_path, limit=str(8 << 20), used=8 << 20, cached=5 << 20)
    assert available_bytes() == 5 << 20


def test_a_full_container_has_nothing_left(monkeypatch, tmp_path):
    has_available(monkeypatch, 1 << 40)
    limit_cgroup(monkeypatch, tmp_path, limit=str(8 << 20), used=9 << 20)
    assert available_bytes() == 0


@pytest.mark.parametrize("limit", ["max", ""])
def test_a_container_without_a_limit_is_the_machine(monkeypatch, tmp_path, limit):
    has_available(monkeypatch, 12345)
    limit_cgroup(monkeypatch, tmp_path, limit=limit, used=1 << 20)
    assert available_bytes() == 12345


def test_the_machine_may_have_less_than_the_container_allows(monkeypatch, tmp_path):
    has_available(monkeypatch, 1000)
    limit_cgroup(monkeypatch, tmp_path, limit=str(8 << 20), used=0)
    assert available_bytes() == 1000


def test_a_size_beyond_all_integers_of_the_machine_is_told_not_wrapped():
    layout = Layout()
    layout.add("slots", (10**30, 8), np.float32)
    assert layout.size == 32 * 10**30
    with pytest.raises(RunError, match="cannot reserve"):
        Segment(layout)
