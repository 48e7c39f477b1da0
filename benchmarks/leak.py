"""Does any process of a run grow: memory and open files of each, over an hour of episodes of three steps.

    python benchmarks/leak.py                                   # an hour
    python benchmarks/leak.py --works dict --seconds 120 --results /tmp/try

Trains each of the chosen works for as long, all at the same time (what is measured is memory, not speed), with
evaluations and a checkpoint every 30 s, and looks at every process of every run from outside. Results go to
results/leak.json, .md and .png; the exit code is 1 if a process has grown by more than the tolerances after warm-up,
or was replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import leak_report
import machine
import numpy as np
import psutil
from scipy.stats import theilslopes
from watched_run import WatchedRun, shm_bytes

HERE = Path(__file__).resolve().parent
WORKS = {
    "dict": (
        "mpe2 spread through the PettingZoo dict API",
        "train mpe2.simple_spread_v3 --env-kwargs max_cycles=3 --algo mappo --eval-env-steps 2000",
    ),
    "native": (
        "spread as a native vector environment",
        "train native/simple_spread --env-kwargs max_cycles=3 --algo mappo --eval-env-steps 20000",
    ),
    "game": (
        "tic-tac-toe, a native turn-based game, in a league",
        "league native/tic_tac_toe --snapshot-env-steps 5000 --pool-size 20 --eval-env-steps 10000 --board-seconds 15",
    ),
}
"""Name -> what it is, and the command that trains it."""
MIB = 2**20
QUANTITIES = ("rss", "uss", "anon", "shared", "files", "threads")
"""What is looked at, of each process: resident bytes (all; its own alone; of these anonymous; mapped shared memory),
open file descriptors, threads."""
OPENED = "files"
"""The quantity whose level is its lowest: an evaluation's environments open files, and close them again with it, while
what leaks is there at every look."""
MOST_DRAWN = 240
"""Looks at a process that are recorded, [seconds, RSS], for the figure."""
START_PATIENCE = 120.0
"""Seconds within which a run must show its first record."""


def main() -> int:
    """Watch, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), help="what is trained")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long each process is watched, with warm-up")
    parser.add_argument("--warm-up", type=float, default=300.0, help="seconds that do not count")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--tolerance-mib", type=float, default=16.0, help="growth of a process that is still none")
    parser.add_argument("--tolerance-files", type=int, default=4, help="the same of its open file descriptors")
    parser.add_argument("--num-workers", type=int, default=2, help="rollout workers of each run")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of leak.json, .md and .png")
    args = parser.parse_args()
    if args.seconds - args.warm_up < 4 * args.interval:
        parser.error("--seconds must leave at least four looks (--interval) after --warm-up")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave through the same door as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="sfmarl-leak-") as folder:
        record = measure(args, Path(folder))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "leak.json").write_text(json.dumps(record, indent=1) + "\n")
    leak_report.write(record, args.results)
    print(leak_report.tables(record))
    return 0 if record["flat"] else 1


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return everything that is reported, in plain JSON types."""
    shm_before = shm_bytes()
    runs = {work: Watched(work, WatchedRun(folder / work)) for work in args.works}
    try:
        for run in runs.values():
            run.start(args.num_workers)
        for run in runs.values():
            run.wait()
        began = time.monotonic()
        shm = []
        while (now := time.monotonic() - began) < args.seconds:
            for run in runs.values():
                run.look(now)
            shm.append((now, shm_bytes() - shm_before))
            time.sleep(max(0.0, args.interval - (time.monotonic() - began - now)))
        works = {
            name: run.stop() | {"about": WORKS[name][0], "command": WORKS[name][1], "processes": run.judged(args)}
            for name, run in runs.items()
        }
    finally:
        for run in runs.values():
            run.run.end()
    return {
        "command": " ".join(["python", "benchmarks/leak.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "seconds": args.seconds,
        "warm_up": args.warm_up,
        "tolerance_mib": args.tolerance_mib,
        "tolerance_files": args.tolerance_files,
        "works": works,
        "shm_bytes_most": max(size for _, size in shm),
        "shm_bytes_left": shm_bytes() - shm_before,
        "tmp_left": [left for run in runs.values() for left in run.run.left_in_tmp()],
        "flat": all(
            process["flat"] for work in works.values() for process in work["processes"].values()
        ) and all(work["exit_code"] == 130 and not work["orphans"] for work in works.values()),
    }  # fmt: skip


@dataclass
class Watched:
    """One training and what its processes looked like."""

    work: str
    run: WatchedRun
    looks: dict[str, list[tuple[float, ...]]] = field(default_factory=lambda: defaultdict(list))
    """Process -> (seconds, then QUANTITIES) of every look at it."""
    pids: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Process -> ids it has had."""

    def start(self, num_workers: int) -> None:
        """Start training; it lasts until it is stopped."""
        words = f"{WORKS[self.work][1]} --env-steps 100000000000 --final-eval-episodes 0 --num-workers {num_workers} "
        words += f"--num-envs-per-worker 16 --checkpoint-seconds 30 --log-seconds 1 --run-dir {self.run.run_dir}"
        self.run.start(words.split())

    def wait(self) -> None:
        """Wait until the run trains. Raises RuntimeError when it does not."""
        if not self.run.wait_for_env_steps(1, START_PATIENCE):
            raise RuntimeError(f"the run {self.work!r} did not start: {self.run.last_words()}")

    def look(self, now: float) -> None:
        """Take note of every process. Raises RuntimeError when the run has ended by itself."""
        if self.run.process.poll() is not None:
            raise RuntimeError(f"the run {self.work!r} ended by itself: {self.run.last_words()}")
        for process in self.run.family():
            with contextlib.suppress(psutil.Error, OSError):
                name = "main" if process.pid == self.run.process.pid else role(process)
                if name is not None:
                    self.looks[name].append((now, *quantities(process)))
                    self.pids[name].add(process.pid)

    def stop(self) -> dict[str, Any]:
        """Stop the run in order and return what it did."""
        self.run.process.send_signal(signal.SIGINT)
        self.run.ends_within(60.0)
        record = self.run.record()
        return {
            "exit_code": self.run.process.poll(),
            "episodes": int(record["episodes"]),
            "env_steps": int(record["env_steps"]),
            "orphans": len(self.run.orphans()),
        }

    def judged(self, args: argparse.Namespace) -> dict[str, Any]:
        """Return for each process what it grew by after warm-up, and whether that is within the tolerances."""
        found = {}
        for name, looks in sorted(self.looks.items()):
            rows = np.array(looks)
            rows = rows[rows[:, 0] >= args.warm_up]
            if len(rows) < 4:
                raise RuntimeError(
                    f"{name} of the run {self.work!r} was not there for long enough: a helper, or killed"
                )
            grown = {
                quantity: growth(rows[:, 0], rows[:, 1 + i], lowest=quantity == OPENED)
                for i, quantity in enumerate(QUANTITIES)
            }
            found[name] = {
                "flat": (
                    grown["rss"]["end"] - grown["rss"]["start"] <= args.tolerance_mib * MIB
                    and grown["files"]["end"] - grown["files"]["start"] <= args.tolerance_files
                    and len(self.pids[name]) == 1
                ),
                "lives": len(self.pids[name]),
                **grown,
                "looks": [[round(row[0]), int(row[1])] for row in looks[:: -(-len(looks) // MOST_DRAWN)]],
            }
        return found


def role(process: psutil.Process) -> str | None:
    """Return what a child of a run is; None for a moment's helper."""
    name = process.name()
    if name.startswith("sf-"):  # run/processes.py
        return name.removeprefix("sf-")
    words = " ".join(process.cmdline())
    return next((kind.replace("_", " ") for kind in ("forkserver", "resource_tracker") if kind in words), None)


def quantities(process: psutil.Process) -> tuple[int, ...]:
    """Return QUANTITIES of a process."""
    memory = process.memory_full_info()
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":" in line
    )
    anon, shared = (1024 * int(status[key].split()[0]) for key in ("RssAnon", "RssShmem"))
    return memory.rss, memory.uss, anon, shared, process.num_fds(), process.num_threads()


def growth(seconds: Sequence[float], values: Sequence[float], lowest: bool = False) -> dict[str, float]:
    """Return medians of the first and the last tenth (`lowest`: the smallest values of the first and the second half),
    and the slope per hour with its 95 % interval (Theil-Sen).

    The interval takes looks for independent, which memory is not: it is narrower than it should be.
    """
    level, part = (np.min, len(values) // 2) if lowest else (np.median, max(1, len(values) // 10))
    slope, _, low, high = theilslopes(values, np.asarray(seconds) / 3600.0, 0.95)
    return {
        "start": float(level(values[:part])),
        "end": float(level(values[-part:])),
        "per_hour": float(slope),
        "low": float(low),
        "high": float(high),
    }


if __name__ == "__main__":
    sys.exit(main())
