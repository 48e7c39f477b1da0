"""Limits of control groups: both versions, at every level, where containers and services put them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfmarl.memory import cgroup


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """An empty mount; the test says where in it the process is."""
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path)
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "membership").write_text("")
    return tmp_path


def test_no_limits_at_all(tree):
    assert cgroup.memory_headroom() is None
    assert cgroup.memory_limit() is None
    assert cgroup.cpu_quota() is None
    assert cgroup.process_headroom() is None


def test_version_2_of_a_service_inside_a_slice(tree):
    """The service has no limit of its own; the slice around it has, and its memory is partly cached files."""
    (tree / "membership").write_text("0::/user.slice/run.service\n")
    write(tree / "user.slice/run.service", memory__max="max", memory__current="50", cpu__max="150000 100000")
    write(
        tree / "user.slice",
        memory__max="1000",
        memory__current="900",
        memory__stat="anon 300\ninactive_file 40\nactive_file 2",
        cpu__max="max 100000",
        pids__max="70",
        pids__current="30",
    )
    assert cgroup.memory_headroom() == 142
    assert cgroup.memory_limit() == 1000
    assert cgroup.cpu_quota() == 1.5
    assert cgroup.process_headroom() == 40


def test_version_1_with_a_mount_for_each_controller(tree):
    (tree / "membership").write_text("4:memory:/box/7\n3:cpu,cpuacct:/box/7\n2:pids:/box\n0::/\n")
    unlimited = "9223372036854771712"
    write(tree / "memory/box/7", memory__limit_in_bytes="4096", memory__usage_in_bytes="4000")
    (tree / "memory/box/7/memory.stat").write_text("inactive_file 1\ntotal_inactive_file 10\ntotal_active_file 5\n")
    write(tree / "memory", memory__limit_in_bytes=unlimited, memory__usage_in_bytes="9")
    write(tree / "cpu,cpuacct/box/7", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    write(tree / "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(tree / "pids/box", pids__max="max", pids__current="8")
    assert cgroup.memory_headroom() == 111
    assert cgroup.memory_limit() == 4096
    assert cgroup.cpu_quota() == 0.5
    assert cgroup.process_headroom() is None


def test_a_container_that_sees_the_mount_but_not_its_path(tree):
    (tree / "membership").write_text("4:memory:/docker/0123abc\n")
    write(tree / "memory", memory__limit_in_bytes="1000", memory__usage_in_bytes="1200")
    assert cgroup.memory_headroom() == 0
    assert cgroup.memory_limit() == 1000


def test_the_tightest_level_counts(tree):
    (tree / "membership").write_text("0::/a/b\n")
    for folder, limit in ((tree / "a/b", 500), (tree / "a", 300), (tree, 400)):
        write(folder, memory__max=str(limit), memory__current="100", cpu__max=f"{limit} 100")
    assert cgroup.memory_headroom() == 200
    assert cgroup.memory_limit() == 300
    assert cgroup.cpu_quota() == 3.0


@pytest.mark.parametrize("text", ["", "nonsense", "0:::"])
def test_what_cannot_be_read_is_no_limit(tree, text):
    (tree / "membership").write_text(text)
    write(tree, memory__max=text, memory__current=text, cpu__max=text, pids__max=text)
    assert cgroup.memory_headroom() is None
    assert cgroup.cpu_quota() is None
    assert cgroup.process_headroom() is None
