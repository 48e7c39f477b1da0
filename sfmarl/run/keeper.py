"""Checkpoints and evaluations of a run: when they are due, who has answered, which one is the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfmarl.errors import RunError, UserCodeError
from sfmarl.evaluation.result import Evaluation
from sfmarl.memory.words import ROLLOUT_COUNTS
from sfmarl.monitor.recorder import Recorder
from sfmarl.run.callbacks import Callbacks
from sfmarl.run.crew import Crew
from sfmarl.run.league import League
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.storage import checkpoint

SAVE_SECONDS = 60.0
"""Patience with learners that were asked to save before the checkpoint is given up."""

Judge = Callable[[int, float], str | None]
"""Given env-steps and score of a periodic evaluation, returns why the run should stop, or None."""


class Keeper:
    """Asks the crew for checkpoints and evaluations and keeps what comes back.

    A checkpoint is complete once every learner has answered; a periodic evaluation is of a checkpoint, so the best
    score always has its weights on disk. Whatever fails here is a warning: training goes on.
    """

    def __init__(
        self,
        plan: RunPlan,
        crew: Crew,
        recorder: Recorder,
        past: dict[str, Any],
        callbacks: Callbacks,
        tell: Callable[[str], None],
        warn: Callable[[str], None],
        write: Callable[[dict[str, float], dict[str, Any]], None],
        judge: Judge | None = None,
        league: League | None = None,
    ) -> None:
        """`past` is the run state of the checkpoint that is resumed; `judge` hears of every periodic evaluation.

        `write` takes scalars to the metrics files, under the counters of the run state they belong to.
        """
        self.saved: Path | None = None
        """The newest checkpoint of this sitting."""
        self.reached_score = False
        """A periodic evaluation reached the score the run is to stop at."""
        self.verdict: str | None = None
        """Why the judge wants the run to stop."""
        self._judge = judge
        self._league = league
        self._plan, self._config, self._run_dir = plan, plan.config, plan.config.run_dir
        self._crew, self._recorder, self._callbacks = crew, recorder, callbacks
        self._tell, self._warn, self._write = tell, warn, write
        self.best = checkpoint.read_best(self._run_dir, warn)
        """The record of the checkpoint that scored best."""
        self._next_evaluation = past.get("next_evaluation", self._config.eval_env_steps)
        self._last_save = time.monotonic()
        self._saving: Path | None = None
        self._unsaved: set[int] = set()
        self._save_failure = ""
        self._goes_on = True
        self._evaluate_saved = False
        """The next checkpoint that is written is to be evaluated."""
        self._due_evaluation: int | None = None
        """Env-steps for which the evaluation that is under way was due; a resumed run makes up for it."""
        first = checkpoint.path_of(self._run_dir, 0)
        self._kept = [first] if league is not None and self._config.init_from else []
        """What a player that begins anew begins with: where it came from may be gone."""
        self._evaluating: Path | None = None
        self._final: list[Evaluation | None] | None = None
        """The answer to the final evaluation, once there is one."""
        self._saved_state: dict[str, Any] = {}
        self._evaluating_state: dict[str, Any] = {}

    def keep_schedule(self) -> None:
        """Start what is due."""
        config, env_steps = self._config, self._recorder.env_steps
        if self._saving is not None:
            if time.monotonic() - self._last_save > SAVE_SECONDS:
                self._give_up_save()
        elif config.eval_env_steps and env_steps >= self._next_evaluation and self._due_evaluation is None:
            self._due_evaluation = self._next_evaluation
            overdue = (env_steps - self._next_evaluation) // config.eval_env_steps
            self._next_evaluation += config.eval_env_steps * (1 + overdue)
            self._evaluate_saved = True
            self._save()
        elif time.monotonic() - self._last_save >= config.checkpoint_seconds:
            self._save()

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._saving is not None

    def save_soon(self) -> None:
        """Have the schedule write a checkpoint next."""
        self._last_save = -math.inf

    def _save(self) -> None:
        """Ask the learners for a checkpoint; it is complete once all have answered."""
        self._last_save = time.monotonic()
        try:
            self._saving = checkpoint.begin(self._run_dir, self._recorder.env_steps)
        except RunError as error:
            self._warn_unsaved(str(error))
            return
        self._unsaved = set(range(len(self._plan.policies)))
        self._save_failure = ""
        self._crew.save(self._saving)

    def on_saved(self, policy: int, target: Path, failure: str | None) -> None:
        """A learner has written its policy into `target`, or failed to."""
        if target != self._saving:
            return
        self._unsaved.discard(policy)
        self._save_failure = self._save_failure or failure or ""
        if self._unsaved:
            return
        self._saving = None
        if self._save_failure:
            checkpoint.discard(target)
            self._warn_unsaved(f"no checkpoint was written: {self._save_failure.rstrip('.')}.")
            return
        state = self._run_state()
        try:
            self._plan.write_frozen(target)
            self.saved = checkpoint.commit(target, state, self._plan.seats())
            self._saved_state = state
            protect = [*self._kept, self._evaluating or self.saved]
            checkpoint.prune(self._run_dir, self._config.keep_checkpoints, protect)
        except RunError as error:
            checkpoint.discard(target)
            self._warn_unsaved(str(error))
            return
        finally:
            self._last_save = time.monotonic()  # from its end: a slow disk must leave time for training
        self._sweep()
        if self._evaluate_saved:
            self._evaluate_saved = False
            self._evaluating, self._evaluating_state = self.saved, state
            self._crew.evaluate(
                self.saved,
                self._config.eval_episodes,
                seed_for(self._config.seed, "evaluation", self._next_evaluation),
            )
        self._callbacks.saved(self.saved)

    def _sweep(self) -> None:
        """Have the league delete what no checkpoint that is kept needs any more."""
        if self._league is None:
            return
        try:
            self._league.sweep(checkpoint.checkpoint_paths(self._run_dir))
        except (RunError, OSError) as error:
            self._warn(f"Snapshots that were evicted stay on disk: {error}")

    def save_first(self, pump: Callable[[], None], stop: Callable[[], bool]) -> None:
        """Write what learners that die early start again from, and wait for it unless `stop` says True.

        `pump` handles the crew's messages once.
        """
        self._save()
        self._wait_for_save(pump, stop)

    def save_last(self, pump: Callable[[], None]) -> None:
        """Write a checkpoint and wait for it, no matter what is scheduled: training is over."""
        self._wait_for_save(pump)
        self._goes_on = self._evaluate_saved = False
        self._save()
        self._wait_for_save(pump)

    def _warn_unsaved(self, why: str) -> None:
        self._warn(f"{why} Training goes on." if self._goes_on else why)

    def _wait_for_save(self, pump: Callable[[], None], stop: Callable[[], bool] | None = None) -> None:
        deadline = time.monotonic() + SAVE_SECONDS
        while self._saving is not None and time.monotonic() < deadline:
            if stop is not None and stop():
                return
            pump()
        if self._saving is not None:
            self._give_up_save()

    def _give_up_save(self) -> None:
        who = ", ".join(self._plan.policies[index].name for index in sorted(self._unsaved))
        self._warn(f"no checkpoint was written: the learner of {who} did not answer within {SAVE_SECONDS:.0f} s.")
        self._saving = None

    def _run_state(self) -> dict[str, Any]:
        recorder = self._recorder
        league = {} if self._league is None else {"league": self._league.state_dict()}
        counts = self._crew.words.totals()  # looked at once: workers go on meanwhile
        stepped = dict(zip(ROLLOUT_COUNTS, counts["rollout"], strict=True))
        return league | {
            "env_steps": stepped["env_steps"],
            "agent_steps": stepped["agent_steps"],
            "wall_seconds": recorder.wall_seconds,
            "next_evaluation": self._next_evaluation if self._due_evaluation is None else self._due_evaluation,
            "generators": self._crew.generators(),
            "counts": counts,
        }

    def on_evaluated(self, path: Path, evaluation: Evaluation | None) -> None:
        """The evaluation of checkpoint `path` is over; None if it failed."""
        if self._evaluating is None:
            self._final = [evaluation]
            return
        self._evaluating = self._due_evaluation = None
        if evaluation is None:
            return
        # training went on meanwhile: the score belongs to the steps that the checkpoint had seen
        self._consider_best(path, evaluation)
        self._write(evaluation.scalars() | self._callbacks.evaluated(evaluation), self._evaluating_state)
        teams = evaluation.scored or tuple(evaluation.teams)[:1]
        returns = [str(evaluation.teams[team]) for team in teams]
        score = returns[0] if len(teams) == 1 else ", ".join(f"{t} {x}" for t, x in zip(teams, returns, strict=True))
        self._recorder.evaluation = f"{score} ({evaluation.episodes} episodes, greedy, {path.name})"
        self._tell(f"evaluation at {self._evaluating_state['env_steps']:,} env-steps: {score}")
        goal = self._config.stop_score
        self.reached_score = goal is not None and evaluation.score >= goal
        if self._judge is not None and self.verdict is None:
            self.verdict = self._judge(self._evaluating_state["env_steps"], evaluation.score)

    def _consider_best(self, path: Path, evaluation: Evaluation) -> None:
        if self.best is not None and evaluation.score < self.best.score:
            return
        try:
            checkpoint.mark_best(self._run_dir, path, evaluation.score, evaluation.metric)
        except RunError as error:
            self._warn(str(error))
        self.best = checkpoint.read_best(self._run_dir, self._warn)

    def final_evaluation(self, listen: Callable[[], None], stop: Callable[[], bool]) -> Evaluation | None:
        """Have the last checkpoint evaluated; None once `stop` says True, or if it fails.

        `listen` hears the crew's messages once; what was asked before is answered before.
        """
        config = self._config
        if self.saved is None or not config.final_eval_episodes or stop():
            return None
        seed = seed_for(config.seed, "final evaluation")
        self._final = None
        self._crew.evaluate(self.saved, config.final_eval_episodes, seed, stop)
        try:
            while self._final is None and not stop():
                listen()
        except UserCodeError:
            raise
        except RunError as error:
            self._warn(f"the final evaluation failed: {error}")
            return None
        [evaluation] = self._final or [None]
        if evaluation is None:
            if not stop():
                self._warn("the final evaluation failed: there is no final score.")
            return None
        self._consider_best(self.saved, evaluation)
        self._write(evaluation.scalars() | self._callbacks.evaluated(evaluation), self._saved_state)
        return evaluation
