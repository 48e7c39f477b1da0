"""`sfmarl sweep`: search settings with Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfmarl.command.arguments import config_of, parse_run
from sfmarl.command.launching import crash_report
from sfmarl.config import Config


@dataclass
class SweepArguments(Config):
    """Search settings with Optuna: every trial is a run, its score that of the final evaluation."""

    search: dict[str, str] = field(default_factory=dict)
    """What is searched: ranges `lr=log:1e-4..1e-2 rollout=int:16..64 num_envs_per_worker=8..64/8` (in steps of 8) and
    choices `gamma=0.9,0.95,0.99 hidden=[64],[64,64] env_kwargs.N=2,3`."""
    trials: int = 20
    """Trials in all."""
    prune: bool = True
    """Stop trials whose periodic evaluation is below the median of the earlier ones' at that point."""
    config: Path | None = None
    """Take the settings of an earlier run (its directory or config.json) as defaults."""


def sweep(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse_run(SweepArguments, words, prog="sfmarl sweep")
    from sfmarl.results.sweep import default_sweep_dir, sweep

    config = config_of(arguments)
    if config.run_dir is None:
        config.run_dir = default_sweep_dir(config)
    with crash_report(config.run_dir):
        print(sweep(config, arguments.search, arguments.trials, arguments.prune))
    return 0
