"""Serial mode: the same components, one after the other in one process and one thread. Same seed, same weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfmarl.errors import SfmarlError
from sfmarl.evaluation.evaluate import evaluate_checkpoint
from sfmarl.evaluation.evaluator import Stopped
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import LocalQueue
from sfmarl.run.build import build_inference, build_learner
from sfmarl.run.build_rollout import build_rollout
from sfmarl.run.components import save_policy
from sfmarl.run.crew import Message
from sfmarl.run.initial import first_state
from sfmarl.run.plan import RunPlan
from sfmarl.run.run_state import restored
from sfmarl.storage import checkpoint
from sfmarl.threads import use_threads
from sfmarl.workers.inference import InferenceWorker
from sfmarl.workers.learner import LearnerWorker
from sfmarl.workers.rollout import RolloutWorker

PASSES_PER_POLL = 16
"""A fixed number, so that no decision depends on the clock."""


class SerialCrew:
    """A crew of plain calls. Nothing here looks at the time to decide what comes next."""

    def __init__(self, plan: RunPlan, plane: DataPlane, run_dir: Path) -> None:
        self.words = plane.words()
        self._plan = plan
        self._plane = plane
        self._run_dir = run_dir
        self._messages: list[Message] = []
        self._rollout: list[RolloutWorker] = []
        self._inference: list[InferenceWorker] = []
        self._learners: list[LearnerWorker] = []
        self._undo_threads: Callable[[], None] = lambda: None

    def _report(self, role: str, index: int) -> Any:
        return lambda kind, payload: self._messages.append(Message(role, index, kind, payload))

    def start(self) -> None:
        """See Crew."""
        plan, plane = self._plan, self._plane
        self._undo_threads = use_threads(1)
        spec = plan.plane
        inboxes = [LocalQueue() for _ in range(spec.workers)]
        requests = [LocalQueue() for _ in range(spec.inference_workers)]
        saved = checkpoint.latest(self._run_dir) if checkpoint.checkpoint_paths(self._run_dir) else None
        for index, policy in enumerate(plan.policies):
            past = saved.read_policy(policy.name) if saved else None
            state, version = (past.algorithm_state, past.policy_version) if past else (None, 0)
            self._learners.append(build_learner(plan, plane, index, state, version, self._report("learner", index)))
        self._inference = [
            build_inference(plan, plane, index, requests[index], dict(enumerate(inboxes)))
            for index in range(spec.inference_workers)
        ]
        for index in range(spec.workers):  # one by one: if one cannot be built, those before it are closed
            request, report = requests[index % spec.inference_workers], self._report("rollout", index)
            self._rollout.append(build_rollout(plan, plane, index, inboxes[index], request, report))
        if saved:
            with restored(saved, "generators in run.json"):
                self._restore_generators(saved.run_state.get("generators", {}))

    def generators(self) -> dict[str, Any]:
        """See Crew."""
        return {
            "rollout": [worker.generator_states() for worker in self._rollout],
            "inference": [worker.generator_states() for worker in self._inference],
        }

    def _restore_generators(self, states: dict[str, Any]) -> None:
        """Go on in the interrupted run's streams, if it was a serial one of the same arrangement."""
        if _arrangement(states) != _arrangement(self.generators()):
            return
        for role, workers in (("rollout", self._rollout), ("inference", self._inference)):
            for worker, own in zip(workers, states[role], strict=True):
                worker.restore_generators(own)

    def poll(self, timeout: float) -> list[Message]:
        """See Crew; `timeout` plays no role. What was said already is returned before anything else is done."""
        if self._messages:
            return self._drain()
        for _ in range(PASSES_PER_POLL):
            for worker in self._rollout:
                worker.run_once(timeout=0)
            for inference in self._inference:
                inference.run_once(timeout=0)
            updated = [learner.run_once(wait=False) for learner in self._learners]
            if any(updated):
                # between two batches nothing is in flight: from a checkpoint made here, resuming loses no step
                break
        if self._plan.plane.table is not None:
            for worker in self._rollout:
                worker.report()
        return self._drain()

    def _drain(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    def drain(self) -> list[Message]:
        """See Crew."""
        for worker in self._rollout:
            worker.report()
        return self._drain()

    def save(self, target: Path) -> None:
        """See Crew."""
        for index in range(len(self._plan.policies)):
            report = self._report("learner", index)
            if index < len(self._learners):
                save_policy(self._plan, index, self._learners[index], target, report)
            else:
                report("saved", (target, "the run failed before there was a learner"))

    def reset(self, policy: int) -> None:
        """See Crew."""
        self._learners[policy].reset(first_state(self._plan, policy))

    def replace(self, pid: int, reason: str) -> None:
        """See Crew. There is no process to replace."""

    def evaluate(self, checkpoint: Path, episodes: int, seed: int, stop: Callable[[], bool] | None = None) -> None:
        """See Crew."""
        report = self._report("evaluator", 0)
        evaluation = None
        try:
            evaluation = evaluate_checkpoint(self._plan.config, checkpoint, episodes, seed, stop=stop)
        except Stopped:
            pass
        except SfmarlError as error:
            report("warning", f"The evaluation of {checkpoint.name} failed: {error}")
        report("evaluated", (checkpoint, evaluation))

    def pids(self) -> list[int]:
        """See Crew."""
        return [os.getpid()]

    def stop_training(self) -> list[Message]:
        """See Crew."""
        self.words.stop()
        for worker in (*self._rollout, *self._learners):
            worker.report()
        for worker in self._rollout:
            worker.close()
        self._rollout = []
        self._undo_threads()
        return self._drain()

    def stop(self, at_once: bool = False) -> list[Message]:
        """See Crew."""
        messages = self.stop_training()
        self.words.end()
        return messages


def _arrangement(states: dict[str, Any]) -> tuple[list, list]:
    """Return how many streams each split of each rollout worker has, and policies each inference worker."""
    rollout = [[len(split) for split in worker] for worker in states.get("rollout", [])]
    return rollout, [len(worker) for worker in states.get("inference", [])]
