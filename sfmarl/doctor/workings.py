"""What runs are made of, tried out: reserved shared memory, a queue between two processes, a short training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sfmarl.doctor.report import Finding
from sfmarl.errors import SfmarlError

if TYPE_CHECKING:
    import numpy as np

MEMFD_BYTES = 16 << 20
SLOW_WAKE_SECONDS = 1e-3
"""A split of a usual environment is stepped in about this time: a slower wake-up is not hidden by the other split."""
ENV, ALGO = "native/simple_spread", "mappo"
"""What the short training trains: an environment that comes with the package, with the default algorithm."""


def try_shared_memory() -> Finding:
    """Reserve anonymous shared memory as a run does, write it and give it back."""
    subject = "shared memory"
    try:
        descriptor = os.memfd_create("sfmarl-doctor", os.MFD_CLOEXEC)
    except (OSError, AttributeError) as error:
        return Finding(subject, "broken", f"no memfd: {error}", "a kernel from 3.17 on, and a container that allows it")
    try:
        os.posix_fallocate(descriptor, 0, MEMFD_BYTES)
        os.pwrite(descriptor, bytes(4096), MEMFD_BYTES - 4096)
    except OSError as error:
        advice = "runs reserve their memory like this; free memory, or raise the container's limit"
        return Finding(subject, "broken", f"posix_fallocate on a memfd: {error.strerror}", advice)
    finally:
        os.close(descriptor)
    return Finding(subject, "ok", f"{MEMFD_BYTES >> 20} MiB reserved in a memfd, written and given back")


def try_queue() -> Finding:
    """Send tickets to another process and back."""
    from sfmarl.tuning.wake import measure_wake_ups

    try:
        measured = measure_wake_ups()
    except (SfmarlError, OSError, EOFError) as error:
        advice = "processes cannot start or not hear each other; look at the limits above, and at dmesg"
        return Finding("queues", "broken", str(error), advice)
    wakes = dict(zip(("p50", "p90", "p99", "max"), _microseconds(measured.one_way), strict=True))
    trips = dict(zip(("p50", "p90", "p99", "max"), _microseconds(measured.round_trips), strict=True))
    told = ", ".join(f"{name} {value:,.0f}" for name, value in wakes.items())
    found = f"{len(measured.round_trips)} round trips to a process, {trips['p50']:,.0f} us each; wake-ups {told} us"
    facts = {"wake_up_microseconds": wakes, "round_trip_microseconds": trips, "cpu_seconds": measured.cpu_seconds}
    if wakes["p50"] > 1e6 * SLOW_WAKE_SECONDS:
        advice = "end other programs; --inference local does without wake-ups, more --num-envs-per-worker need fewer"
        return Finding("queues", "warning", found, advice, facts)
    return Finding("queues", "ok", found, facts=facts)


def try_training(seconds: float) -> Finding:
    """Train asynchronously for about `seconds` in a temporary directory, and name what held it up."""
    from sfmarl.config import Config
    from sfmarl.tuning.trials import short_training, steady_rate

    try:
        records = short_training(Config(env=ENV, algo=ALGO, env_kwargs={"N": 3}), seconds)
        rate = steady_rate(records, seconds)
    except (SfmarlError, OSError) as error:
        return Finding(
            "training", "broken", str(error), "what is broken above comes first; else report it with --debug"
        )
    breakdown = mean_breakdown(records, seconds)
    facts = {
        "env": ENV, "algo": ALGO, "agent_steps_per_second": rate, "bottleneck": breakdown.bottleneck,
        "time": breakdown.fractions,
        "startup_seconds": next((r["startup/first_update_seconds"] for r in records[::-1]
                                 if "startup/first_update_seconds" in r), None),
    }  # fmt: skip
    found = f"{ALGO} on {ENV}: {rate:,.0f} agent-steps/s. {breakdown.sentence.rstrip('.')}"
    return Finding("training", "ok", f"{found}; `sfmarl tune ENV` fits a run to this machine", facts=facts)


def mean_breakdown(records: Sequence[dict[str, Any]], seconds: float):
    """Return where the time went in the records of the last `seconds`, each counting for the time it covers."""
    from sfmarl.monitor.breakdown import break_down

    begin = records[-1]["wall_seconds"] - seconds
    spent: dict[str, dict[str, float]] = {}
    for earlier, record in pairwise(records):
        if record["wall_seconds"] <= begin:
            continue
        for name, share in record.items():
            if name.startswith("time/") and share is not None:
                _, role, category = name.split("/")
                role_spent = spent.setdefault(role, {})
                covered = record["wall_seconds"] - earlier["wall_seconds"]
                role_spent[category] = role_spent.get(category, 0.0) + share * covered
    return break_down(spent)


def _microseconds(seconds: np.ndarray) -> list[float]:
    import numpy as np

    return [float(1e6 * x) for x in (*np.quantile(seconds, (0.5, 0.9, 0.99)), seconds.max())]
