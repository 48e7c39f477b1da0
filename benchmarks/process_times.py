"""A callback that records the CPU time of a run's processes: what a run costs whatever else the machine is doing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import psutil

from sfmarl import Callback

PREFIX = "custom/cpu_seconds/"
"""Of the names in metric records; behind it comes a role: main, rollout, inference, learner, other."""


class ProcessTimes(Callback):
    """Adds the CPU seconds of each role's processes since they were started to every record."""

    def on_record(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """See Callback."""
        totals = dict.fromkeys(("main", "rollout", "inference", "learner", "other"), 0.0)
        main = psutil.Process()
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times, role = process.cpu_times(), "main"
                if process != main:
                    # run/processes.py names them sf-ROLE-INDEX
                    role = next((name for name in totals if name in process.name()), "other")
                totals[role] += times.user + times.system
        return {f"{PREFIX.removeprefix('custom/')}{role}": seconds for role, seconds in totals.items()}
