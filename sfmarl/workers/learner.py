"""Learner: turns READY slots into batches and batches into published weights.

consumes  READY slots (words; it polls them and waits on no queue that a killed process could leave locked)
produces  weights and their version, FREE slots
waits     for a batch's worth of slots, or for all rollout workers to say that there will be no more
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch

from sfmarl.algorithms.base import Algorithm
from sfmarl.memory.block import Block
from sfmarl.memory.device_weights import DeviceWeightsWriter
from sfmarl.memory.weights import WeightStore
from sfmarl.memory.words import LEARNER_COUNTS, LEARNER_TIMES, Words
from sfmarl.models.acting import flatten_into
from sfmarl.workers.gather import Chosen, Staging, find_ready, limit
from sfmarl.workers.not_finite import NotFinite

WAIT, GATHER, UPDATE, PUBLISH = range(len(LEARNER_TIMES))
UPDATES, AGENT_STEPS, ROWS, DROPPED = range(len(LEARNER_COUNTS))

SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.005
"""Seconds between looks at the slot words while a batch is not complete."""
PATIENCE = 0.1
"""A pause is this fraction of the wait so far: what it adds to the wait and what looking costs stay small beside it."""
REPORT_SECONDS = 1.0
"""Update metrics are averaged and reported this often."""


class LearnerWorker:
    """Learns one policy. `run_once` makes one update if a batch is complete."""

    def __init__(
        self,
        policy: int,
        algorithm: Algorithm,
        version: int,
        blocks: Sequence[Block],
        weights: WeightStore,
        words: Words,
        batch_lanes: int,
        env_steps: int,
        device: torch.device,
        report: Callable[[str, Any], None],
        max_policy_lag: int,
        sync: bool,
        device_weights: DeviceWeightsWriter | None = None,
        not_finite: NotFinite | None = None,
    ) -> None:
        """`version` is the last one the algorithm's state knows of; `env_steps` the run's budget (for schedules).

        `not_finite` is shown every update.
        """
        self.algorithm = algorithm
        self._blocks = blocks
        self._weights = weights
        self._words = words
        self._batch_lanes = batch_lanes
        self._env_steps = env_steps
        self._report = report
        self._max_policy_lag = max_policy_lag
        self._sync = sync
        self._device_weights = device_weights
        self._not_finite = not_finite
        self._staging = Staging(blocks, batch_lanes, device)
        self._flat = np.empty(weights.buffer.shape[1], np.float32)
        self._policy = policy
        self._times = words.times["learner"][policy]
        self._counts = words.counts["learner"][policy]
        self._progress = words.progress["learner"][policy : policy + 1]
        self._metrics: list[dict[str, float]] = []
        self._reported = self._waiting_since = perf_counter()
        for block in blocks:
            # a learner that died mid-copy left these behind; their samples are lost, their lanes are not
            block.slots.discard_taken()
        self._oldest = 0
        """Version before which nothing is learned from."""
        self.version = weights.version + 1 if weights.version else max(1, version)
        """The newest published version: it goes on from what was published, also by a learner that died."""
        self._publish()

    def run_once(self, wait: bool = True) -> bool:
        """Make one update, or pause briefly if the slots for it are not there yet. Returns whether it updated."""
        begin = perf_counter()
        chosen = self._choose()
        if chosen is None:
            if wait:
                sleep(min(max(PATIENCE * (begin - self._waiting_since), SHORTEST_PAUSE), LONGEST_PAUSE))
            self._times[WAIT] += perf_counter() - begin
            self._maybe_report()
            return False
        for part in chosen:
            part.take()
        batch = self._staging.fill(chosen)
        samples = sum(part.samples() for part in chosen)
        lag = self._lag(chosen)
        if not self._sync:
            self._release(chosen)
        gathered = perf_counter()
        metrics = _to_host(self.algorithm.update(batch, self.progress()))
        updated = perf_counter()
        self.version += 1
        if self._not_finite is not None:
            self._not_finite.updated(metrics.get("skipped_updates", 0.0), batch, self.version)
        self._publish()
        if self._sync:
            # only now may the lanes go on: whoever acts next knows what was learned from their slots
            self._release(chosen)
        published = perf_counter()
        self._waiting_since = published
        self._times[GATHER] += gathered - begin
        self._times[UPDATE] += updated - gathered
        self._times[PUBLISH] += published - updated
        self._counts[UPDATES] += 1
        self._counts[AGENT_STEPS] += samples
        self._counts[ROWS] += batch.reward.numel()
        self._progress += 1
        self._metrics.append({**metrics, **lag, "valid_fraction": samples / batch.reward.numel()})
        self._maybe_report()
        return True

    def reset(self, state: dict[str, Any]) -> None:
        """Go on from another state of the algorithm (Algorithm.load_state_dict) and publish it.

        What was acted with the weights before is not learned from.
        """
        self.algorithm.load_state_dict(state)
        self.version += 1
        self._oldest = self.version
        self._publish()

    def progress(self) -> float:
        """Return the fraction of the run's env-step budget that is used, in [0, 1]."""
        return min(1.0, float(self._words.counts["rollout"][:, 0].sum()) / max(1, self._env_steps))

    def _choose(self) -> list[Chosen] | None:
        ready = find_ready(self._blocks)
        if not self._sync:
            ready = self._drop_stale(ready)
        lanes = sum(part.count for part in ready)
        if lanes < self._batch_lanes and not (lanes and self._no_more_will_come()):
            return None
        if self._sync:
            fresh = self._drop_stale(ready)
            if sum(part.count for part in fresh) < lanes:
                # all or none: a lane that goes on alone may share its environment with one that waits for the update
                for part in fresh:
                    self._drop(part)
                return None
        return limit(ready, self._batch_lanes)

    def _no_more_will_come(self) -> bool:
        """Whether every rollout worker waits for slots, and some for this policy's: the rings of agents that act often
        are full, and those of the others will not make up a batch."""
        starving = self._words.starving
        return not self._sync and bool(starving.any(axis=1).all() and starving[:, self._policy].any())

    def _drop_stale(self, ready: Sequence[Chosen]) -> list[Chosen]:
        """Give back the lanes that hold a sample older than the largest lag and return the others, oldest first."""
        fresh = []
        for part in ready:
            versions = part.versions()
            oldest = np.where(versions >= 0, versions, self.version).min(axis=0)
            stale = (self.version - oldest > self._max_policy_lag) | (oldest < self._oldest)
            if not stale.any():
                fresh.append(part)
                continue
            self._drop(_only(part, stale))
            if not stale.all():
                fresh.append(_only(part, ~stale))
        return sorted(fresh, key=lambda part: part.number)

    def _drop(self, part: Chosen) -> None:
        part.take()
        part.release()
        self._counts[DROPPED] += part.count

    def _lag(self, chosen: Sequence[Chosen]) -> dict[str, float]:
        versions = np.concatenate([part.versions().ravel() for part in chosen])
        lag = self.version - versions[versions >= 0]
        if not lag.size:
            return {}
        return {"lag_min": float(lag.min()), "lag_mean": float(lag.mean()), "lag_max": float(lag.max())}

    @staticmethod
    def _release(chosen: Sequence[Chosen]) -> None:
        for part in chosen:
            part.release()

    def _publish(self) -> None:
        flat = flatten_into(self.algorithm.actor, self._flat)
        if self._device_weights is not None:
            self._device_weights.write(flat, self.version)
        self._weights.publish(self._flat, self.version)

    def _maybe_report(self) -> None:
        if self._metrics and perf_counter() - self._reported >= REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Send the mean of the metrics since the last report to the main process."""
        self._reported = perf_counter()
        if not self._metrics:
            return
        names = dict.fromkeys(name for record in self._metrics for name in record)
        means = {}
        for name in names:
            values = [record[name] for record in self._metrics if name in record]
            pick = {"lag_min": min, "lag_max": max}.get(name, lambda v: sum(v) / len(v))
            means[name] = pick(values)
        self._metrics = []
        self._report("update", means)


def _only(part: Chosen, mask: np.ndarray) -> Chosen:
    """Return the lanes of `part` where `mask` bool [lanes] holds (at least one)."""
    if mask.all():
        return part
    lanes = np.arange(part.block.spec.lanes)[part.lanes][mask]
    return Chosen(part.block, part.ring, lanes, len(lanes), int(part.block.slots.number[part.ring, lanes].min()))


def _to_host(metrics: dict[str, torch.Tensor | float]) -> dict[str, float]:
    """Read all metrics at once: the only point of an update at which the host waits for the device."""
    tensors = {name: value for name, value in metrics.items() if isinstance(value, torch.Tensor)}
    values = torch.stack([value.float() for value in tensors.values()]).tolist() if tensors else []
    return {**metrics, **dict(zip(tensors, values, strict=True))}
