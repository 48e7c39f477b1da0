"""Where processes come from: a fork server that has imported what is heavy, so that a child starts in milliseconds."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext

from sfmarl.signals import held

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
    # a terminal's Ctrl-C and a service manager's SIGTERM reach the whole process group, the fork server, too
    with held():
        forkserver.ensure_running()
    return context
