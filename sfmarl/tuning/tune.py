"""From settings to settings: measure, predict, try, and take the best."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from sfmarl.config import Config
from sfmarl.errors import UsageError
from sfmarl.run.runner import check_run
from sfmarl.tuning import explain
from sfmarl.tuning.choose import TUNED, Bounds, diverse, rank
from sfmarl.tuning.figures import Figures
from sfmarl.tuning.model import Candidate, Prediction, predict
from sfmarl.tuning.probe import measure
from sfmarl.tuning.trials import measure_training
from sfmarl.user_code import absolute, import_user_code

PROBE_SECONDS = 8.0
"""Time for measuring, if nobody says otherwise; starting the processes for it comes on top."""
TRIAL_SECONDS = 6.0
TRIALS = 3


@dataclass(frozen=True)
class Tuning:
    """What was chosen, and from what."""

    config: Config
    """The settings to train with."""
    bounds: Bounds
    """The untuned run."""
    figures: Figures
    """What was measured."""
    best: Prediction
    """What is predicted of the choice."""
    untuned: Prediction
    """The same of the untuned run."""
    trials: tuple[tuple[Prediction, float], ...] = ()
    """Arrangements that were trained with for a moment and their agent-steps/s, the fastest first."""

    @property
    def samples(self) -> int:
        """Agent-steps of one update."""
        return self.bounds.samples(self.best.candidate)

    @property
    def untuned_samples(self) -> int:
        """The same of the untuned run."""
        return self.bounds.samples(self.untuned.candidate)

    def flags(self) -> list[str]:
        """Return the words that repeat the choice on the command line, without what is given or the default anyway."""
        usual = {f.name: f.default for f in fields(Config)}
        chosen = {name: getattr(self.config, name) for name in TUNED if name not in self.bounds.kept}
        pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in chosen.items() if value != usual[name]]
        return [word for pair in pairs for word in pair]

    def lines(self) -> list[str]:
        """Return the choice and its reasons, a line each."""
        return explain.lines(self)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""

        def told(prediction: Prediction) -> dict[str, Any]:
            return {
                "arrangement": prediction.candidate.to_json(),
                "agent_steps_per_second": prediction.agent_steps_per_second,
                "bottleneck": prediction.bottleneck,
                "env_steps_per_second_bounds": dict(prediction.bounds),
            }

        return {
            "settings": {name: getattr(self.config, name) for name in TUNED},
            "kept": sorted(self.bounds.kept),
            "flags": self.flags(),
            "agent_steps_of_an_update": self.samples,
            "figures": self.figures.to_json(),
            "expected": told(self.best),
            "untuned": told(self.untuned),
            "trials": [
                {"arrangement": trial.candidate.to_json(), "agent_steps_per_second": rate}
                for trial, rate in self.trials
            ],
        }


def tune(
    config: Config,
    kept: Collection[str] = (),
    *,
    probe_seconds: float = PROBE_SECONDS,
    trials: int = 0,
    trial_seconds: float = TRIAL_SECONDS,
    tell: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Choose the settings TUNED for this machine, except those in `kept`.

    `trials` of the most promising arrangements are trained with for `trial_seconds` each, and the fastest is taken.
    `tell` hears what is going on. Raises UsageError for settings that cannot be carried out or leave no choice,
    RunError when the environment fails.
    """
    if config.mode == "serial":
        raise UsageError("mode = serial runs in one process: there is nothing to tune. Take mode async or sync.")
    config = replace(config, imports=absolute(config.imports))
    import_user_code(config.imports)
    plan, _ = check_run(config)
    bounds = Bounds(plan.config, plan, frozenset(kept))
    tell(f"measuring environment, acting and learning for about {probe_seconds:.0f} s")
    figures = measure(replace(plan.config, device=plan.device), plan.env, probe_seconds)
    ranking = rank(figures, bounds)
    if not ranking:
        raise UsageError(
            f"the settings that are given ({', '.join(sorted(kept))}) leave nothing to choose from: leave one of them "
            "out, or train without tuning."
        )
    tried: list[tuple[Prediction, float]] = []
    for trial in diverse(ranking, trials):
        tell(f"training for {trial_seconds:.0f} s: {explain.arrangement(trial.candidate)}")
        tried.append((trial, measure_training(bounds.to_config(trial.candidate), trial_seconds)))
    tried.sort(key=lambda pair: -pair[1])
    best = tried[0][0] if tried else ranking[0]
    untuned = predict(figures, _untuned(bounds), plan.config.rollout, plan.sync)
    return Tuning(bounds.to_config(best.candidate), bounds, figures, best, untuned, tuple(tried))


def _untuned(bounds: Bounds) -> Candidate:
    config, plan = bounds.config, bounds.plan
    return Candidate(
        workers=plan.plane.workers,
        envs=config.num_envs_per_worker,
        splits=config.num_splits,
        inference=config.inference,
        inference_workers=config.num_inference_workers,
        update_envs=bounds.update_envs,
        learner_threads=plan.learner_threads,
    )
