"""The machine a number was measured on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import psutil

BUSY_PERCENT = 10
"""From here on other programs are worth a warning."""


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


def busy_percent() -> float:
    """Return the CPU time that other programs take now, percent of the machine; warn on stderr if that is much."""
    busy = psutil.cpu_percent(interval=1.0)
    if busy > BUSY_PERCENT:
        print(f"warning: other programs take {busy:.0f} % of this machine; ratios will suffer", file=sys.stderr)
    return busy


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
