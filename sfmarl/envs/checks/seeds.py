"""Whether episodes can be played again: equal seeds, other seeds, for `sfmarl check-env`."""

from __future__ import annotations

import time

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.parallel import record_parallel
from sfmarl.envs.checks.report import CheckReport
from sfmarl.envs.checks.turns import record_turns
from sfmarl.envs.probe import Probe
from sfmarl.specs import EnvSpec

SEED_STEPS = 50
"""Steps over which two equally seeded copies are compared."""


def check_seeding(report: CheckReport, config: Config, spec: EnvSpec, found: Probe | None, seconds: float) -> bool:
    """Compare three copies of which two have the same seed, for about `seconds`; return whether those two agree.

    Raises RunError for an environment that fails.
    """
    record = record_turns if spec.turn_based else record_parallel
    one = record(config, spec, found, 1, SEED_STEPS, time.perf_counter() + seconds / 3)
    # the others play as long, however slow they are
    again, other = (record(config, spec, found, seed, len(one), float("inf")) for seed in (1, 2))
    same = _first_difference(one, again)
    if same is None:
        report.facts.append(f"seeding: equal seeds and actions give equal episodes ({len(one)} steps compared)")
        if _first_difference(one, other) is None:
            report.facts.append(
                "seeding: another seed gives the same episode; the environment is deterministic, or takes no seed"
            )
    else:
        report.warnings.append(
            f"seeding: equal seeds and actions give different episodes, from step {same} on, so runs cannot be "
            "reproduced, not even in serial mode. Draw everything from a generator that reset(seed=...) makes; "
            "training goes on without"
        )
    return same is None


def _first_difference(one: list[np.ndarray], other: list[np.ndarray]) -> int | None:
    """Return the first step, from 1, whose record differs; None when all are equal."""
    for step, (a, b) in enumerate(zip(one, other, strict=True), start=1):
        if not np.array_equal(a, b, equal_nan=True):
            return step
    return None
