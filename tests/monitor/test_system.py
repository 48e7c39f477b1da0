from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sfmarl.monitor.system import SystemSampler


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_cpu_and_memory_of_this_process():
    sampler = SystemSampler(memory_seconds=0)
    sampler.sample([os.getpid()])
    block = bytearray(b"x") * (200 << 20)
    start = time.perf_counter()
    busy(0.2)
    elapsed = time.perf_counter() - start
    first = sampler.sample([os.getpid()])
    assert first["system/cpu_percent"] >= 0.5 * 100 * 0.2 / elapsed
    del block
    second = sampler.sample([os.getpid()])
    assert 0.15 < first["system/ram_gib"] - second["system/ram_gib"] < 0.25
    assert set(first) == {"system/cpu_percent", "system/ram_gib"}


def test_memory_and_name_of_each_process():
    sampler = SystemSampler()
    total = sampler.sample([os.getpid()])["system/ram_gib"]
    assert sampler.memory == {os.getpid(): total * 2**30}
    assert sampler.name(os.getpid()) == psutil.Process().name() and sampler.name(2**22 + 1) == "a process"


def test_processes_that_are_gone_count_nothing():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    sampler = SystemSampler()
    sampler.sample([child.pid])
    child.wait()
    assert sampler.sample([child.pid, 2**22 + 1]) == {"system/cpu_percent": 0, "system/ram_gib": 0}


def test_memory_is_measured_at_its_own_pace(monkeypatch):
    sampler = SystemSampler(memory_seconds=1000)
    first = sampler.sample([os.getpid()])["system/ram_gib"]
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda self: pytest.fail("measured again"))
    assert sampler.sample([os.getpid()])["system/ram_gib"] == first > 0


def test_without_leave_to_see_shared_pages_the_resident_ones_count(monkeypatch):
    def denied(self):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    assert SystemSampler().sample([os.getpid()])["system/ram_gib"] > 0.01


def fake_driver(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def sample_until(sampler: SystemSampler, name: str) -> dict[str, float]:
    for _ in range(500):
        if name in (sample := sampler.sample([])):
            return sample
        time.sleep(0.01)
    pytest.fail(f"{name} never appeared")


def test_gpu_figures_come_from_the_driver(tmp_path, monkeypatch):
    fake_driver(tmp_path, f'echo "$@" >> {tmp_path}/asked; echo "37, 2048"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    sampler = SystemSampler("cuda:1")
    sample = sample_until(sampler, "system/gpu_gib")
    sampler.close()
    assert (sample["system/gpu_percent"], sample["system/gpu_gib"]) == (37.0, 2.0)
    assert "--id=5" in (tmp_path / "asked").read_text()


def test_a_figure_the_driver_lacks_is_left_out_and_a_hanging_driver_waits_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_driver(tmp_path, 'echo "[N/A], 512"')
    sampler = SystemSampler("cuda")
    assert "system/gpu_percent" not in sample_until(sampler, "system/gpu_gib")
    sampler.close()
    fake_driver(tmp_path, "exec sleep 1000")
    sampler = SystemSampler("cuda")
    for _ in range(3):
        assert "system/gpu_gib" not in sampler.sample([os.getpid()])
    sampler.close()
    assert not [p for p in psutil.Process().children() if "sleep" in p.name()]
