"""Rollout worker: steps its splits in turn, so that one split's actions are computed while the other is stepped.

consumes  answered requests (words), woken by tickets on its own queue
produces  READY slots (words) and requests for actions (words + a ticket on the inference worker's queue)
waits     for an answer, or, with its ring full, for the learner to release a slot

With local inference the worker computes the answers itself at the end of each pass and nobody needs waking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, sleep
from typing import Any, Protocol

from sfmarl.envs.rebuild import RAISED
from sfmarl.errors import SfmarlError
from sfmarl.memory.queues import TicketQueue
from sfmarl.memory.words import ROLLOUT_COUNTS, ROLLOUT_TIMES, Words
from sfmarl.workers.episodes import EpisodeLog, join

ENV, WRITE, WAIT_ACTIONS, WAIT_SLOTS = range(len(ROLLOUT_TIMES))
ENV_STEPS, AGENT_STEPS, EPISODES, SPLIT_STEPS, ENV_FAULTS = range(len(ROLLOUT_COUNTS))

POLL_SECONDS = 0.0005
"""Pause between looks at a full ring; a rollout of 32 steps takes tens of these."""
REPORT_SECONDS = 1.0
"""Finished episodes are reported this often."""


class Split(Protocol):
    """A group of environments that are stepped together (workers/lockstep.py, workers/turns.py)."""

    episodes: EpisodeLog
    env_steps: int
    agent_steps: int
    env_seconds: float

    def advance(self) -> bool: ...

    def step(self) -> None: ...

    def starving(self) -> set[int]: ...

    def generator_states(self) -> list[dict[str, Any] | None]: ...

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None: ...

    def close(self) -> None: ...


class RolloutWorker:
    """One rollout worker's splits and its side of the request words. `run_once` is one pass over the splits."""

    def __init__(
        self,
        index: int,
        generation: int,
        splits: Sequence[Split],
        words: Words,
        inbox: TicketQueue,
        inference: TicketQueue,
        report: Callable[[str, Any], None],
        act: Callable[[], None] | None = None,
        report_seconds: float = REPORT_SECONDS,
    ) -> None:
        """`act` answers what was asked for in this process (local inference); None leaves it to another process.

        `report_seconds`: how often finished episodes are reported; whoever may not look at the clock calls `report`.
        """
        self._index = index
        self._generation = generation
        self._splits = splits
        self._words = words
        self._inbox = inbox
        self._inference = inference
        self._report = report
        self._act = act
        self._waiting = [False] * len(splits)
        self._counted = [(0, 0)] * len(splits)
        self._episodes = 0
        self._starving: set[int] = set()
        words.starving[index] = 0
        self._times = words.times["rollout"][index]
        self._counts = words.counts["rollout"][index]
        self._reported, self._report_seconds = perf_counter(), report_seconds
        # whatever a past life asked for is not waited for
        words.requested[index] = words.answered[index]

    def run_once(self, timeout: float = 0.1) -> None:
        """Step every split whose actions are there; with none, wait up to `timeout` seconds for a ticket."""
        moved = False
        for split in range(len(self._splits)):
            if self._waiting[split]:
                if self._words.requested[self._index, split] != self._words.answered[self._index, split]:
                    continue
                self._step(split)
            moved |= self._request(split)
        if moved:
            self._words.progress["rollout"][self._index] += 1
        self._tell_starving()
        if self._act is not None and any(self._waiting):
            begin = perf_counter()
            self._act()
            self._times[WAIT_ACTIONS] += perf_counter() - begin
        if not moved:
            self._wait(timeout)
        self._maybe_report()

    def _step(self, number: int) -> None:
        split = self._splits[number]
        begin, env_before = perf_counter(), split.env_seconds
        split.step()
        self._waiting[number] = False
        env_time = split.env_seconds - env_before
        self._times[ENV] += env_time
        self._times[WRITE] += perf_counter() - begin - env_time
        # since the last time: a split may also take steps back while it is advanced
        env_steps, agent_steps = self._counted[number]
        self._counted[number] = split.env_steps, split.agent_steps
        self._counts[ENV_STEPS] += split.env_steps - env_steps
        self._counts[AGENT_STEPS] += split.agent_steps - agent_steps
        self._counts[SPLIT_STEPS] += 1
        self._count_episodes()

    def _count_episodes(self) -> None:
        """Count those that ended as steps are counted: a checkpoint may come before they are reported."""
        before, self._episodes = self._episodes, sum(split.episodes.count for split in self._splits)
        self._counts[EPISODES] += self._episodes - before

    def _request(self, number: int) -> bool:
        """Ask for the split's next actions, if there is a row to put them in."""
        if not self._splits[number].advance():
            return False
        words, index = self._words, self._index
        words.request_generation[index, number] = self._generation
        words.requested[index, number] += 1
        self._waiting[number] = True
        self._inference.put((index, number, self._generation))
        return True

    def _tell_starving(self) -> None:
        """Say whose slots are waited for, once nothing can go on without them: no batch may ever be complete."""
        policies: set[int] = set()
        if not any(self._waiting):
            policies.update(*(split.starving() for split in self._splits))
        if policies != self._starving:
            self._starving = policies
            self._words.starving[self._index] = [policy in policies for policy in range(self._words.starving.shape[1])]

    def _wait(self, timeout: float) -> None:
        begin = perf_counter()
        for_actions = all(self._waiting)
        if for_actions and self._act is None:
            self._inbox.get_many(timeout)
        elif timeout:
            # a full ring; with local inference also the time before the first weights
            sleep(POLL_SECONDS)
        self._times[WAIT_ACTIONS if for_actions else WAIT_SLOTS] += perf_counter() - begin

    def _maybe_report(self) -> None:
        if perf_counter() - self._reported < self._report_seconds:
            return
        self._reported = perf_counter()
        self.report()

    def report(self) -> None:
        """Send the episodes finished since the last report to the main process."""
        finished = [episodes for split in self._splits if (episodes := split.episodes.drain()) is not None]
        self._count_episodes()
        if finished:
            self._report("episodes", join(finished))

    def drain(self) -> None:
        """Report every episode that is finished, and say so: from here on nothing is stepped."""
        if not self._words.drained[self._index]:
            self.report()
            self._words.drained[self._index] = 1

    def generator_states(self) -> list[list[dict[str, Any] | None]]:
        """Return where the streams of each split's environments are (`seeding.generator_state`)."""
        return [split.generator_states() for split in self._splits]

    def restore_generators(self, states: Sequence[Sequence[dict[str, Any] | None]]) -> None:
        """Before the first step: go on from where an earlier run of as many environments was."""
        for split, own in zip(self._splits, states, strict=True):
            split.restore_generators(own)

    def close(self) -> None:
        """Close the environments. A failure is only told: nothing depends on them any more."""
        for split in self._splits:
            try:
                split.close()
            except RAISED as error:
                said = error if isinstance(error, SfmarlError) else f"close() raised {type(error).__name__}: {error}"
                self._counts[ENV_FAULTS] += 1
                self._report("warning", f"rollout worker {self._index}: {said}")
