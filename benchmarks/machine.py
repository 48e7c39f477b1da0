"""The machine a number was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str | int]:
    """Return cores this process may use, CPU model, Python and the versions of torch and NumPy."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "numpy": metadata.version("numpy"),
    }


def sentence(machine: dict[str, str | int]) -> str:
    """Return the description in one line."""
    software = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numpy"))
    return f"{machine['cores']} cores, {machine['cpu']}; {software}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
