"""CPU, memory and GPU use of a run's processes. Measuring never fails and never waits."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable

import psutil

_GIB = 2**30


class SystemSampler:
    """Samples a set of processes; the first sample's CPU share counts from when the process was first seen."""

    def __init__(self, device: str = "cpu", memory_seconds: float = 30.0) -> None:
        """Sample CPU and memory and, for a `cuda` device, that GPU through its driver's `nvidia-smi`.

        Memory is measured at most every `memory_seconds`: the kernel walks all pages of every process for it (some
        6 ms each). In between a process counts what it did last.
        """
        self._processes: dict[int, psutil.Process] = {}
        self._memory: dict[int, float] = {}
        self._memory_seconds = memory_seconds
        self._measured = float("-inf")
        self._command = _gpu_command(device)
        self._query: subprocess.Popen[str] | None = None
        self._gpu: dict[str, float] = {}

    def sample(self, pids: Iterable[int]) -> dict[str, float]:
        """Return the `system/...` scalars of the processes `pids`; those that are gone count as nothing.

        CPU is taken since the last call. GPU figures are at most one call old: the driver is asked at one call and
        its answer read at the next.
        """
        pids = set(pids)
        cpu = 0.0
        if time.monotonic() - self._measured >= self._memory_seconds:
            self._memory.clear()
            self._measured = time.monotonic()
        for pid in pids:
            try:
                process = self._processes.get(pid)
                if process is None or not process.is_running():
                    process = self._processes[pid] = psutil.Process(pid)
                cpu += process.cpu_percent(interval=None)
                if pid not in self._memory:
                    self._memory[pid] = _memory(process)
            except (psutil.Error, OSError):
                self._processes.pop(pid, None)
        self._processes = {pid: process for pid, process in self._processes.items() if pid in pids}
        memory = sum(self._memory.get(pid, 0.0) for pid in self._processes)
        self._poll_gpu()
        return {"system/cpu_percent": cpu, "system/ram_gib": memory / _GIB, **self._gpu}

    @property
    def memory(self) -> dict[int, float]:
        """Process id -> bytes, as last measured (a page that n processes share counts 1/n)."""
        return {pid: size for pid, size in self._memory.items() if pid in self._processes}

    def name(self, pid: int) -> str:
        """Return a sampled process's name as `top` shows it."""
        try:
            return self._processes[pid].name()
        except (KeyError, psutil.Error):
            return "a process"

    def close(self) -> None:
        """End a driver query that is still under way."""
        if self._query:
            self._query.kill()
            self._query.communicate()
            self._query, self._command = None, []

    def _poll_gpu(self) -> None:
        if not self._command or (self._query and self._query.poll() is None):
            return
        if self._query and self._query.stdout:
            self._gpu = _parse_gpu(self._query.stdout.read()) or self._gpu
            self._query.stdout.close()
        try:
            self._query = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            self._query, self._command = None, []


def _memory(process: psutil.Process) -> float:
    """Return bytes of the process; a page shared by n processes counts 1/n, so that a sum is what the run occupies."""
    try:
        return float(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return float(process.memory_info().rss)


def _gpu_command(device: str) -> list[str]:
    """Return the driver query for a torch device, empty when it is no NVIDIA GPU or the tool is missing."""
    kind, _, index = device.partition(":")
    program = shutil.which("nvidia-smi")
    if kind != "cuda" or program is None:
        return []
    # torch counts visible devices, the driver counts all of them
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    position = int(index or 0)
    gpu = visible[position] if position < len(visible) else str(position)
    return [program, f"--id={gpu}", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]


def _parse_gpu(answer: str) -> dict[str, float]:
    """Return the scalars in an answer like `37, 2048` (percent, MiB); a figure the driver lacks is left out."""
    scalars = {}
    figures = answer.partition("\n")[0].split(",")
    for name, scale, text in zip(("gpu_percent", "gpu_gib"), (1.0, 1 / 1024), figures, strict=False):
        with contextlib.suppress(ValueError):
            scalars[f"system/{name}"] = float(text) * scale
    return scalars
