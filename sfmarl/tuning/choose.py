"""Which arrangements are possible, and which of them is predicted to be the best.

Tuning changes how a run is spread over the machine, never an algorithm's hyperparameter. Two settings of that kind
touch learning all the same, so they keep within bounds: an update is made of at least half and at most twice as many
samples as untuned, and there are at most 4 times as many trajectory slots as an update takes, which bounds policy lag.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from sfmarl.config import Config, Placement
from sfmarl.memory.segment import available_bytes
from sfmarl.run.plan import RunPlan
from sfmarl.tuning.figures import Figures
from sfmarl.tuning.model import Candidate, Prediction, predict

TUNED = (
    "num_workers",
    "num_envs_per_worker",
    "num_splits",
    "inference",
    "num_inference_workers",
    "batch_size",
    "learner_threads",
)
"""The settings that tuning chooses, as far as they are not given."""

ENVS_PER_WORKER = (2, 4, 8, 16, 32, 64, 128, 256, 512)
MOST_WORKERS = 64
BATCH_FACTOR = 2
"""An update takes between 1/2 and 2 times as many samples as untuned."""
SLOTS_PER_UPDATE = 4
"""Lanes there are at most for each that an update takes: the samples of one batch wait for 3 others at most."""
MEMORY_SHARE = 0.5
"""Of the memory that is free, for slots."""
EQUAL = 0.03
"""Predictions that differ by less are taken for equal: then no more processes than cores are preferred, updates as
large as untuned, few environments."""
PAUSING = 0.5
"""Share of a step spent waiting from which it pays to have many more workers than cores."""


@dataclass(frozen=True)
class Bounds:
    """What of the untuned run limits the choice."""

    config: Config
    """The settings."""
    plan: RunPlan
    """The untuned run's plan, its device resolved."""
    kept: frozenset[str]
    """Settings of TUNED that are given."""

    @property
    def total_envs(self) -> int:
        """Environments of the untuned run."""
        return self.plan.plane.workers * self.config.num_envs_per_worker

    @property
    def update_envs(self) -> float:
        """Of how many environments' slots one of its updates is made (of the first policy)."""
        return self.plan.batch_lanes[0] / self.lanes_per_env

    @property
    def lanes_per_env(self) -> float:
        """Lanes of the first policy in one environment."""
        return self.plan.plane.lanes_of_policy(0) / self.total_envs

    def to_config(self, candidate: Candidate) -> Config:
        """Return the settings of a run that is spread as `candidate` is."""
        return replace(
            self.config,
            num_workers=candidate.workers,
            num_envs_per_worker=candidate.envs,
            num_splits=candidate.splits,
            inference=candidate.inference,
            num_inference_workers=candidate.inference_workers,
            batch_size=self._batch_size(candidate),
            learner_threads=candidate.learner_threads,
        )

    def _batch_size(self, candidate: Candidate) -> int:
        if "batch_size" in self.kept or self.plan.sync or 2 * candidate.update_envs == candidate.total_envs:
            return self.config.batch_size
        return self.samples(candidate)

    def samples(self, candidate: Candidate) -> int:
        """Return the agent-steps of one update of the first policy."""
        block = next(block for block in self.plan.plane.blocks() if block.policy == 0)
        return round(candidate.update_envs * self.lanes_per_env) * self.config.rollout * block.agents


def rank(figures: Figures, bounds: Bounds) -> list[Prediction]:
    """Return what every possible arrangement is predicted to reach, the one to take first.

    Empty when the settings that are given leave none.
    """
    config, sync = bounds.config, bounds.plan.sync
    possible = list(candidates(figures, bounds))
    # a batch of more than half of the slots leaves little to fill while it is learned from: each waits for the other
    roomy = possible if sync else [c for c in possible if 2 * c.update_envs <= c.total_envs]
    found = [predict(figures, candidate, config.rollout, sync) for candidate in roomy or possible]
    found.sort(key=lambda p: -p.env_steps_per_second)
    fast = (1 - EQUAL) * found[0].env_steps_per_second if found else 0.0

    def order(prediction: Prediction) -> tuple:
        c, rate = prediction.candidate, prediction.env_steps_per_second
        if rate < fast:
            return (1, -rate)
        change = abs(math.log(c.update_envs / bounds.update_envs))
        small = (c.total_envs, c.processes, c.learner_threads, c.splits)
        return (0, max(c.processes, figures.cores), change, *small, -rate)

    return sorted(found, key=order)


def diverse(ranking: Sequence[Prediction], count: int) -> list[Prediction]:
    """Return the `count` best that differ in kind: in placement, number of workers, or environments by factor 2."""
    kinds: dict[tuple, Prediction] = {}
    for prediction in ranking:
        c = prediction.candidate
        kinds.setdefault((c.inference, c.workers, c.envs), prediction)
    return list(kinds.values())[:count]


def candidates(figures: Figures, bounds: Bounds) -> Iterator[Candidate]:
    """Yield every arrangement that the given settings, the bounds and the memory allow."""
    config, kept = bounds.config, bounds.kept

    def options(name: str, given: int | str, free: Sequence) -> Sequence:
        return (given,) if name in kept else free

    workers = options("num_workers", bounds.plan.plane.workers, _worker_counts(figures))
    envs = options("num_envs_per_worker", config.num_envs_per_worker, ENVS_PER_WORKER)
    splits = options("num_splits", config.num_splits, (1, 2))
    threads = options("learner_threads", bounds.plan.learner_threads, sorted(figures.learn) or (1,))
    memory, placements = MEMORY_SHARE * available_bytes(), _placements(figures, bounds)
    for w, e, s in product(workers, envs, splits):
        update = _update_envs(bounds, w * e)
        if e % s or update is None or _slot_bytes(bounds, w, e, s) > memory:
            continue
        for (placement, servers), t in product(placements, threads):
            if servers <= w:
                yield Candidate(w, e, s, placement, servers, update, t)


def _worker_counts(figures: Figures) -> list[int]:
    """Return numbers of rollout workers: around the cores, and far beyond if environments mostly wait."""
    cores, envs = figures.cores, figures.step.points[-1][0]
    waits = figures.pause(envs) > PAUSING * (figures.pause(envs) + figures.step(envs))
    shares = (0.25, 0.5, 0.75, 1, 1.5, 2, *((4, 8) if waits else ()))
    counts = {cores - 2, cores - 1, *(round(cores * share) for share in shares)}
    return sorted(count for count in counts if 1 <= count <= MOST_WORKERS)


def _placements(figures: Figures, bounds: Bounds) -> list[tuple[Placement, int]]:
    config, kept = bounds.config, bounds.kept
    servers = {config.num_inference_workers} if "num_inference_workers" in kept else {1, 2, figures.cores // 8}
    found: list[tuple[Placement, int]] = [("worker", count) for count in sorted(servers) if count >= 1]
    if figures.device == "cpu" and servers != {0} and (len(servers) > 1 or servers == {1}):
        found.insert(0, ("local", 1))
    return [pair for pair in found if "inference" not in kept or pair[0] == config.inference]


def _update_envs(bounds: Bounds, total: int) -> float | None:
    """Return of how many environments' slots an update is to be made, or None when no number is right."""
    untuned = bounds.update_envs
    if bounds.plan.sync:
        return total if 1 / BATCH_FACTOR <= total / bounds.total_envs <= BATCH_FACTOR else None
    if "batch_size" in bounds.kept and bounds.config.batch_size:
        update = untuned
    else:
        update = min(max(total / 2, untuned / BATCH_FACTOR), untuned * BATCH_FACTOR)
        if update != total / 2 and ("batch_size" in bounds.kept or len(bounds.plan.policies) > 1):
            return None
    return update if total / SLOTS_PER_UPDATE <= update <= total * min(1, bounds.config.ring - 1) else None


def _slot_bytes(bounds: Bounds, workers: int, envs: int, splits: int) -> int:
    spec = replace(bounds.plan.plane, workers=1, envs_per_split=envs // splits, splits=splits)
    return workers * spec.layout().size
