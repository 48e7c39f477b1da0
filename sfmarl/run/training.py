"""The main loop: what the main process does while the crew works.

It consumes messages and shared counters, and decides by env-steps and seconds when to record, to save, to evaluate and
to stop. It never waits for one component alone.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from sfmarl.errors import RunError, SfmarlError
from sfmarl.evaluation.evaluate import evaluate_checkpoint
from sfmarl.evaluation.evaluator import Stopped
from sfmarl.evaluation.result import Evaluation
from sfmarl.monitor.console import Console
from sfmarl.monitor.metrics import MetricsWriter
from sfmarl.monitor.recorder import Recorder
from sfmarl.monitor.system import SystemSampler
from sfmarl.run.crew import Crew, Message
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.storage import checkpoint
from sfmarl.storage.checkpoint import Seat
from sfmarl.versions import package_versions

POLL_SECONDS = 0.2
SAVE_SECONDS = 60.0
"""Patience with learners that were asked to save before the checkpoint is given up."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run in order: its checkpoint is written. `args[0]` is the signal's number."""


class Training:
    """One run's main loop."""

    def __init__(
        self,
        plan: RunPlan,
        crew: Crew,
        recorder: Recorder,
        writer: MetricsWriter,
        console: Console,
        past: dict[str, Any],
    ) -> None:
        """`past` is the run state of the checkpoint that is resumed, empty for a new run."""
        self.interrupted = 0
        """Number of the signal that asked the run to stop; set from a signal handler."""
        self._plan, self._config, self._run_dir = plan, plan.config, plan.config.run_dir
        self._crew, self._recorder, self._writer, self._console = crew, recorder, writer, console
        self._system = SystemSampler(plan.device)
        self._best = checkpoint.read_best(self._run_dir, self._warn)
        self._next_evaluation = past.get("next_evaluation", self._config.eval_env_steps)
        self._last_record = self._last_save = time.monotonic()
        self._saving: Path | None = None
        self._unsaved: set[int] = set()
        self._save_failure = ""
        self._saved: Path | None = None
        self._evaluate_saved = False
        self._evaluating: Path | None = None
        self._reached_score = False
        self._warned_of_numbers: set[int] = set()
        self._start_steps = recorder.env_steps, recorder.agent_steps
        self._start_wall = recorder.wall_seconds

    def run(self) -> dict[str, Any]:
        """Start the crew, loop until the run is over, save, evaluate, and return the summary."""
        try:
            self._crew.start()
            if self._saved is None and not checkpoint.checkpoint_paths(self._run_dir):
                self._save_now()  # what a learner that dies early starts again from
            while (reason := self._stop_reason()) is None:
                for message in self._crew.poll(POLL_SECONDS):
                    self._handle(message)
                self._keep_schedule()
            self._record()
            self._save_now()
        except Exception:
            self._save_after_failure()
            raise
        finally:
            self._system.close()
        for message in self._crew.stop():
            self._handle(message)
        self._record()
        return self._summary(reason)

    def _stop_reason(self) -> str | None:
        config = self._config
        if self.interrupted:
            return "interrupted"
        if self._recorder.env_steps >= config.env_steps:
            return "finished"
        if config.wall_seconds and self._recorder.wall_seconds >= config.wall_seconds:
            return "stopped by wall_seconds"
        if self._reached_score:
            return "stopped by stop_score"
        return None

    def _handle(self, message: Message) -> None:
        match message.kind:
            case "episodes":
                self._recorder.episodes.add(*message.payload)
            case "update":
                self._recorder.learned(message.index, message.payload)
                self._watch_numbers(message.index, message.payload)
            case "warning":
                self._warn(message.payload)
            case "saved":
                self._on_saved(message.index, *message.payload)
            case "evaluated":
                self._on_evaluated(*message.payload)

    def _watch_numbers(self, policy: int, metrics: dict[str, float]) -> None:
        if metrics.get("skipped_updates", 0.0) > 0.0 and policy not in self._warned_of_numbers:
            self._warned_of_numbers.add(policy)
            self._warn(
                f"policy {self._plan.policies[policy].name!r}: optimiser steps are skipped because the loss or its "
                "gradient is not finite. Does the environment return NaN or infinite observations or rewards?"
            )

    def _warn(self, text: str) -> None:
        self._console.message(text, "warning")

    def _keep_schedule(self) -> None:
        now = time.monotonic()
        if now - self._last_record >= self._config.log_seconds:
            self._last_record = now
            self._record()
        if self._saving is not None:
            if now - self._last_save > SAVE_SECONDS:
                self._give_up_save()
            return
        due = self._config.eval_env_steps and self._recorder.env_steps >= self._next_evaluation
        if due and self._evaluating is None:
            self._next_evaluation += self._config.eval_env_steps * (
                1 + (self._recorder.env_steps - self._next_evaluation) // self._config.eval_env_steps
            )
            self._save(then_evaluate=True)
        elif now - self._last_save >= self._config.checkpoint_seconds:
            self._save(then_evaluate=False)

    def _record(self) -> None:
        scalars = self._recorder.record() | self._system.sample(self._crew.pids())
        self._write(scalars)
        self._console.update(self._recorder.view())

    def _write(self, scalars: dict[str, float]) -> None:
        recorder = self._recorder
        self._writer.write(
            scalars, env_steps=recorder.env_steps, agent_steps=recorder.agent_steps, wall_seconds=recorder.wall_seconds
        )

    def _save(self, then_evaluate: bool) -> None:
        """Ask the learners for a checkpoint; it is complete once all have answered."""
        self._last_save = time.monotonic()
        self._evaluate_saved = then_evaluate
        try:
            self._saving = checkpoint.begin(self._run_dir, self._recorder.env_steps)
        except RunError as error:
            self._warn(f"{error} Training goes on.")
            return
        self._unsaved = set(range(len(self._plan.policies)))
        self._save_failure = ""
        self._crew.save(self._saving)

    def _on_saved(self, policy: int, target: Path, failure: str | None) -> None:
        if target != self._saving:
            return
        self._unsaved.discard(policy)
        self._save_failure = self._save_failure or failure or ""
        if self._unsaved:
            return
        self._saving = None
        if self._save_failure:
            self._warn(f"no checkpoint was written: {self._save_failure} Training goes on.")
            return
        try:
            self._saved = checkpoint.commit(target, self._run_state(), self._seats())
            checkpoint.prune(self._run_dir, self._config.keep_checkpoints, protect=[self._evaluating or self._saved])
        except RunError as error:
            self._warn(f"{error} Training goes on.")
            return
        finally:
            self._last_save = time.monotonic()  # from its end: a slow disk must leave time for training
        if self._evaluate_saved:
            self._evaluating = self._saved
            self._crew.evaluate(
                self._saved,
                self._config.eval_episodes,
                seed_for(self._config.seed, "evaluation", self._next_evaluation),
            )

    def _run_state(self) -> dict[str, Any]:
        recorder = self._recorder
        return {
            "env_steps": recorder.env_steps,
            "agent_steps": recorder.agent_steps,
            "wall_seconds": recorder.wall_seconds,
            "next_evaluation": self._next_evaluation,
            "counts": {role: counts.sum(axis=0).tolist() for role, counts in self._crew.words.counts.items()},
        }

    def _seats(self) -> dict[str, Seat]:
        policies = self._plan.policy_of_team()
        return {team.name: Seat(policies[team.name], team.agents) for team in self._plan.env.teams}

    def _on_evaluated(self, path: Path, evaluation: Evaluation | None) -> None:
        self._evaluating = None
        if evaluation is None:
            return
        self._write(evaluation.scalars())
        self._consider_best(path, evaluation)
        score = next(iter(evaluation.teams.values()))
        self._recorder.evaluation = f"{score} ({evaluation.episodes} episodes, greedy, {path.name})"
        self._console.message(f"evaluation at {checkpoint.Checkpoint(path).env_steps or 0:,} env-steps: {score}")
        goal = self._config.stop_score
        self._reached_score = goal is not None and evaluation.score >= goal

    def _consider_best(self, path: Path, evaluation: Evaluation) -> None:
        if self._best is not None and evaluation.score <= self._best.score:
            return
        try:
            checkpoint.mark_best(self._run_dir, path, evaluation.score, evaluation.metric)
        except RunError as error:
            self._warn(str(error))
        self._best = checkpoint.read_best(self._run_dir, self._warn)

    def _save_now(self) -> None:
        """Write a checkpoint and wait for it, no matter what is scheduled."""
        self._wait_for_save()
        self._save(then_evaluate=False)
        self._wait_for_save()

    def _wait_for_save(self) -> None:
        deadline = time.monotonic() + SAVE_SECONDS
        while self._saving is not None and time.monotonic() < deadline:
            for message in self._crew.poll(POLL_SECONDS):
                self._handle(message)
        if self._saving is not None:
            self._give_up_save()

    def _give_up_save(self) -> None:
        who = ", ".join(self._plan.policies[index].name for index in sorted(self._unsaved))
        self._warn(f"no checkpoint was written: the learner of {who} did not answer within {SAVE_SECONDS:.0f} s.")
        self._saving = None

    def _save_after_failure(self) -> None:
        """Keep what was learned since the last checkpoint, if the learners still answer."""
        with contextlib.suppress(RunError):  # the first failure is told; the checkpoint before it stands
            self._save_now()

    def _final_evaluation(self) -> Evaluation | None:
        """Evaluate the last checkpoint; after a signal, or if it fails, the run's summary goes without."""
        config = self._config
        if self._saved is None or not config.final_eval_episodes:
            return None
        seed = seed_for(config.seed, "final evaluation")
        try:
            evaluation = evaluate_checkpoint(
                config, self._saved, config.final_eval_episodes, seed, stop=lambda: self.interrupted > 0
            )
        except Stopped:
            return None
        except SfmarlError as error:
            self._warn(f"the final evaluation failed: {error}")
            return None
        self._write(evaluation.scalars())
        self._consider_best(self._saved, evaluation)
        return evaluation

    def _summary(self, reason: str) -> dict[str, Any]:
        config, recorder = self._config, self._recorder
        seconds = max(recorder.wall_seconds - self._start_wall, 1e-9)
        evaluation = self._final_evaluation()
        best = self._best
        return {
            "stopped_by": reason,
            "env": config.env,
            "env_kwargs": config.env_kwargs,
            "algo": config.algo,
            "mode": config.mode,
            "seed": config.seed,
            "device": self._plan.device,
            "env_steps": recorder.env_steps,
            "agent_steps": recorder.agent_steps,
            "episodes": recorder.episodes.episodes,
            "wall_seconds": self._start_wall + seconds,
            "agent_steps_per_second": (recorder.agent_steps - self._start_steps[1]) / seconds,
            "env_steps_per_second": (recorder.env_steps - self._start_steps[0]) / seconds,
            "evaluation": None if evaluation is None else evaluation.to_json(),
            "best": None
            if best is None
            else {"checkpoint": best.checkpoint, "score": best.score, "metric": best.metric},
            "checkpoint": None if self._saved is None else self._saved.name,
            "versions": package_versions(),
        }
