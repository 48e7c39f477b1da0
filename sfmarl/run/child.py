"""A process of the run as the main process sees it."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

from sfmarl.run.descendants import descendants, kill_all
from sfmarl.run.part import Role
from sfmarl.run.processes import Failure
from sfmarl.run.stack_dump import StackDump

JOIN_SECONDS = 10.0
"""Patience with a process that was killed."""


@dataclass
class Child:
    """One process and its pipe."""

    role: Role
    index: int
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    dump: StackDump
    """Where its stacks go when it crashes or is asked for them."""
    born: float
    """`time.monotonic()` when it was started."""
    first: bool
    """Nobody had its part before it."""
    started_at: float = math.inf
    """`time.monotonic()` when it had built its component."""
    killed_for: str = ""
    """Why the main process killed it; empty if it did not."""
    killed_at: float = math.inf
    """`time.monotonic()` when it did."""
    stood_still: float = 0.0
    """Seconds it had made no progress for by then."""
    failure: Failure | None = None
    """Why it could not take the place of its predecessor, where that could be started."""

    @property
    def name(self) -> str:
        """For messages: `rollout worker 1`."""
        if self.role in ("rollout", "inference"):
            return f"{self.role} worker {self.index}"
        return self.role if self.index == 0 else f"{self.role} {self.index}"

    @property
    def started(self) -> bool:
        """It has built its component."""
        return self.started_at < math.inf

    def worked(self, now: float) -> float:
        """Seconds it had worked by `now`, when it was found dead: neither building nor standing still is work."""
        return max(0.0, now - self.started_at - self.stood_still)

    @property
    def reason(self) -> str:
        """How it ended, once it has been joined."""
        if self.killed_for:
            return self.killed_for
        if self.failure is not None:
            return f"could not be started again ({self.failure.message})"
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    @property
    def status(self) -> str:
        """What the kernel says of it (psutil.STATUS_*)."""
        try:
            return psutil.Process(self.process.pid).status()
        except psutil.NoSuchProcess:
            return psutil.STATUS_DEAD

    def kill(self, why: str = "") -> None:
        """Send SIGKILL to it and to whatever it has started."""
        self.killed_for, self.killed_at = why, time.monotonic()
        family = descendants(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        kill_all(family)

    def join(self, seconds: float = JOIN_SECONDS) -> bool:
        """Whether it has ended within `seconds`: one that waits for a dead file system or driver does not."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def is_running(self) -> bool:
        """Ask the kernel: a sentinel also falls silent when the fork server, not the child, has died."""
        return self.status not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)

    def ends_within(self, seconds: float) -> bool:
        """Whether it is gone, or will be within `seconds`: its sentinel falls silent a moment before it is."""
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
