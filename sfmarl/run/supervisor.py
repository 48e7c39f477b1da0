"""Async and sync mode: every component is a process, watched, and replaced when it is killed.

A child that ends with an exception said why and ends the run: the same would happen again. A child that was killed (by
a signal, the out-of-memory killer, an operator) is replaced, within a budget:

    rollout worker    its generation is counted up; its replacement waits until the inference worker has taken note,
                      gives back the slots that were being filled, and begins anew (with local inference it takes
                      note itself: nobody else writes for it)
    inference worker  its replacement finds the open requests in the words and answers them
    learner           its replacement continues from the newest checkpoint and publishes under the next version
    evaluator         its replacement waits for the next evaluation
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

from sfmarl.errors import RunError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.child import Child
from sfmarl.run.crew import Message
from sfmarl.run.fork_server import fork_server
from sfmarl.run.plan import RunPlan
from sfmarl.run.processes import Failure, Handle, Role, child_main

DRAIN_SECONDS = 5.0
"""Patience with rollout workers that were asked for the episodes they finished."""
STOP_SECONDS = 10.0
"""Patience with children that were asked to stop before they are killed."""


class ProcessCrew:
    """A crew of processes."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path, max_restarts: int) -> None:
        """`max_restarts` is the budget of each component."""
        self.words = plane.words()
        self._max_restarts = max_restarts
        self._failing = False
        self._fork_server_died = False
        self._saving: dict[int, Path] = {}
        self._evaluating: Path | None = None
        self._pending: list[Message] = []
        self._spec = spec = plan.plane
        self._inference = 0 if plan.local_inference else spec.inference_workers
        self._handle = Handle(
            imports=plan.config.imports,
            sealed_plan=pickle.dumps(plan),
            plane=plane,
            rollout_queues=[SharedQueue() for _ in range(spec.workers)],
            inference_queues=[SharedQueue() for _ in range(self._inference)],
            run_dir=run_dir,
        )
        self._children: dict[tuple[Role, int], Child] = {}

    def start(self) -> None:
        """See Crew."""
        spec = self._spec
        self._context = fork_server()
        for role, count in (
            ("learner", spec.policies),
            ("inference", self._inference),
            ("rollout", spec.workers),
            ("evaluator", 1),
        ):
            for index in range(count):
                self._spawn(role, index, restarts=0)

    def _spawn(self, role: Role, index: int, restarts: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=child_main, args=(role, index, self._handle, theirs), name=f"sfmarl-{role}-{index}"
        )
        try:
            process.start()
        except (OSError, EOFError) as error:
            self._failing = True
            raise RunError(
                f"no process could be started for {role} {index}: {error}. Was the fork server killed, or is the limit "
                "of processes (ulimit -u) reached?"
            ) from error
        finally:
            theirs.close()
        self._children[role, index] = Child(role, index, process, ours, restarts)

    def poll(self, timeout: float) -> list[Message]:
        """See Crew."""
        if self._pending:
            return self._drain()
        children = {child.pipe: child for child in self._children.values()}
        sentinels = {}
        if not self._fork_server_died:
            sentinels = {child.process.sentinel: child for child in self._children.values()}
        if not children:
            time.sleep(timeout)
        dead: list[Child] = []
        for ready in connection.wait([*children, *sentinels], timeout):
            if ready in sentinels:
                dead.append(sentinels[ready])
            else:
                self._receive(children[ready])
        for child in dead:
            self._receive(child)
            self._bury(child)
        return self._drain()

    def _drain(self) -> list[Message]:
        messages, self._pending = self._pending, []
        return messages

    def _receive(self, child: Child) -> None:
        """Read what a child has said. Raises RunError for the first failure reported; later ones are dropped."""
        try:
            while child.pipe.poll():
                kind, payload = child.pipe.recv()
                if kind == "failed":
                    if self._failing:
                        continue
                    self._failing = True
                    raise self._failed(child, payload)
                if kind == "started":
                    child.started = True
                if kind == "saved":
                    self._saving.pop(child.index, None)
                if kind == "evaluated":
                    self._evaluating = None
                self._pending.append(Message(child.role, child.index, kind, payload))
        except (EOFError, OSError):
            pass  # it ended: the sentinel says the rest

    def _failed(self, child: Child, failure: Failure) -> RunError:
        path = self._handle.run_dir / "crash.txt"
        try:
            path.write_text(f"{child.name}\n{failure.traceback}", encoding="utf-8")
        except OSError as error:
            return RunError(f"{child.name} failed: {failure.message}\n{path} cannot be written: {error.strerror}.")
        return RunError(f"{child.name} failed: {failure.message}\nThe traceback is in {path}.")

    def _bury(self, child: Child) -> None:
        """Replace a child that was killed, unless the run is ending. Raises RunError when it must not be replaced."""
        if not child.ends_within(1.0):
            self._failing = self._fork_server_died = True
            raise RunError(
                "the fork server was killed: nothing that dies can be replaced any more. `sfmarl resume` goes on from "
                "the checkpoint."
            )
        child.process.join()
        child.pipe.close()
        del self._children[child.role, child.index]
        reason = child.reason
        self._answer_for(child, reason)
        if self._failing or self.words.stopping:
            return
        if not child.started and child.process.exitcode >= 0:
            self._failing = True
            raise RunError(
                f"{child.name} {reason} before it could start. If a script of yours calls train(), the call must stand "
                'under `if __name__ == "__main__":`.'
            )
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
        self._pending.append(Message(child.role, child.index, "warning", text))

    def _answer_for(self, child: Child, reason: str) -> None:
        """Answer in a dead child's place what it was asked, so that nobody waits for it."""
        if child.role == "learner" and child.index in self._saving:
            target = self._saving.pop(child.index)
            self._pending.append(Message("learner", child.index, "saved", (target, f"{child.name} {reason}")))
        if child.role == "evaluator" and self._evaluating is not None:
            self._pending.append(Message("evaluator", child.index, "evaluated", (self._evaluating, None)))
            self._evaluating = None

    def drain(self) -> list[Message]:
        """See Crew. A worker that does not answer within DRAIN_SECONDS (a slow environment) is not waited for."""
        self.words.drain()
        messages, deadline = [], time.monotonic() + DRAIN_SECONDS
        while not self.words.drained.all() and time.monotonic() < deadline:
            messages += self.poll(0.01)
        # a worker says that it is drained after it has told everything
        return messages + self.poll(0)

    def save(self, target: Path) -> None:
        """See Crew."""
        for index in range(self._spec.policies):
            child = self._children.get(("learner", index))
            if child is None:
                self._pending.append(Message("learner", index, "saved", (target, f"learner {index} is gone")))
                continue
            self._saving[index] = target
            self._send(child, ("save", target))

    def reset(self, policy: int) -> None:
        """See Crew. A learner that dies before it hears of it goes on from its checkpoint."""
        if (child := self._children.get(("learner", policy))) is not None:
            self._send(child, ("reset", None))

    def evaluate(self, checkpoint: Path, episodes: int, seed: int) -> None:
        """See Crew."""
        child = self._children.get(("evaluator", 0))
        if child is None:
            self._pending.append(Message("evaluator", 0, "evaluated", (checkpoint, None)))
            return
        self._evaluating = checkpoint
        self._send(child, (checkpoint, episodes, seed))

    def generators(self) -> dict[str, Any]:
        """See Crew."""
        return {}

    @staticmethod
    def _send(child: Child, command: tuple) -> None:
        with contextlib.suppress(OSError):  # it just died: poll() answers in its place
            child.pipe.send(command)

    def pids(self) -> list[int]:
        """See Crew."""
        return [os.getpid(), *(child.process.pid for child in self._children.values())]

    def stop(self) -> list[Message]:
        """See Crew. Children that do not end within STOP_SECONDS are killed, all of them at once at a second Ctrl-C."""
        self.words.stop()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            while any(child.is_running() for child in self._children.values()) and time.monotonic() < deadline:
                for child in self._children.values():
                    self._last_words(child)  # also because a full pipe would keep a child from ending
                time.sleep(0.02)
        finally:
            for child in self._children.values():
                if child.is_running():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.process.pid, signal.SIGKILL)
                child.process.join()
                self._last_words(child)
                child.pipe.close()
            self._children.clear()
        return self._drain()

    def _last_words(self, child: Child) -> None:
        with contextlib.suppress(RunError):  # what ended the run is told, not what followed
            self._receive(child)
