"""Who is replaced when a process dies or hangs, and when the run ends instead.

A child that ends with an exception said why and ends the run: the same would happen again. A child that was killed (by
a signal, the out-of-memory killer, an operator, a crash in native code) is replaced, within a budget (`restarts.py`);
so is a replacement that cannot be built, for its predecessor could: a port or a licence is free again in a moment.
One whose loop no longer turns (`hangs.py`) is asked for its stacks and killed; from then on it was killed like any.

    rollout worker    its generation is counted up; its replacement waits until the inference worker has taken note,
                      gives back the slots that were being filled, and begins anew (with local inference it takes
                      note itself: nobody else writes for it)
    inference worker  its replacement finds the open requests in the words and answers them
    learner           its replacement continues from the newest checkpoint and publishes under the next version
    evaluator         its replacement waits for the next evaluation

Whoever is killed in the microsecond in which it holds a queue's mutex leaves it locked for ever. Then all rollout and
inference workers are replaced, with new queues; learners use none and go on.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psutil

from sfmarl.errors import RunError, SfmarlError
from sfmarl.memory.plane import DataPlane
from sfmarl.monitor.event_log import EventLog
from sfmarl.run.child import Child
from sfmarl.run.children import STOP_SECONDS, Children
from sfmarl.run.crew import Message
from sfmarl.run.hangs import HangWatch
from sfmarl.run.left_locks import left_locked
from sfmarl.run.part import Role
from sfmarl.run.plan import RunPlan
from sfmarl.run.restarts import Restarts
from sfmarl.storage.durable import append_text, write_text

DIED = "died"
"""Kind of the message that a process is gone, with its name and the reason: nothing it was asked for will come."""
START_PATIENCE = 5.0
"""Times `hang_seconds` for a process that has not started yet: it imports, builds environments, reads checkpoints."""
KILLED_SECONDS = 30.0
"""Patience with a process that was killed and is still there."""
STACK_SECONDS = 1.0
"""Patience with a hung process that was asked for its stacks."""
RECOVERY_POLL = 0.05
"""Seconds between looks while a component is being replaced."""


class Due(NamedTuple):
    """A replacement that waits for its time."""

    at: float
    """`time.monotonic()`."""
    role: Role
    index: int


class Supervisor:
    """Keeps a run's processes running."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path, events: EventLog) -> None:
        """What happens to processes goes to `events`; budget and patience are the settings'."""
        self.children = Children(plan, plane, run_dir)
        self._words = plane.words()
        self._run_dir, self._events = run_dir, events
        self._max_restarts, self._hang_seconds = plan.config.max_restarts, plan.config.hang_seconds
        self._restarts: dict[tuple[str, int], Restarts] = defaultdict(lambda: Restarts(self._max_restarts))
        self._watch = HangWatch()
        self._queues_born = time.monotonic()
        self._due: list[Due] = []
        self._recovering: dict[tuple[Role, int], tuple[float, int]] = {}
        """Component -> (when its predecessor was found dead, its count of progress then)."""
        self._failing = False
        self._fork_server_died = False

    def start(self) -> None:
        """Start every component."""
        for role, index in self.children.components:
            self._spawn(role, index, first=True)

    def _spawn(self, role: Role, index: int, first: bool = False) -> None:
        if role == "rollout" and not first:
            self._words.generation[index] += 1
        try:
            child = self.children.spawn(role, index, first)
        except RunError as error:
            raise self._fail(str(error)) from error
        self._events.write("spawned", component=child.name, pid=child.process.pid)

    def _fail(self, why: str, kind: type[SfmarlError] = RunError) -> SfmarlError:
        """Return what ends the run; nobody is replaced any more, so that whoever is left can be asked to save."""
        self._failing = True
        return kind(why)

    def poll(self, timeout: float) -> list[Message]:
        """Return what was said and who died (DIED), waiting up to `timeout` seconds, and replace whom it takes.

        Raises RunError naming what failed first, when the run cannot go on, OutcomeError when that is what failed.
        """
        if self.children.messages:
            return self.children.take_messages()
        self._spawn_due()
        if self._due or self._recovering:
            timeout = min(timeout, RECOVERY_POLL)
        dead = self.children.listen(timeout, sentinels=not self._fork_server_died)
        self._tell_first_failure()
        for child in dead:
            if self.children.running.get((child.role, child.index)) is child:  # it may have gone in `_rebuild`
                self._bury(child)
        self._look_for_hangs()
        self._note_recoveries()
        return self.children.take_messages()

    def _tell_first_failure(self) -> None:
        """Raise RunError or OutcomeError for the exception that was first; whatever followed from it is dropped."""
        if not self.children.failures or self._failing:
            return
        child, failure = min(self.children.failures, key=lambda told: told[1].at)
        self._failing = True
        self._events.write("failed", component=child.name, reason=failure.message, traceback=failure.traceback)
        path = self._run_dir / "crash.txt"
        kept = f"The traceback is in {path}."
        try:
            write_text(path, f"{child.name}\n{failure.traceback}")
        except OSError as error:
            kept = f"{path} cannot be written: {error.strerror}."
        raise self._fail("\n".join(filter(None, (f"{child.name} failed: {failure.message}", failure.origin, kept))),
                         failure.kind)  # fmt: skip

    def _bury(self, child: Child) -> None:
        """Replace a child that was killed, unless the run is ending. Raises RunError when it must not be replaced."""
        if not child.ends_within(1.0):
            self._fork_server_died = True
            raise self._fail(
                "the fork server was killed: nothing that dies can be replaced any more. `sfmarl resume` goes on from "
                "the checkpoint."
            )
        now = time.monotonic()
        self.children.remove(child)
        reason, component = child.reason, (child.role, child.index)
        self._say(child, DIED, f"{child.name} {reason}")
        if self._failing or self._words.ending:
            return
        life, stacks = now - child.born, child.failure.traceback if child.failure else child.dump.read()
        self._events.write("died", component=child.name, pid=child.process.pid, reason=reason, life_seconds=life,
                           stacks=stacks)  # fmt: skip
        where = self._keep_stacks(f"{child.name} {reason}\n{stacks}\n\n") if stacks else ""
        if self._words.stopping:
            self._say(child, "warning", f"{child.name} {reason}.{where}")
            return
        if child.first and not child.started and (child.killed_for or child.process.exitcode >= 0):
            unguarded = (
                ' If a script of yours calls train(), the call must stand under `if __name__ == "__main__":`.'
                if not child.killed_for
                else ""
            )
            raise self._fail(f"{child.name} {reason} before it could start.{where}{unguarded}")
        restarts = self._restarts[component]
        delay = restarts.after(child.worked(now))
        if delay is None:
            unexplained = (
                " Look for an out-of-memory killer (dmesg) or a crashing native library in the environment."
                if not child.killed_for and not child.failure
                else ""
            )
            raise self._fail(
                f"{child.name} {reason}, for the {restarts.recent}. time.{where} The run's budget for replacing it is "
                f"{self._max_restarts} (--max-restarts).{unexplained}"
            )
        self._recovering.setdefault(component, (now, self._progress(*component)))
        if component in self.children.users and left_locked(child, self.children.queues):
            self._rebuild(child, now)
            return
        self._due.append(Due(now + delay, *component))
        self._spawn_due()
        soon = f" in {delay:.1f} s" if delay else ""
        count = f"({restarts.recent} of {self._max_restarts})"
        self._say(child, "warning", f"{child.name} {reason}; replaced{soon} {count}.{where}")

    def _say(self, child: Child, kind: str, text: str) -> None:
        self.children.messages.append(Message(child.role, child.index, kind, text))

    def _spawn_due(self) -> None:
        if self._failing or self._words.stopping:
            return
        now = time.monotonic()
        for due in [due for due in self._due if due.at <= now]:
            self._due.remove(due)
            self._spawn(due.role, due.index)

    def _keep_stacks(self, text: str) -> str:
        """Write down where a child was when it crashed or hung; return where that stands, as a sentence."""
        path = self._run_dir / "stacks.txt"
        try:
            append_text(path, text)
        except OSError as error:
            return f" {path} cannot be written: {error.strerror}."
        return f" Where it was stands in {path}."

    def _rebuild(self, cause: Child, now: float) -> None:
        """Replace the queues and everybody who uses them. Raises RunError when that happened too often."""
        life, self._queues_born = now - self._queues_born, now
        if self._restarts["queues", 0].after(max(0.0, life - cause.stood_still)) is None:
            raise self._fail(
                f"{cause.name} {cause.reason} and left a queue locked, once more than the budget of "
                f"{self._max_restarts} (--max-restarts) allows."
            )
        users = self.children.users
        for child in [self.children.running[user] for user in users if user in self.children.running]:
            child.kill()
            child.join()
            self.children.receive(child)
            self.children.remove(child)
        self._due = [due for due in self._due if (due.role, due.index) not in users]
        try:
            self.children.make_queues()
        except RunError as error:
            raise self._fail(str(error)) from error
        for role, index in users:
            self._recovering.setdefault((role, index), (now, self._progress(role, index)))
            self._spawn(role, index)
        self._events.write("rebuilt", component=cause.name, reason=cause.reason)
        self._say(cause, "warning", f"{cause.name} {cause.reason} and left a queue locked: all rollout and inference "
                                    "workers were replaced.")  # fmt: skip

    def _look_for_hangs(self) -> None:
        """Kill whoever makes no passes any more; the next poll finds it dead. Raises RunError if that does not help."""
        if not self._hang_seconds or self._failing or self._words.ending:
            return
        now = time.monotonic()
        for child in self.children.running.values():
            if now - child.killed_at > KILLED_SECONDS:
                raise self._fail(
                    f"{child.name} {child.killed_for} and does not end although it was killed: it waits inside the "
                    "kernel, for a file system or a driver that does not answer."
                )
        children = {child.process.pid: child for child in self.children.running.values() if not child.killed_for}
        counts = {pid: int(self._words.passes[child.role][child.index]) for pid, child in children.items()}
        patience = {
            pid: self._hang_seconds * (1.0 if child.started else START_PATIENCE) for pid, child in children.items()
        }
        for pid in self._watch.look(counts, patience, now):
            child = children[pid]
            status = child.status
            if status == psutil.STATUS_TRACING_STOP:
                continue  # somebody debugs it
            why = f"made no progress for {patience[pid]:g} s"
            if status == psutil.STATUS_STOPPED:
                why += " (it was stopped by a signal)"
            else:
                child.dump.ask(pid, STACK_SECONDS)
            child.stood_still = patience[pid]
            child.kill(why)

    def replace(self, pid: int, reason: str) -> None:
        """Kill the rollout worker with this process id, if there is one, so that the next poll replaces it."""
        for child in self.children.running.values():
            if child.role == "rollout" and child.process.pid == pid and not child.killed_for:
                child.kill(reason)

    def _progress(self, role: Role, index: int) -> int:
        counts = self._words.passes if role == "evaluator" else self._words.progress
        return int(counts[role][index])

    def _note_recoveries(self) -> None:
        """Note when a component that was replaced makes progress."""
        for component, (since, before) in list(self._recovering.items()):
            if component in self.children.running and self._progress(*component) > before:
                del self._recovering[component]
                child = self.children.running[component]
                self._events.write("recovered", component=child.name, pid=child.process.pid,
                                   seconds=time.monotonic() - since)  # fmt: skip

    def stop_training(self) -> list[Message]:
        """End every process but the evaluator and return what they still had to say."""
        self._words.stop()
        self.children.end(STOP_SECONDS, but="evaluator")
        # training is saved: what else its processes failed of in the end is of no consequence
        self.children.failures.clear()
        if ("evaluator", 0) not in self.children.running:
            with contextlib.suppress(RunError):
                self._spawn("evaluator", 0)
        return self.children.take_messages()

    def stop(self, at_once: bool) -> list[Message]:
        """End every process and return what they still had to say; what ended the run is told, not what followed."""
        self._words.end()
        self.children.end(0.0 if at_once else STOP_SECONDS)
        return self.children.take_messages()
