"""The processes of a run as a table: started, listened to, ended. Who is replaced, and why, is `supervisor.py`'s."""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import pickle
import time
from multiprocessing import connection
from pathlib import Path

from sfmarl.errors import RunError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.child import Child
from sfmarl.run.crew import Message
from sfmarl.run.descendants import Families
from sfmarl.run.fork_server import fork_server
from sfmarl.run.part import Handle, Role
from sfmarl.run.plan import RunPlan
from sfmarl.run.processes import Failure, child_main
from sfmarl.run.stack_dump import StackDump

STOP_SECONDS = 10.0
"""Patience with children that were asked to stop before they are killed."""


class Children:
    """All processes of a run."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path) -> None:
        self._spec = spec = plan.plane
        inference = 0 if plan.local_inference else spec.inference_workers
        self.users: list[tuple[Role, int]] = [
            *(("inference", index) for index in range(inference)),
            *(("rollout", index) for index in range(spec.workers)),
        ]
        """Components that use queues."""
        self.components: list[tuple[Role, int]] = [
            *(("learner", index) for index in range(spec.policies)),
            *self.users,
            ("evaluator", 0),
        ]
        """All components, in the order in which they are started."""
        self.running: dict[tuple[Role, int], Child] = {}
        """Component -> the process that has its part."""
        self.failures: list[tuple[Child, Failure]] = []
        """Exceptions that ended processes, in the order in which they were read."""
        self.messages: list[Message] = []
        """What was said."""
        self._families = Families()
        self._handle = Handle(
            imports=plan.config.imports,
            sealed_plan=pickle.dumps(plan),
            plane=plane,
            rollout_queues=[],
            inference_queues=[],
            run_dir=run_dir,
        )
        self.make_queues()

    def make_queues(self) -> None:
        """Give those that are started from now on new queues."""
        inference = len(self.users) - self._spec.workers
        queues = SharedQueue.several(self._spec.workers + inference)
        self._handle.rollout_queues, self._handle.inference_queues = queues[inference:], queues[:inference]

    @property
    def queues(self) -> list[SharedQueue]:
        """All queues."""
        return [*self._handle.rollout_queues, *self._handle.inference_queues]

    def spawn(self, role: Role, index: int, first: bool) -> Child:
        """Start a process; `first`: nobody had its part before it. Raises RunError when none can be started."""
        context = fork_server()
        ours, theirs = context.Pipe()
        dump = StackDump()
        process = context.Process(
            target=child_main, args=(role, index, self._handle, theirs, dump), name=f"sfmarl-{role}-{index}"
        )
        try:
            process.start()
        except (OSError, EOFError) as error:
            raise RunError(
                f"no process could be started for {role} {index}: {error}. Was the fork server killed, or is the limit "
                "of processes (ulimit -u) reached?"
            ) from error
        finally:
            theirs.close()
        child = self.running[role, index] = Child(role, index, process, ours, dump, time.monotonic(), first)
        return child

    def listen(self, timeout: float, sentinels: bool) -> list[Child]:
        """Read what is said within `timeout` seconds and return who died: nobody if `sentinels` cannot be trusted."""
        children = {child.pipe: child for child in self.running.values()}
        ends = {child.process.sentinel: child for child in self.running.values()} if sentinels else {}
        if not children:
            time.sleep(timeout)
        dead = []
        for ready in connection.wait([*children, *ends], timeout):
            if ready in ends:
                dead.append(ends[ready])
            else:
                self.receive(children[ready])
        for child in dead:
            self.receive(child)
        changed = any(message.kind == "started" for message in self.messages)
        self._families.look([child.process.pid for child in self.running.values()], time.monotonic(), changed)
        return dead

    def receive(self, child: Child) -> None:
        """Read what a child has said."""
        try:
            while child.pipe.poll():
                kind, payload = child.pipe.recv()
                if kind == "failed":
                    if child.started or child.first:
                        self.failures.append((child, payload))
                    else:
                        child.failure = payload
                    continue
                if kind == "started":
                    child.started_at = time.monotonic()
                self.messages.append(Message(child.role, child.index, kind, payload))
        except (EOFError, OSError):
            pass  # it ended: the sentinel says the rest

    def take_messages(self) -> list[Message]:
        """Return what was said since the last call."""
        messages, self.messages = self.messages, []
        return messages

    def remove(self, child: Child, asked: bool = False) -> None:
        """Strike out a child that has ended, or does not end although it was killed.

        What it had started is killed, unless it was `asked` to end and did.
        """
        if not child.join():
            multiprocessing.process._children.discard(child.process)  # or Python waits for it for ever when it exits
        if not asked or child.process.exitcode != 0:
            self._families.kill(child.process.pid)
        child.pipe.close()
        del self.running[child.role, child.index]

    def send(self, role: Role, index: int, command: tuple) -> bool:
        """Send a process a command; False if it is not there. It may die before it hears of it."""
        child = self.running.get((role, index))
        if child is None:
            return False
        with contextlib.suppress(OSError):
            child.pipe.send(command)
        return True

    def pids(self) -> list[int]:
        """Return the process ids of the run, the main process's included."""
        return [os.getpid(), *(child.process.pid for child in self.running.values())]

    def end(self, patience: float, but: Role | None = None) -> None:
        """See to it that every process ends, after the run word said so, and hear its last words; `but` goes on.

        Who does not end within `patience` seconds is killed, all of them at once at a second Ctrl-C.
        """
        deadline = time.monotonic() + patience
        ending = [child for child in self.running.values() if child.role != but]
        try:
            while any(child.is_running() for child in ending) and time.monotonic() < deadline:
                for child in ending:
                    self.receive(child)  # also because a full pipe would keep a child from ending
                time.sleep(0.02)
        finally:
            for child in ending:
                if child.is_running():
                    child.kill()
            for child in ending:
                child.join()
                self.receive(child)
                self.remove(child, asked=True)
