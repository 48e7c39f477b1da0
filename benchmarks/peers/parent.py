"""A driver ends with the measurement that started it, also when that was killed and could end nothing any more."""

from __future__ import annotations

import os
import signal
import threading
import time

CHECK_SECONDS = 1.0


def end_with_parent() -> None:
    """Kill this process's group once its parent is gone. The driver leads a group of its own."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_SECONDS)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
