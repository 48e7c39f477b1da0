"""The signals that ask a program to end: what they become in a command; children leave them to their parent."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, a closed terminal. They reach the whole process group; the main process decides."""


def heeded() -> tuple[signal.Signals, ...]:
    """Return those of END_SIGNALS that are for us: under `nohup` a closed terminal is not."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in END_SIGNALS if not (nohup and number is signal.SIGHUP))


@contextmanager
def held() -> Iterator[None]:
    """Hold back END_SIGNALS; whatever is started meanwhile never sees them, we do afterwards.

    Also for imports: a KeyboardInterrupt in the middle of one may be taken for a module that is missing, and be gone.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextmanager
def raised() -> Iterator[None]:
    """Have END_SIGNALS raise KeyboardInterrupt(number), so that what was begun is ended and cleaned up, not cut off.

    Also those that were held back since the program began.
    """

    def on_signal(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(number)

    try:
        old = {number: signal.signal(number, on_signal) for number in heeded()}
    except ValueError:  # not the main thread of the program: its signals are not ours
        old = {}
    try:
        if old:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def left_to_parent() -> None:
    """Have this process, a child that was started with END_SIGNALS held, not react to them: its parent decides.

    By a handler, since SIG_IGN would be inherited by whatever program an environment starts.
    """
    for number in END_SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
