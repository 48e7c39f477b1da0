"""Where a process's stacks go when it crashes in native code or is asked for them: memory that its parent can read."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from multiprocessing import reduction

DUMP_SIGNAL = signal.SIGUSR1
"""A process that has armed its dump answers by writing the stacks of all its threads, however deep it hangs."""


class StackDump:
    """Anonymous memory; passing it to a child as a `multiprocessing` argument duplicates the descriptor."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.memfd_create("sfmarl-stacks", os.MFD_CLOEXEC) if fd is None else fd

    def arm(self) -> None:
        """In the child: write stacks when native code crashes and when DUMP_SIGNAL comes."""
        faulthandler.enable(self._fd)
        faulthandler.register(DUMP_SIGNAL, self._fd, all_threads=True)

    def read(self) -> str:
        """Return what was written, empty if nothing was."""
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0).decode(errors="replace").strip()

    def ask(self, pid: int, seconds: float) -> str:
        """Ask an armed process for its stacks and return them; empty if it does not answer within `seconds`."""
        before = self.read()
        try:
            os.kill(pid, DUMP_SIGNAL)
        except ProcessLookupError:
            return ""
        deadline, last = time.monotonic() + seconds, before
        while time.monotonic() < deadline:
            time.sleep(0.02)
            now = self.read()
            if now != before and now == last:
                break  # it has grown, and stopped growing
            last = now
        return last.removeprefix(before).strip()

    def __reduce__(self):
        return _attach, (reduction.DupFd(self._fd),)

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", None)) is not None:
            os.close(fd)
            self._fd = None


def _attach(dup: reduction.DupFd) -> StackDump:
    return StackDump(dup.detach())
