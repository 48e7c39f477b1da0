"""What a process has started, and what that has started: an environment's simulator must not outlive its worker."""

from __future__ import annotations

import contextlib
import os

import psutil


def descendants(pid: int) -> list[psutil.Process]:
    """Return them; none if that cannot be found out. Who became a daemon of its own is nobody's descendant."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):  # no such process; no file may be opened any more
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to those that are still there, but not to ourselves."""
    for process in processes:
        if process.pid != os.getpid():
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()  # compares its time of birth: the number may be another's by now
