"""Async and sync mode: every component is a process, watched, and replaced when it is killed.

A child that ends with an exception said why and ends the run: the same would happen again. A child that was killed (by
a signal, the out-of-memory killer, an operator) is replaced, within a budget:

    rollout worker    its generation is counted up; its replacement waits until the inference worker has taken note,
                      gives back the slots that were being filled, and begins anew
    inference worker  its replacement finds the open requests in the words and answers them
    learner           its replacement continues from the newest checkpoint and publishes under the next version
    evaluator         its replacement waits for the next evaluation
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path

from sfmarl.errors import RunError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.crew import Message
from sfmarl.run.plan import RunPlan
from sfmarl.run.processes import PRELOAD, START_METHOD, Failure, Handle, Role, child_main

STOP_SECONDS = 10.0
"""Patience with children that were asked to stop before they are killed."""


@dataclass
class Child:
    """One process and its pipe."""

    role: Role
    index: int
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    restarts: int = 0

    @property
    def name(self) -> str:
        """For messages: `rollout worker 1`."""
        return self.role if self.role in ("learner", "evaluator") and self.index == 0 else _title(self.role, self.index)


def _title(role: Role, index: int) -> str:
    return f"{role} worker {index}" if role in ("rollout", "inference") else f"{role} {index}"


class ProcessCrew:
    """A crew of processes."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path, max_restarts: int) -> None:
        """`max_restarts` is the budget of each component."""
        self.words = plane.words()
        self._context = multiprocessing.get_context(START_METHOD)
        self._context.set_forkserver_preload(list(PRELOAD))
        self._max_restarts = max_restarts
        self._failing = False
        self._saving: dict[int, Path] = {}
        self._evaluating: Path | None = None
        spec = plan.plane
        self._handle = Handle(
            plan=plan,
            plane=plane,
            rollout_queues=[SharedQueue() for _ in range(spec.workers)],
            inference_queues=[SharedQueue() for _ in range(spec.inference_workers)],
            run_dir=run_dir,
        )
        self._children: dict[tuple[Role, int], Child] = {}

    def start(self) -> None:
        """See Crew."""
        spec = self._handle.plan.plane
        for role, count in (
            ("learner", spec.policies),
            ("inference", spec.inference_workers),
            ("rollout", spec.workers),
            ("evaluator", 1),
        ):
            for index in range(count):
                self._spawn(role, index, restarts=0)

    def _spawn(self, role: Role, index: int, restarts: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=child_main, args=(role, index, self._handle, theirs), name=f"sfmarl-{role}-{index}", daemon=True
        )
        process.start()
        theirs.close()
        self._children[role, index] = Child(role, index, process, ours, restarts)

    def poll(self, timeout: float) -> list[Message]:
        """See Crew."""
        children = {child.pipe: child for child in self._children.values()}
        sentinels = {child.process.sentinel: child for child in self._children.values()}
        messages: list[Message] = []
        dead: list[Child] = []
        for ready in connection.wait([*children, *sentinels], timeout):
            if ready in sentinels:
                dead.append(sentinels[ready])
            else:
                messages += self._receive(children[ready])
        for child in dead:
            messages += self._receive(child)
            messages += self._bury(child)
        return messages

    def _receive(self, child: Child) -> list[Message]:
        messages = []
        try:
            while child.pipe.poll():
                kind, payload = child.pipe.recv()
                if kind == "failed":
                    if self._failing:
                        continue  # the first failure was told; what follows from it is not
                    self._failing = True
                    raise self._failed(child, payload)
                if kind == "saved":
                    self._saving.pop(child.index, None)
                if kind == "evaluated":
                    self._evaluating = None
                messages.append(Message(child.role, child.index, kind, payload))
        except (EOFError, ConnectionResetError):
            pass  # it ended: the sentinel says the rest
        return messages

    def _failed(self, child: Child, failure: Failure) -> RunError:
        path = self._handle.run_dir / "crash.txt"
        try:
            path.write_text(f"{child.name}\n{failure.traceback}", encoding="utf-8")
        except OSError as error:
            path = f"nowhere ({error.strerror})"
        return RunError(f"{child.name} failed: {failure.message}\nThe traceback is in {path}.")

    def _bury(self, child: Child) -> list[Message]:
        """Replace a child that was killed, unless the run is failing. Raises RunError when its budget is spent."""
        child.process.join()
        child.pipe.close()
        del self._children[child.role, child.index]
        reason = _reason(child.process.exitcode)
        if self._failing:
            return self._answer_for(child, reason)
        if child.restarts >= self._max_restarts:
            self._failing = True
            raise RunError(
                f"{child.name} {reason}, for the {child.restarts + 1}. time. The run's budget for replacing it is "
                f"{self._max_restarts} (--max-restarts). Look for an out-of-memory killer (dmesg) or a crashing native "
                "library in the environment."
            )
        if child.role == "rollout":
            self.words.generation[child.index] += 1
        self._spawn(child.role, child.index, child.restarts + 1)
        text = f"{child.name} {reason}; replaced ({child.restarts + 1} of {self._max_restarts})."
        return [Message(child.role, child.index, "warning", text), *self._answer_for(child, reason)]

    def _answer_for(self, child: Child, reason: str) -> list[Message]:
        """Answer in a dead child's place what it was asked, so that nobody waits for it."""
        messages = []
        if child.role == "learner" and child.index in self._saving:
            target = self._saving.pop(child.index)
            messages.append(Message("learner", child.index, "saved", (target, f"{child.name} {reason}")))
        if child.role == "evaluator" and self._evaluating is not None:
            messages.append(Message("evaluator", child.index, "evaluated", (self._evaluating, None)))
            self._evaluating = None
        return messages

    def save(self, target: Path) -> None:
        """See Crew."""
        for (role, index), child in self._children.items():
            if role == "learner":
                self._saving[index] = target
                self._send(child, ("save", target))

    def evaluate(self, checkpoint: Path, episodes: int, seed: int) -> None:
        """See Crew."""
        self._evaluating = checkpoint
        self._send(self._children["evaluator", 0], (checkpoint, episodes, seed))

    @staticmethod
    def _send(child: Child, command: tuple) -> None:
        with contextlib.suppress(OSError):  # it just died: poll() answers in its place
            child.pipe.send(command)

    def pids(self) -> list[int]:
        """See Crew."""
        return [os.getpid(), *(child.process.pid for child in self._children.values())]

    def stop(self) -> list[Message]:
        """See Crew. Children that do not end within STOP_SECONDS are killed."""
        self.words.stop()
        deadline = time.monotonic() + STOP_SECONDS
        messages: list[Message] = []
        alive = list(self._children.values())
        while alive:
            for child in alive:
                messages += self._last_words(child)  # also because a full pipe would keep a child from ending
            alive = [child for child in alive if child.process.is_alive()]
            if time.monotonic() > deadline:
                for child in alive:
                    child.process.kill()
            if alive:
                connection.wait([child.process.sentinel for child in alive], 0.05)
        for child in self._children.values():
            child.process.join()
            messages += self._last_words(child)
            child.pipe.close()
        self._children.clear()
        return messages

    def _last_words(self, child: Child) -> list[Message]:
        try:
            return self._receive(child)
        except RunError:
            return []  # the run is ending already: what ended it is told, not what followed


def _reason(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return f"was killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
