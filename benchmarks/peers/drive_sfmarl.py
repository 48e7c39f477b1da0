"""Trains with sfmarl until it is stopped, in the settings of throughput.py.

    python -m peers.drive_sfmarl WORK RUN_DIR NUM_WORKERS NUM_ENVS_PER_WORKER

sfmarl's counters are its own: agent-steps are counted where they are sampled, as in the peers' environments.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from throughput import configure

from peers.meters import Meter
from peers.parent import end_with_parent
from sfmarl import Callback, register_callback, train

RECORD_SECONDS = 0.5


class Meters(Callback):
    """Reports the run's counters with every record."""

    def __init__(self) -> None:
        self._sampled, self._learned = (Meter.from_environment(name) for name in ("sampled", "learned"))
        self._total, self._last = 0.0, 0.0

    def on_record(self, scalars: Mapping[str, float]) -> None:
        """Report."""
        now = self.run.wall_seconds
        self._total += scalars["throughput/samples_times_epochs_per_second"] * (now - self._last)
        self._last = now
        self._sampled.set(self.run.agent_steps)
        self._learned.set(round(self._total))


def main(work: str, run_dir: str, workers: str, envs_per_worker: str) -> None:
    """Train."""
    register_callback("meters", Meters)
    config = configure(work, "appo", int(workers), int(envs_per_worker))
    config.callbacks, config.log_seconds, config.run_dir = ("meters",), RECORD_SECONDS, Path(run_dir)
    config.device = "cpu"  # where the peers are
    train(config)


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
