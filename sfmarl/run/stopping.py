"""Ctrl-C, SIGTERM and SIGHUP: asked once, a run ends in order; asked twice, at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sfmarl.signals import ECHO_SECONDS, Interrupted, heeded


class StopRequest:
    """What a signal asked for so far."""

    def __init__(self) -> None:
        self.signal = 0
        """Number of the signal that came first; 0 while none did."""
        self._asked_at = 0.0

    def ask(self, number: int) -> None:
        """Take note of a signal. Raises Interrupted when the program is asked a second time."""
        now = time.monotonic()
        if not self.signal:
            self.signal, self._asked_at = number, now
        elif now - self._asked_at > ECHO_SECONDS:
            raise Interrupted(number)

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

    try:
        old = {number: signal.signal(number, lambda number, _: request.ask(number)) for number in heeded()}
    except ValueError:  # not the main thread of the program: its signals are not ours
        old = {}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
