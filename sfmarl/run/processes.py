"""The process shell: what surrounds a component when it runs in a process of its own.

A child is told who it is and handed the plan and the data plane. It builds its component, runs it until the run word
says stop, and talks to the main process over a pipe of its own: (kind, payload) up, commands down. It ends with its
parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sfmarl.errors import OutcomeError, RunError, SfmarlError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import TicketQueue
from sfmarl.run.crash import origin
from sfmarl.run.descendants import descendants, kill_all
from sfmarl.run.plan import RunPlan
from sfmarl.run.stack_dump import StackDump
from sfmarl.signals import left_to_parent
from sfmarl.threads import use_threads
from sfmarl.user_code import import_user_code

Role = Literal["rollout", "inference", "learner", "evaluator"]

LINGER_SECONDS = 2.0
"""Patience with processes whose parent has died before a sibling kills them."""
DRAINED_SECONDS = 0.01
"""Pause between looks of a rollout worker that has nothing left to do but to be stopped."""


@dataclass
class Handle:
    """What every child is handed."""

    imports: tuple[str, ...]
    """The user's modules."""
    sealed_plan: bytes
    """The plan, pickled: its hyperparameters may be of a class that only the user's modules define."""
    plane: DataPlane
    """Shared memory."""
    rollout_queues: list[TicketQueue]
    """Answers, one queue per rollout worker."""
    inference_queues: list[TicketQueue]
    """Requests, one queue per inference worker process."""
    run_dir: Path
    """The run directory."""

    @functools.cached_property
    def plan(self) -> RunPlan:
        """The plan; not to be asked for before the user's modules are imported."""
        return pickle.loads(self.sealed_plan)


@dataclass
class Failure:
    """An exception that ended a child."""

    message: str
    """For the user: who, what, what to do."""
    origin: str
    """The line it came from (`crash.origin`)."""
    traceback: str
    """For whoever looks for the cause."""
    kind: type[SfmarlError]
    """What it is in the main process."""
    at: float
    """`time.monotonic()`, one clock for all processes: what failed first is the cause."""


def child_main(role: Role, index: int, handle: Handle, pipe: Connection, dump: StackDump) -> None:
    """Run component `index` of `role` until the run stops. Exit code 0, or 1 after an exception (which is reported)."""
    _name_process(f"sf-{role}-{index}")
    left_to_parent()
    dump.arm()
    words = handle.plane.words()
    passes = words.passes[role][index : index + 1]
    end_with_parent(lingers=role == "evaluator" or (role, index) == ("learner", 0))

    def report(kind: str, payload: Any) -> None:
        passes[0] += 1  # first, so that whoever hears "started" counts from here
        pipe.send((kind, payload))

    try:
        import_user_code(handle.imports)
        _MAINS[role](index, handle, pipe, report, passes)
    except Exception as error:
        at = time.monotonic()
        if not parent_process().is_alive():
            threading.Event().wait()  # until `end_with_parent` ends this process
        if not (words.ending if role == "evaluator" else words.stopping):
            message = str(error) if isinstance(error, SfmarlError) else f"{type(error).__name__}: {error}"
            kind = OutcomeError if isinstance(error, OutcomeError) else RunError
            report("failed", Failure(message, origin(error), traceback.format_exc(), kind, at))
            sys.exit(1)


def _name_process(name: str) -> None:
    """Set what top and ps show (15 characters at most)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def end_with_parent(lingers: bool = False) -> None:
    """Leave when the main process dies, however it dies. (PR_SET_PDEATHSIG would watch the fork server instead.)

    What this process has started is killed. One that `lingers` then looks after its siblings, and kills who is stopped
    or hangs in native code, where no thread of Python's can answer.
    """
    sentinel, fork_server = parent_process().sentinel, os.getppid()

    def watch() -> None:
        try:
            connection.wait([sentinel])
            kill_all(descendants(os.getpid()))
            if lingers:
                time.sleep(LINGER_SECONDS)
                if os.getppid() == fork_server:  # or it was killed, and our parent is anybody's
                    kill_all(descendants(fork_server))
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _rollout_main(
    index: int, handle: Handle, pipe: Connection, report: Callable[[str, Any], None], passes: np.ndarray
) -> None:
    from sfmarl.run.build import build_acting_rollout, build_rollout

    use_threads(1)
    plan, words = handle.plan, handle.plane.words()
    if plan.local_inference:
        worker = build_acting_rollout(plan, handle.plane, index, report)
    else:
        requests = handle.inference_queues[index % plan.plane.inference_workers]
        worker = build_rollout(plan, handle.plane, index, handle.rollout_queues[index], requests, report)
    report("started", None)
    while not words.stopping:
        if words.draining:
            worker.drain()
            time.sleep(DRAINED_SECONDS)
        else:
            worker.run_once()
        passes += 1
    worker.report()
    worker.close()


def _inference_main(
    index: int, handle: Handle, pipe: Connection, report: Callable[[str, Any], None], passes: np.ndarray
) -> None:
    from sfmarl.run.build import build_inference

    use_threads(1)
    words = handle.plane.words()
    outboxes = dict(enumerate(handle.rollout_queues))
    with _on_device(handle, report):
        worker = build_inference(handle.plan, handle.plane, index, handle.inference_queues[index], outboxes)
        report("started", None)
        while not words.stopping:
            worker.run_once()
            passes += 1


def _learner_main(
    index: int, handle: Handle, pipe: Connection, report: Callable[[str, Any], None], passes: np.ndarray
) -> None:
    from sfmarl.run.build import build_learner
    from sfmarl.run.initial import first_state
    from sfmarl.storage import checkpoint

    plan, words = handle.plan, handle.plane.words()
    use_threads(plan.learner_threads)
    _keep_freed_memory()
    spec = plan.policies[index]
    state, version = None, 0
    if checkpoint.checkpoint_paths(handle.run_dir):
        saved = checkpoint.latest(handle.run_dir, warn=lambda text: report("warning", text)).read_policy(spec.name)
        state, version = saved.algorithm_state, saved.policy_version
    with _on_device(handle, report):
        worker = build_learner(plan, handle.plane, index, state, version, report)
        report("started", None)
        while not words.stopping:
            worker.run_once()
            passes += 1
            while pipe.poll():
                command, target = pipe.recv()
                if command == "reset":
                    worker.reset(first_state(plan, index))
                else:
                    save_policy(plan, index, worker, target, report)
    worker.report()


@contextlib.contextmanager
def _on_device(handle: Handle, report: Callable[[str, Any], None]) -> Iterator[None]:
    """Make the run's GPU, if it has one, this process's own, which reads slots from where they lie."""
    import torch

    from sfmarl.memory.registered import registered

    device = torch.device(handle.plan.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with registered(handle.plane.segment, device, lambda text: report("warning", text)):
        yield


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed: an update's large temporaries are the same every time.

    By default each goes back to the kernel and comes again as freshly zeroed pages.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)


def save_policy(plan: RunPlan, index: int, worker: Any, target: Path, report: Callable[[str, Any], None]) -> None:
    """Write a learner's policy into the checkpoint being made in `target`; reports "saved" with None or what failed."""
    from sfmarl.storage import checkpoint

    algorithm, learns = worker.algorithm, plan.learning[index]
    if not all(parameter.isfinite().all() for parameter in algorithm.actor.parameters()):
        # whatever an algorithm of the user's does: the checkpoint before it stays the newest
        report("saved", (target, f"policy {plan.policies[index].name!r}: its weights are not finite"))
        return
    try:
        checkpoint.write_policy(
            target,
            plan.policies[index],
            learns.algo,
            learns.hp,
            algorithm.actor,
            algorithm.state_dict(),
            worker.version,
        )
    except (SfmarlError, OSError, TypeError, ValueError) as error:
        report("saved", (target, f"policy {plan.policies[index].name!r}: {error}"))
    else:
        report("saved", (target, None))


def _evaluator_main(
    index: int, handle: Handle, pipe: Connection, report: Callable[[str, Any], None], passes: np.ndarray
) -> None:
    from sfmarl.evaluation.evaluate import evaluate_checkpoint
    from sfmarl.evaluation.evaluator import Stopped

    use_threads(1)
    words, config = handle.plane.words(), handle.plan.config

    def stop() -> bool:
        passes[0] += 1  # asked at every step of an evaluation
        return words.ending

    report("started", None)
    while not stop():
        if not pipe.poll(0.1):
            continue
        path, episodes, seed = pipe.recv()
        try:
            evaluation = evaluate_checkpoint(config, path, episodes, seed, stop=stop)
        except Stopped:
            return
        except SfmarlError as error:
            report("warning", f"The evaluation of {path.name} failed: {error}")
            report("evaluated", (path, None))
        else:
            report("evaluated", (path, evaluation))


_MAINS: dict[Role, Callable[..., None]] = {
    "rollout": _rollout_main,
    "inference": _inference_main,
    "learner": _learner_main,
    "evaluator": _evaluator_main,
}
