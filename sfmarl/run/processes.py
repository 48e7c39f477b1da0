"""The process shell: what surrounds a component when it runs in a process of its own.

A child is told who it is and handed the plan and the data plane. It builds its component, runs it until the run word
says stop, and talks to the main process over a pipe of its own: (kind, payload) up, commands down. It ends with its
parent.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sfmarl.errors import OutcomeError, RunError, SfmarlError
from sfmarl.run.components import RUN
from sfmarl.run.crash import origin
from sfmarl.run.descendants import descendants, kill_all
from sfmarl.run.part import Handle, Part, Role
from sfmarl.run.stack_dump import StackDump
from sfmarl.signals import left_to_parent
from sfmarl.user_code import import_user_code

LINGER_SECONDS = 2.0
"""Patience with processes whose parent has died before a sibling kills them."""


@dataclass
class Failure:
    """An exception that ended a child."""

    message: str
    """For the user: who, what, what to do."""
    origin: str
    """The line it came from (`crash.origin`)."""
    traceback: str
    """For whoever looks for the cause."""
    kind: type[SfmarlError]
    """What it is in the main process."""
    at: float
    """`time.monotonic()`, one clock for all processes: what failed first is the cause."""


def child_main(role: Role, index: int, handle: Handle, pipe: Connection, dump: StackDump) -> None:
    """Run component `index` of `role` until the run stops. Exit code 0, or 1 after an exception (which is reported)."""
    _name_process(f"sf-{role}-{index}")
    left_to_parent()
    dump.arm()
    words = handle.plane.words()
    passes = words.passes[role][index : index + 1]
    end_with_parent(lingers=role == "evaluator" or (role, index) == ("learner", 0))

    def report(kind: str, payload: Any) -> None:
        passes[0] += 1  # first, so that whoever hears "started" counts from here
        pipe.send((kind, payload))

    part = Part(index, handle, pipe, report, passes, contextlib.ExitStack())
    try:
        import_user_code(handle.imports)
        RUN[role](part)
    except Exception as error:
        at = time.monotonic()
        if not parent_process().is_alive():
            threading.Event().wait()  # until `end_with_parent` ends this process
        failed = not (words.ending if role == "evaluator" else words.stopping)
        if failed:
            message = str(error) if isinstance(error, SfmarlError) else f"{type(error).__name__}: {error}"
            kind = OutcomeError if isinstance(error, OutcomeError) else RunError
            report("failed", Failure(message, origin(error), traceback.format_exc(), kind, at))
        with contextlib.suppress(Exception):
            part.closing.close()
        if failed:
            kill_all(descendants(os.getpid()))
            sys.exit(1)


def _name_process(name: str) -> None:
    """Set what top and ps show (15 characters at most)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def end_with_parent(lingers: bool = False) -> None:
    """Leave when the main process dies, however it dies. (PR_SET_PDEATHSIG would watch the fork server instead.)

    What this process has started is killed. One that `lingers` then looks after its siblings, and kills who is stopped
    or hangs in native code, where no thread of Python's can answer.
    """
    sentinel, fork_server = parent_process().sentinel, os.getppid()

    def watch() -> None:
        try:
            connection.wait([sentinel])
            kill_all(descendants(os.getpid()))
            if lingers:
                time.sleep(LINGER_SECONDS)
                if os.getppid() == fork_server:  # or it was killed, and our parent is anybody's
                    kill_all(descendants(fork_server))
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
