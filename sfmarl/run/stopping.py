"""Ctrl-C, SIGTERM and SIGHUP: asked once, a run ends in order; asked twice, at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sfmarl.signals import Interrupted, heeded


class StopRequest:
    """What a signal asked for so far."""

    def __init__(self) -> None:
        self.signal = 0
        """Number of the signal that came first; 0 while none did."""

    def obey(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.signal:
            raise Interrupted(self.signal)


@contextmanager
def signals_noted() -> Iterator[StopRequest]:
    """Yield what takes note of the first signal; the second one raises Interrupted.

    From where a run has something to lose, and not only in its loop: a KeyboardInterrupt in the middle of another
    package's import may be taken for a module that is missing, and be gone.
    """
    request = StopRequest()

    def on_signal(number: int, frame: Any) -> None:
        if request.signal:
            raise Interrupted(number)
        request.signal = number

    try:
        old = {number: signal.signal(number, on_signal) for number in heeded()}
    except ValueError:  # not the main thread of the program: its signals are not ours
        old = {}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
