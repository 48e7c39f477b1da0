"""Async and sync mode: every component is a process. What they are asked for is answered, even if they die."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfmarl.memory.plane import DataPlane
from sfmarl.monitor.event_log import EventLog
from sfmarl.run.crew import Message
from sfmarl.run.plan import RunPlan
from sfmarl.run.supervisor import DIED, Supervisor

DRAIN_SECONDS = 5.0
"""Patience with rollout workers that were asked for the episodes they finished."""


class ProcessCrew:
    """A crew of processes."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path, events: EventLog) -> None:
        """What happens to processes goes to `events`."""
        self.words = plane.words()
        self._policies = plan.plane.policies
        self._supervisor = Supervisor(plan, plane, run_dir, events)
        self._saving: dict[int, Path] = {}
        self._evaluating: deque[Path] = deque()
        self._unanswered: list[Message] = []

    def start(self) -> None:
        """See Crew."""
        self._supervisor.start()

    def poll(self, timeout: float) -> list[Message]:
        """See Crew."""
        if self._unanswered:
            return self._take_unanswered()
        return self._answered(self._supervisor.poll(timeout))

    def _answered(self, messages: list[Message]) -> list[Message]:
        """Take note of answers, and answer in a dead process's place what it was asked, so that nobody waits for it."""
        told = []
        for message in messages:
            match message.role, message.kind:
                case "learner", "saved":
                    self._saving.pop(message.index, None)
                case "evaluator", "evaluated":
                    self._evaluating.popleft()
                case "learner", kind if kind == DIED and message.index in self._saving:
                    target = self._saving.pop(message.index)
                    told.append(message._replace(kind="saved", payload=(target, message.payload)))
                case "evaluator", kind if kind == DIED:
                    told += [message._replace(kind="evaluated", payload=(path, None)) for path in self._evaluating]
                    self._evaluating.clear()
            if message.kind != DIED:
                told.append(message)
        return told

    def _take_unanswered(self) -> list[Message]:
        messages, self._unanswered = self._unanswered, []
        return messages

    def drain(self) -> list[Message]:
        """See Crew. A worker that does not answer within DRAIN_SECONDS (a slow environment) is not waited for."""
        self.words.drain()
        messages, deadline = self._take_unanswered(), time.monotonic() + DRAIN_SECONDS
        while not self.words.drained.all() and time.monotonic() < deadline:
            messages += self.poll(0.01)
        # a worker says that it is drained after it has told everything
        return messages + self._answered(self._supervisor.poll(0))

    def save(self, target: Path) -> None:
        """See Crew."""
        for index in range(self._policies):
            if self._supervisor.children.send("learner", index, ("save", target)):
                self._saving[index] = target
            else:
                failure = f"learner {index} is not running"
                self._unanswered.append(Message("learner", index, "saved", (target, failure)))

    def reset(self, policy: int) -> None:
        """See Crew. A learner that dies before it hears of it goes on from its checkpoint."""
        self._supervisor.children.send("learner", policy, ("reset", None))

    def replace(self, pid: int, reason: str) -> None:
        """See Crew."""
        self._supervisor.replace(pid, reason)

    def evaluate(self, checkpoint: Path, episodes: int, seed: int, stop: Callable[[], bool] | None = None) -> None:
        """See Crew."""
        if self._supervisor.children.send("evaluator", 0, (checkpoint, episodes, seed)):
            self._evaluating.append(checkpoint)
        else:
            self._unanswered.append(Message("evaluator", 0, "evaluated", (checkpoint, None)))

    def generators(self) -> dict[str, Any]:
        """See Crew."""
        return {}

    def pids(self) -> list[int]:
        """See Crew."""
        return self._supervisor.children.pids()

    def stop_training(self) -> list[Message]:
        """See Crew. Who does not end in time is killed."""
        return self._take_unanswered() + self._answered(self._supervisor.stop_training())

    def stop(self, at_once: bool = False) -> list[Message]:
        """See Crew. Who does not end in time is killed."""
        return self._take_unanswered() + self._answered(self._supervisor.stop(at_once))
