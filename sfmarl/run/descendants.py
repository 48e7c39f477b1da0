"""What a process has started, and what that has started: an environment's simulator must not outlive its worker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable

import psutil

LOOK_SECONDS = 30.0
"""Seconds between two looks at the process table, which take milliseconds."""


def descendants(pid: int) -> list[psutil.Process]:
    """Return them; none if that cannot be found out. Who became a daemon of its own is nobody's descendant."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):  # no such process; no file may be opened any more
        return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to those that are still there, but not to ourselves."""
    for process in processes:
        if process.pid != os.getpid():
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()  # compares its time of birth: the number may be another's by now


class Families:
    """What each process had started when it was looked at: once it is dead, nobody can tell whose that was."""

    def __init__(self) -> None:
        self._of: dict[int, set[psutil.Process]] = {}
        self._looked = -LOOK_SECONDS

    def look(self, pids: Collection[int], now: float, changed: bool) -> None:
        """Look at those descendants of this process, if it is time to or something has changed; `now` in seconds."""
        if not changed and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        # what a process had started stays its own: it may be dying at this moment
        self._of = {pid: {process for process in self._of.get(pid, ()) if process.is_running()} for pid in pids}
        elder = {pid: pid for pid in pids}
        for process in descendants(os.getpid()):  # parents come before their children
            with contextlib.suppress(psutil.Error, OSError):
                of = elder.get(process.ppid())
                if of is not None and process.pid not in self._of:
                    elder[process.pid] = of
                    self._of[of].add(process)

    def kill(self, pid: int) -> None:
        """Kill what the process that had this id had started."""
        kill_all(self._of.pop(pid, ()))
