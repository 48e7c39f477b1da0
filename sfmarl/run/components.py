"""What each role does in its process, from building its component until the run word says stop."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sfmarl.errors import SfmarlError
from sfmarl.run.part import Part, Role
from sfmarl.run.plan import RunPlan
from sfmarl.threads import use_threads

DRAINED_SECONDS = 0.01
"""Pause between looks of a rollout worker that has nothing left to do but to be stopped."""


def _rollout(part: Part) -> None:
    from sfmarl.run.build_rollout import build_acting_rollout, build_rollout

    use_threads(1)
    handle, plan, words, index = part.handle, part.handle.plan, part.words, part.index
    if plan.local_inference:
        worker = build_acting_rollout(plan, handle.plane, index, part.report)
    else:
        requests = handle.inference_queues[index % plan.plane.inference_workers]
        worker = build_rollout(plan, handle.plane, index, handle.rollout_queues[index], requests, part.report)
    part.closing.callback(worker.close)
    part.report("started", None)
    while not words.stopping:
        if words.draining:
            worker.drain()
            time.sleep(DRAINED_SECONDS)
        else:
            worker.run_once()
        part.passes += 1
    worker.report()
    part.closing.close()


def _inference(part: Part) -> None:
    from sfmarl.run.build import build_inference

    use_threads(1)
    handle, words = part.handle, part.words
    outboxes = dict(enumerate(handle.rollout_queues))
    with _on_device(part):
        worker = build_inference(handle.plan, handle.plane, part.index, handle.inference_queues[part.index], outboxes)
        part.report("started", None)
        while not words.stopping:
            worker.run_once()
            part.passes += 1


def _learner(part: Part) -> None:
    from sfmarl.run.build import build_learner
    from sfmarl.run.initial import first_state
    from sfmarl.storage import checkpoint

    plan, words, index, run_dir = part.handle.plan, part.words, part.index, part.handle.run_dir
    use_threads(plan.learner_threads)
    _keep_freed_memory()
    spec = plan.policies[index]
    state, version = None, 0
    if checkpoint.checkpoint_paths(run_dir):
        saved = checkpoint.latest(run_dir, warn=part.warn).read_policy(spec.name)
        state, version = saved.algorithm_state, saved.policy_version
    with _on_device(part):
        worker = build_learner(plan, part.handle.plane, index, state, version, part.report)
        part.report("started", None)
        while not words.stopping:
            worker.run_once()
            part.passes += 1
            while part.pipe.poll():
                command, target = part.pipe.recv()
                if command == "reset":
                    worker.reset(first_state(plan, index))
                else:
                    save_policy(plan, index, worker, target, part.report)
    worker.report()


@contextlib.contextmanager
def _on_device(part: Part) -> Iterator[None]:
    """Make the run's GPU, if it has one, this process's own, which reads slots from where they lie."""
    import torch

    from sfmarl.memory.registered import registered

    device = torch.device(part.handle.plan.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with registered(part.handle.plane.segment, device, part.warn):
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


def _evaluator(part: Part) -> None:
    from sfmarl.evaluation.evaluate import evaluate_checkpoint
    from sfmarl.evaluation.evaluator import Stopped

    use_threads(1)
    words, config = part.words, part.handle.plan.config

    def stop() -> bool:
        part.passes[0] += 1  # asked at every step of an evaluation
        return words.ending

    part.report("started", None)
    while not stop():
        if not part.pipe.poll(0.1):
            continue
        path, episodes, seed = part.pipe.recv()
        try:
            evaluation = evaluate_checkpoint(config, path, episodes, seed, stop=stop)
        except Stopped:
            return
        except SfmarlError as error:
            part.warn(f"The evaluation of {path.name} failed: {error}")
            part.report("evaluated", (path, None))
        else:
            part.report("evaluated", (path, evaluation))


RUN: dict[Role, Callable[[Part], None]] = {
    "rollout": _rollout,
    "inference": _inference,
    "learner": _learner,
    "evaluator": _evaluator,
}
