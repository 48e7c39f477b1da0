"""Where processes come from: a fork server that has imported what is heavy, so that a child starts in milliseconds."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext

from sfmarl.run.stopping import END_SIGNALS

PRELOAD = (
    "torch",
    "numpy",
    "gymnasium",
    "sfmarl.run.build",
    "sfmarl.evaluation.evaluate",
    "sfmarl.storage.checkpoint",
)
"""Imported once, in the fork server."""


def fork_server() -> BaseContext:
    """Start this process's fork server, unless it runs already, and return what starts processes in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    resource_tracker.ensure_running()  # the fork server starts it otherwise, and it unblocks signals when it does
    with _signals_held():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that end a run; whatever is started meanwhile never sees them, we do afterwards.

    The fork server needs it: a terminal's Ctrl-C and a service manager's SIGTERM reach the whole process group, and
    who answers them is the main process alone.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
