"""A command with everything it starts, wherever in the process tree that went: watched, and ended for certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""


class ProcessTree:
    """One running command and its descendants, daemons included. Leaving the `with` block ends all of them.

    While it runs, orphans become children of this process (Linux's child subreaper), so that a daemon that left its
    process group and session is still found. One tree at a time: what this process has started elsewhere before is
    left alone, what it starts meanwhile would be taken for the tree's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start `command`; its output goes to `log`. Raises OSError when it cannot be started."""
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}
        self._cpu: dict[tuple[int, float], float] = {}
        _subreaper(True)
        try:
            with log.open("wb") as output:
                self._popen = subprocess.Popen(
                    command,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except BaseException:
            _subreaper(False)
            raise
        self._seen = {self._popen.pid}

    def __enter__(self) -> ProcessTree:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._end()
        finally:
            _subreaper(False)

    def exit_code(self) -> int | None:
        """Return the command's exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def processes(self) -> list[psutil.Process]:
        """Return what is alive of the tree now."""
        found = [process for process in psutil.Process().children(recursive=True) if process.pid not in self._before]
        self._seen |= {process.pid for process in found}
        return found

    def cpu_seconds(self) -> float:
        """Return the CPU time of the tree; what has ended counts as it did when it was last looked at."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error, OSError):
                times = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = times.user + times.system
        return sum(self._cpu.values())

    def memory(self) -> float:
        """Return bytes of the tree; a page that n processes share counts 1/n in each (PSS)."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss
        return total

    def _end(self) -> None:
        """SIGTERM, a while for leaving in order (a second Ctrl-C cuts it short), SIGKILL until nothing is left."""
        try:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            while self._alive():
                self._signal(signal.SIGKILL)
                time.sleep(0.05)
            self._popen.wait()
            _remove_shared_memory(self._seen)

    def _alive(self) -> list[psutil.Process]:
        """Return the tree's processes that still run; those that ended are reaped."""
        self._popen.poll()
        alive = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
                elif process.pid != self._popen.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
        return alive

    def _signal(self, number: signal.Signals) -> None:
        for process in self._alive():
            with contextlib.suppress(psutil.Error, OSError):
                process.send_signal(number)


def _subreaper(on: bool) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _remove_shared_memory(pids: set[int]) -> None:
    """Remove what torch's `file_system` sharing leaves behind in a killed process: /dev/shm/torch_PID_..."""
    for path in Path("/dev/shm").glob("torch_*"):
        pid = path.name.split("_")[1]
        if pid.isdecimal() and int(pid) in pids:
            path.unlink(missing_ok=True)
