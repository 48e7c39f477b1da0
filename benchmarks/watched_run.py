"""A training that is watched from outside: its newest record, its processes, its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SHM = Path("/dev/shm")


def shm_bytes() -> int:
    """Return what lies in /dev/shm."""
    total = 0
    for path in SHM.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@dataclass
class WatchedRun:
    """One run directory and the process that works on it, in a session and with a TMPDIR of its own."""

    run_dir: Path
    process: subprocess.Popen | None = None
    seen: set[psutil.Process] = field(default_factory=set)
    """Every process that ever belonged to it, as far as `family` met them."""

    def start(self, words: Sequence[str]) -> None:
        """Start `sfmarl WORDS`; what it says goes to RUN_DIR.log, what it keeps for a while to RUN_DIR.tmp."""
        self.tmp.mkdir(exist_ok=True)
        # torch's cache of what it compiled is meant to stay
        surroundings = {"TMPDIR": str(self.tmp), "TORCHINDUCTOR_CACHE_DIR": str(self.run_dir.with_suffix(".cache"))}
        with open(self.run_dir.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sfmarl", *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **surroundings},
            )

    @property
    def tmp(self) -> Path:
        """Its TMPDIR."""
        return self.run_dir.with_suffix(".tmp")

    def left_in_tmp(self) -> list[str]:
        """Return what lies there: once it has ended, what it left behind."""
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*"))

    def record(self) -> dict[str, Any]:
        """Return the newest record of metrics.jsonl, empty before the first."""
        try:
            lines = (self.run_dir / "metrics.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        # the last line may be half written, and the one that a killed process began stays so
        for line in reversed(lines[-3:]):
            with contextlib.suppress(ValueError):
                return json.loads(line)
        return {}

    def family(self) -> list[psutil.Process]:
        """Return its processes, the main one first."""
        try:
            main = psutil.Process(self.process.pid)
            found = [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self.seen.update(found)
        return found

    def ends_within(self, seconds: float) -> bool:
        """Wait for the main process to end; False if it does not."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the main process, and it alone, if it still runs."""
        self.family()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def orphans(self, patience: float = 10.0) -> list[psutil.Process]:
        """Return who of its processes is still there `patience` seconds after its end."""
        alive = psutil.wait_procs(self.seen, timeout=patience)[1]
        return [process for process in alive if _lives(process)]

    def end(self) -> None:
        """Kill whatever is left of it."""
        if self.process is not None:
            self.kill()
            for process in self.orphans():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def last_words(self) -> str:
        """Return the end of what it said."""
        with contextlib.suppress(FileNotFoundError):
            return self.run_dir.with_suffix(".log").read_text(errors="replace").strip()[-400:]
        return ""

    def wait_for_env_steps(self, env_steps: int, patience: float) -> bool:
        """Wait until it has recorded so many; False if it ends before, or does not within `patience` seconds."""
        deadline = time.monotonic() + patience
        while self.record().get("env_steps", 0) < env_steps:
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
