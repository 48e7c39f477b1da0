"""A choice in plain words: what was measured, what holds the run up, what was chosen and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfmarl.tuning.figures import Figures
from sfmarl.tuning.model import Candidate, Prediction

if TYPE_CHECKING:
    from sfmarl.tuning.tune import Tuning

BUSY_PERCENT = 10.0
"""From which other programs are worth a warning."""


def lines(tuning: Tuning) -> list[str]:
    """Return the explanation, a line each."""
    figures, best = tuning.figures, tuning.best
    told = [_machine(figures), *_costs(figures, best.candidate, tuning.bounds.config.rollout)]
    told.append(f"chosen: {arrangement(best.candidate)}")
    told.append(f"  an update learns from {tuning.samples:,} agent-steps (untuned {tuning.untuned_samples:,})")
    if tuning.bounds.kept:
        told.append(f"  as given: {', '.join(sorted(tuning.bounds.kept))}")
    bottleneck = _bottleneck(best, figures, tuning.bounds.plan.sync)
    told.append(f"  expected: {best.agent_steps_per_second:,.0f} agent-steps/s; bottleneck: {bottleneck}")
    told.append(
        f"  untuned, {arrangement(tuning.untuned.candidate)}: {tuning.untuned.agent_steps_per_second:,.0f} expected"
    )
    if tuning.trials:
        told.append("measured in short trainings, agent-steps/s:")
        told += [f"  {rate:,.0f}  {arrangement(trial.candidate)}" for trial, rate in tuning.trials]
    return told


def arrangement(c: Candidate) -> str:
    """Return a candidate in words."""
    splits = f"{c.splits} splits" if c.splits > 1 else "1 split"
    parts = [f"{_count(c.workers, 'rollout worker')} x {c.envs} envs in {splits}"]
    parts.append("local inference" if c.inference == "local" else _count(c.inference_workers, "inference worker"))
    if c.learner_threads > 1:
        parts.append(f"{c.learner_threads} learner threads")
    return ", ".join(parts)


def _count(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _machine(figures: Figures) -> str:
    text = f"{_count(figures.cores, 'core')}, device {figures.device}"
    if figures.busy_percent > BUSY_PERCENT:
        text += f"; other programs take {figures.busy_percent:.0f} % of the machine, so all figures may be too low"
    return text


def _costs(figures: Figures, c: Candidate, rollout: int) -> list[str]:
    """Return what an env-step costs in the chosen arrangement."""
    envs = c.envs / c.splits
    step, pause = figures.step(envs) / envs, figures.pause(envs) / envs
    acting = c.envs if c.inference == "local" else envs
    table: list[tuple[str, float, str]] = [
        ("environment", step, f"and {_micro(pause)} of waiting" if pause > 0.05 * step else ""),
        ("actions", figures.act(acting) / acting, f"{acting:.0f} envs in one forward pass"),
    ]
    if curves := figures.learning(c.learner_threads):
        update = c.update_envs * rollout
        seconds = [curve(update) for curve in curves]
        table.append(("learning", sum(seconds) / update, f"an update takes {1e3 * max(seconds):.0f} ms"))
    if c.inference == "worker":
        note = f"{_micro(figures.wake_seconds)} for {envs:.0f} envs together"
        table.append(("wake-ups", figures.wake_cpu_seconds / envs, note))
    told = [f"an env-step ({figures.agents:.3g} agent-step{'s' * (figures.agents != 1)}) costs, computing on one core:"]
    told += [f"  {name:<12} {_micro(seconds):>10}  {note}".rstrip() for name, seconds, note in table]
    if not figures.learn:
        told.append("  learning was not reached: it is cheap beside an environment as slow as this")
    return told


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:,.3g} us" if seconds < 1e-3 else f"{1e3 * seconds:,.3g} ms"


def _bottleneck(prediction: Prediction, figures: Figures, sync: bool) -> str:
    c, name = prediction.candidate, prediction.bottleneck
    if sync:
        return f"{name} (steps and updates take turns in sync mode)"
    why = {
        "cores": f"the {_count(figures.cores, 'core')} will be busy all the time",
        "environment": f"the {_count(c.workers, 'rollout worker')} will never wait",
        "inference": "inference will be busy all the time",
        "learner": "the learner will be busy all the time",
    }
    return f"{name} ({why[name]})"
