"""Where processes come from: a fork server that has imported what is heavy, so that a child starts in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from multiprocessing import forkserver, process, resource_tracker
from multiprocessing.context import BaseContext

from sfmarl.signals import held

PRELOAD = (
    "torch",
    "numpy",
    "gymnasium",
    "sfmarl.run.build_rollout",
    "sfmarl.evaluation.evaluate",
    "sfmarl.storage.checkpoint",
)
"""Imported once, in the fork server."""

_SERVER = forkserver._forkserver


def fork_server() -> BaseContext:
    """Start this process's fork server, unless it runs already, and return what starts processes in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    resource_tracker.ensure_running()  # the fork server starts it otherwise, and it unblocks signals when it does
    # a terminal's Ctrl-C and a service manager's SIGTERM reach the whole process group, the fork server, too
    with held():
        if not _runs():
            _start()
    return context


def _runs() -> bool:
    pid = _SERVER._forkserver_pid
    return pid is not None and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _start() -> None:
    """Start the server and take its socket's name away, which would outlive a main process that is killed.

    From then on the socket is found through a descriptor of this process.
    """
    settings = process.current_process()._config
    usual = settings.get("tempdir")
    with tempfile.TemporaryDirectory(prefix="sfmarl-") as folder:
        settings["tempdir"] = folder  # where multiprocessing binds the socket
        try:
            forkserver.ensure_running()
        finally:
            settings["tempdir"] = usual
        socket = os.open(_SERVER._forkserver_address, os.O_PATH | os.O_CLOEXEC)
    _SERVER._forkserver_address = f"/proc/self/fd/{socket}"
