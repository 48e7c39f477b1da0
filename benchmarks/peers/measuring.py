"""One system on one work: start it, warm it up, take three windows, end it."""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers.meters import FOLDER, MeterReader
from peers.process_tree import ProcessTree
from peers.windows import Reading, Windows

POLL_SECONDS = 0.05
MEMORY_SECONDS = 3.0
"""Between two looks at memory, for which the kernel walks all pages of every process."""
START_SECONDS = 180.0
"""A system without an update after so long has failed."""
STALL_SECONDS = 60.0
"""So has one that makes none for so long later."""

_ERROR = re.compile(r"(?:ERROR|[\w.]*(?:Error|Exception)): .+")
"""The line that ends a traceback, or pip's."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class PeerFailed(Exception):
    """A system could not be installed, started, or measured; the message is one line."""


def measure(
    command: Sequence[str], environment: Mapping[str, str], log: Path, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Run `command` for a warm-up and three windows of at least `seconds` and return its figures in plain JSON types.

    The command reports through meters. Raises PeerFailed when it ends, or makes no updates.
    """
    windows, memory, looked = Windows(warm_up, seconds), 0.0, float("-inf")
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sfmarl-meters-") as folder:
        meters = MeterReader(Path(folder))
        start = time.monotonic()
        try:
            tree = ProcessTree(command, os.environ | environment | {FOLDER: folder}, log)
        except OSError as error:
            raise PeerFailed(f"{command[0]}: {error.strerror}") from error
        with tree:
            while not windows.complete:
                time.sleep(POLL_SECONDS)
                code = tree.exit_code()
                now = time.monotonic() - start
                learned = meters.read("learned")
                if windows.is_edge(now, learned):
                    windows.close(Reading(now, meters.read("sampled"), learned, tree.cpu_seconds()))
                if code is not None:
                    raise PeerFailed(f"ended with code {code}: {error_in(log)}")
                if windows.first_update is None and now > START_SECONDS:
                    raise PeerFailed(f"no update within {START_SECONDS:.0f} s: {error_in(log)}")
                if windows.first_update is not None and now - windows.last_update > STALL_SECONDS:
                    raise PeerFailed(f"no update for {STALL_SECONDS:.0f} s: {error_in(log)}")
                if now - looked >= MEMORY_SECONDS:
                    memory, looked = max(memory, tree.memory()), now
    return figures(windows, memory)


def figures(windows: Windows, memory: float) -> dict[str, Any]:
    """Return a measurement in plain JSON types; `memory` is the peak in bytes."""
    return {
        "agent_steps_per_second": statistics.median(windows.sampled_per_second()),
        "windows": windows.sampled_per_second(),
        "learned_per_second": statistics.median(windows.learned_per_second()),
        "cpu_percent": windows.cpu_percent(),
        "peak_memory_gib": memory / 2**30,
        "first_update_seconds": windows.first_update,
    }


def error_in(log: Path) -> str:
    """Return the first line of a log that names an error (later ones are often of an exit that went wrong), else the last.

    At most 200 characters.
    """
    text = _COLOUR.sub("", log.read_text(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "it printed nothing")
    return found[:200]
