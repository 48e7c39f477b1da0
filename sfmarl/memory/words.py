"""Control words and counters: small integers in shared memory that every process may read and one may write."""

from __future__ import annotations

import numpy as np

from sfmarl.memory.segment import Layout, Segment

RUN, DRAIN, STOP, END = 0, 1, 2, 3
"""Values of the run word. While the run is drained, rollout workers step no more; everybody else goes on. Once it is
stopped training is over, and only the evaluator may still be asked for something."""

ROLLOUT_TIMES = ("env", "write", "wait_actions", "wait_slots")
INFERENCE_TIMES = ("wait", "weights", "gather", "forward", "scatter")
LEARNER_TIMES = ("wait", "gather", "update", "publish")
"""Categories of the time breakdown, per role, in seconds since the start."""

ROLLOUT_COUNTS = ("env_steps", "agent_steps", "episodes", "split_steps", "env_faults")
INFERENCE_COUNTS = ("forwards", "rows")
LEARNER_COUNTS = ("updates", "agent_steps", "rows", "dropped_slots")
"""Counters per role, since the start of the run (they outlive a worker's restart)."""

MOST_LOOKS = 50
"""Looks at the counters, at most, until two agree; the last one counts if none do."""

WATCHED = ("rollout", "inference", "learner", "evaluator")
"""Roles whose processes count the passes of their loop."""


def plan_words(layout: Layout, workers: int, splits: int, inference_workers: int, policies: int) -> None:
    """Add the control words of a run of this size to `layout`."""
    layout.add("run", (1,), np.int64)
    layout.add("generation", (workers,), np.int64)
    layout.add("acknowledged", (workers,), np.int64)
    layout.add("requested", (workers, splits), np.int64)
    layout.add("answered", (workers, splits), np.int64)
    layout.add("request_generation", (workers, splits), np.int64)
    layout.add("starving", (workers, policies), np.int64)
    layout.add("drained", (workers,), np.int64)
    for role, count, times, counts in (
        ("rollout", workers, ROLLOUT_TIMES, ROLLOUT_COUNTS),
        ("inference", inference_workers, INFERENCE_TIMES, INFERENCE_COUNTS),
        ("learner", policies, LEARNER_TIMES, LEARNER_COUNTS),
    ):
        layout.add(f"{role}.times", (count, len(times)), np.float64)
        layout.add(f"{role}.counts", (count, len(counts)), np.int64)
        layout.add(f"{role}.progress", (count,), np.int64)
    for role, count in zip(WATCHED, (workers, inference_workers, policies, 1), strict=True):
        layout.add(f"{role}.passes", (count,), np.int64)


class Words:
    """The control words, opened in this process."""

    def __init__(self, segment: Segment) -> None:
        self._run = segment.array("run")
        self.generation = segment.array("generation")
        """[W] int64: life of each rollout worker; the supervisor counts it up before it starts a new one."""
        self.acknowledged = segment.array("acknowledged")
        """[W] int64: the life the worker's inference worker took note of: nothing older is scattered any more."""
        self.requested = segment.array("requested")
        """[W, splits] int64, written by the rollout worker: actions asked for so far."""
        self.answered = segment.array("answered")
        """[W, splits] int64, by the inference worker: requests answered; equal to `requested` if none is open."""
        self.request_generation = segment.array("request_generation")
        """[W, splits] int64, written by the rollout worker: the life that made the newest request."""
        self.starving = segment.array("starving")
        """[W, P] int64, by the rollout worker: 1 while all its envs wait for a slot and some for one of this policy."""
        self.drained = segment.array("drained")
        """[W] int64, by the rollout worker: 1 once it steps no more and has reported every episode it finished."""
        self.times = {role: segment.array(f"{role}.times") for role in ("rollout", "inference", "learner")}
        """Role -> [processes, categories] float64 seconds."""
        self.counts = {role: segment.array(f"{role}.counts") for role in ("rollout", "inference", "learner")}
        """Role -> [processes, counters] int64."""
        self.progress = {role: segment.array(f"{role}.progress") for role in ("rollout", "inference", "learner")}
        """Role -> [processes] int64: counts every pass of the process's loop that did something."""
        self.passes = {role: segment.array(f"{role}.passes") for role in WATCHED}
        """Role -> [processes] int64: counts every pass, waiting or not; a process whose count stands still hangs."""

    def totals(self) -> dict[str, list[int]]:
        """Return role -> sum of each counter over its processes; those of one process are of the same moment.

        Processes add to their counters one after the other, within a microsecond: it is read until two looks agree.
        """
        looks = {role: counts.copy() for role, counts in self.counts.items()}
        for _ in range(MOST_LOOKS):
            before, looks = looks, {role: counts.copy() for role, counts in self.counts.items()}
            if all(np.array_equal(before[role], look) for role, look in looks.items()):
                break
        return {role: look.sum(axis=0).tolist() for role, look in looks.items()}

    @property
    def stopping(self) -> bool:
        """Whether training is over: every loop but the evaluator's ends at its next pass."""
        return bool(self._run[0] >= STOP)

    @property
    def ending(self) -> bool:
        """Whether the evaluator's ends, too."""
        return bool(self._run[0] == END)

    @property
    def draining(self) -> bool:
        """Whether rollout workers are to report what they finished and to step no more."""
        return bool(self._run[0] == DRAIN)

    def drain(self) -> None:
        """Ask rollout workers to do so."""
        self._run[0] = DRAIN

    def stop(self) -> None:
        """Ask every process but the evaluator to end."""
        self._run[0] = max(self._run[0], STOP)

    def end(self) -> None:
        """Ask every process to end."""
        self._run[0] = END
