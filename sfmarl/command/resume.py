"""`sfmarl resume`: go on with a run, with the seeds of a series, or with the trials of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfmarl.command.arguments import parse
from sfmarl.command.launching import crash_report
from sfmarl.errors import UsageError


@dataclass
class ResumeArguments:
    """Continue a run from its latest checkpoint; flags replace settings the run was started with. A series goes on with
    the seeds that are not finished, a sweep with the trials that are left."""

    run_dir: Path
    """Run directory of an earlier `sfmarl train` or `sfmarl sweep`."""
    env_steps: int | None = None
    """Stop after this many environment steps, counted from the start of the run."""
    wall_seconds: float | None = None
    """Stop after this many seconds; 0 = no limit."""
    stop_score: float | None = None
    """Stop once a periodic evaluation's team return reaches this score."""
    device: str | None = None
    """Device of inference and learning: auto | cpu | cuda | cuda:1."""
    num_workers: int | None = None
    """Rollout worker processes; 0 = one per core, at least 2."""
    imports: tuple[str, ...] | None = None
    """Modules or .py files to import instead of those that the run's config.json names."""
    trials: int | None = None
    """Trials of a sweep in all."""
    quiet: bool = False
    """Print only warnings and the final result."""

    def overrides(self) -> dict[str, Any]:
        """Return the settings that were given."""
        given = {name: value for name, value in vars(self).items() if value is not None and value is not False}
        del given["run_dir"]
        return given


def resume(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(ResumeArguments, words, prog="sfmarl resume")
    from sfmarl.results import series, sweep
    from sfmarl.run import runner

    run_dir, given = arguments.run_dir, arguments.overrides()
    is_sweep = sweep.is_sweep(run_dir)
    if wrong := given.keys() - {"trials", "quiet"} if is_sweep else given.keys() & {"trials"}:
        kind = "a sweep, whose trials must stay comparable" if is_sweep else "not a sweep"
        raise UsageError(f"{run_dir} is {kind}: leave out --{sorted(wrong)[0].replace('_', '-')}.")
    with crash_report(run_dir):
        if is_sweep:
            print(sweep.resume_sweep(run_dir, **given))
        elif series.is_series(run_dir):
            print(series.resume_series(run_dir, **given))
        else:
            runner.resume(run_dir, **given)
    return 0
