"""The signals that ask a program to end: what they become in a command; children leave them to their parent."""

from __future__ import annotations

import _thread
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service manager, a closed terminal. They reach the whole process group; the main process decides."""

ECHO_SECONDS = 0.3
"""Signals that follow one within this time are the same request: a shell that is closed hands SIGHUP on and the kernel
sends it once more; `timeout` and some service managers signal a process and then its group."""
IMPORT_POLL = 0.05
"""Seconds between looks whether an import is over."""


class Interrupted(KeyboardInterrupt):
    """A signal, whose number is `args[0]`, asked for an end; a run that ended in order has saved what it learned.

    Where a plain KeyboardInterrupt leaves code that is executed from a string, as dataclasses and named tuples are,
    Python takes note, and in the end dies of SIGINT whatever exit code it was given.
    """


def heeded() -> tuple[signal.Signals, ...]:
    """Return those of END_SIGNALS that are for us: under `nohup` a closed terminal is not."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in END_SIGNALS if not (nohup and number is signal.SIGHUP))


@contextmanager
def held() -> Iterator[None]:
    """Hold back END_SIGNALS; whatever is started meanwhile never sees them, we do afterwards."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextmanager
def raised() -> Iterator[None]:
    """Have END_SIGNALS raise Interrupted, so that what was begun is ended and cleaned up, not cut off.

    Also those that were held back since the program began. The first one waits for the end of an import: packages take
    an exception in the middle of one for a module that is missing, or abort.
    """
    waiting = reminded = False
    asked_at = -math.inf

    def remind(number: int) -> None:
        nonlocal reminded
        time.sleep(IMPORT_POLL)
        reminded = True
        _thread.interrupt_main(number)

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal waiting, reminded, asked_at
        again, reminded = reminded, False
        if not again:
            if time.monotonic() - asked_at <= ECHO_SECONDS:
                return
            asked_at = time.monotonic()
        if _importing(frame) and (again or not waiting):
            waiting = True
            threading.Thread(target=remind, args=(number,), name="signal", daemon=True).start()
        else:
            raise Interrupted(number)

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


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is under way in `frame` or its callers."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def left_to_parent() -> None:
    """Have this process, a child that was started with END_SIGNALS held, not react to them: its parent decides.

    By a handler, since SIG_IGN would be inherited by whatever program an environment starts.
    """
    for number in END_SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
