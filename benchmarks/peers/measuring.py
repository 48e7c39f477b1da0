"""One system on one work: start it, warm it up, take three windows, end it."""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Poll:
    """What a running system's counters say at one time."""

    seconds: float
    """Since it was started."""
    sampled: int
    """Valid agent-steps so far."""
    learned: int
    """Samples that reached an update so far, once per epoch."""


def measure(
    command: Sequence[str], environment: Mapping[str, str], log: Path, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Run `command` for a warm-up and three windows of at least `seconds` and return its figures in plain JSON types.

    The command reports through meters. Raises PeerFailed when it ends or makes no updates.
    """
    windows, memory, looked = Windows(warm_up, seconds), 0.0, float("-inf")
    with started(command, environment, log) as (tree, polls):
        for poll in polls:
            if windows.is_edge(poll.seconds, poll.learned):
                windows.close(Reading(poll.seconds, poll.sampled, poll.learned, tree.cpu_seconds()))
            if windows.complete:
                break
            if poll.seconds - looked >= MEMORY_SECONDS:
                memory, looked = max(memory, tree.memory()), poll.seconds
    return figures(windows, memory)


def seconds_until(agent_steps: int, command: Sequence[str], environment: Mapping[str, str], log: Path) -> float:
    """Run `command` until it has learned from `agent_steps` samples; return the seconds since it was started.

    Raises PeerFailed like `measure`.
    """
    with started(command, environment, log) as (_, polls):
        return next(poll.seconds for poll in polls if poll.learned >= agent_steps)


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[tuple[ProcessTree, Iterator[Poll]]]:
    """Run `command` inside the `with` block; yields its processes and its counters, again and again.

    Raises PeerFailed when it cannot be started; so do the counters when it ends or makes no updates.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sfmarl-meters-") as folder:
        try:
            tree = ProcessTree(command, os.environ | environment | {FOLDER: folder}, log)
        except OSError as error:
            raise PeerFailed(f"{command[0]}: {error.strerror}") from error
        with tree:
            yield tree, _polls(tree, MeterReader(Path(folder)), log)


def _polls(tree: ProcessTree, meters: MeterReader, log: Path) -> Iterator[Poll]:
    start, learned, last_update = time.monotonic(), 0, 0.0
    while True:
        time.sleep(POLL_SECONDS)
        code = tree.exit_code()
        poll = Poll(time.monotonic() - start, meters.read("sampled"), meters.read("learned"))
        if poll.learned > learned:
            learned, last_update = poll.learned, poll.seconds
        yield poll
        if code is not None:
            raise PeerFailed(f"ended with code {code}: {error_in(log)}")
        if poll.seconds - last_update > (STALL_SECONDS if learned else START_SECONDS):
            raise PeerFailed(f"no update for {poll.seconds - last_update:.0f} s: {error_in(log)}")


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
    """Return the first line of a log that names an error, else its last line; at most 200 characters.

    Later errors are often those of an exit that went wrong.
    """
    text = _COLOUR.sub("", log.read_text(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "it printed nothing")
    return found[:200]
