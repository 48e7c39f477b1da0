"""A run from its settings to its summary: what is asked for is looked at and planned; `sitting.py` sees it through.

Config --load_spec--> EnvSpec --make_plan--> RunPlan --DataPlane.create--> shared memory
                                                |
        rollout workers  <== slots, words ==>  inference workers        (workers/, memory/)
                '===== READY slots ====>  learners  == weights ==> inference workers
                                                |
main process: messages and counters -> Recorder -> metrics files, console; checkpoints; evaluations
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, default_run_dir
from sfmarl.envs.registry import load_spec
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.policy import JointPolicy, load_policy
from sfmarl.players import frozen_from
from sfmarl.run.callbacks import Callbacks
from sfmarl.run.fork_server import fork_server
from sfmarl.run.initial import InitialPolicies, read_initial, require_fit, write_initial
from sfmarl.run.keeper import Judge
from sfmarl.run.league import rehearse
from sfmarl.run.plan import RunPlan, make_plan, resolve_workers
from sfmarl.run.run_state import read_run_state, restored
from sfmarl.run.sitting import sit
from sfmarl.run.stopping import StopRequest, signals_noted
from sfmarl.run.validate import validate
from sfmarl.run.validate_env import validate_for_env
from sfmarl.storage import checkpoint
from sfmarl.storage.config_file import read_config, write_config
from sfmarl.storage.lock import locked, make_run_dir
from sfmarl.user_code import absolute, being_imported, import_user_code


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves behind."""

    run_dir: Path
    """The run directory."""
    summary: dict[str, Any]
    """What `summary.json` holds."""

    def metrics(self) -> list[dict[str, Any]]:
        """Return every record of `metrics.jsonl`, oldest first."""
        return [json.loads(line) for line in (self.run_dir / "metrics.jsonl").read_text().splitlines()]

    def policy(self, checkpoint: str = "best") -> JointPolicy:
        """Load the trained policies (`best` or `latest`)."""
        return load_policy(self.run_dir, checkpoint=checkpoint)


def train(config: Config, judge: Judge | None = None) -> TrainResult:
    """Start a new run and return when it is over.

    `judge` hears of every periodic evaluation and may end the run; there is no final evaluation then.
    Raises UsageError for settings that cannot be carried out, before anything is written; RunError when the run
    fails, with its latest checkpoint on disk; KeyboardInterrupt after Ctrl-C, likewise.
    """
    called = time.monotonic()
    _refuse_reimport()
    config = replace(config, imports=absolute(config.imports))
    import_user_code(config.imports)
    notes: list[str] = []
    plan, initial = check_run(config, notes.append)
    callbacks = Callbacks(config.callbacks)
    config = replace(plan.config, run_dir=config.run_dir or default_run_dir(config))
    if initial:
        # what was meant by "the best checkpoint" is recorded, since the run it is of may go on
        config = replace(config, init_from={policy: str(source) for policy, source in initial.sources.items()})
    plan = replace(plan, config=config)
    make_run_dir(config.run_dir)
    with locked(config.run_dir), signals_noted() as stop:
        if (config.run_dir / "config.json").exists():
            raise UsageError(f"{config.run_dir} holds a run already. Name another --run-dir.")
        try:
            write_config(config, config.run_dir / "config.json")
        except OSError as error:
            raise RunError(
                f"{config.run_dir / 'config.json'} could not be written: {error.strerror or error}. Free space, or "
                "name another --run-dir."
            ) from error
        if initial:
            write_initial(plan, initial)
        return TrainResult(config.run_dir, sit(plan, callbacks, stop, called, None, notes, judge))


def check_run(
    config: Config, warn: Callable[[str], None] | None = None, starts: bool = True
) -> tuple[RunPlan, InitialPolicies | None]:
    """Return the plan of a new run and, when it is to begin with another run's weights, those. Writes nothing.

    `warn` is told about damaged checkpoints that were passed over; `starts` says that processes will be needed.
    Raises UsageError for what cannot be carried out.
    """
    config = replace(config, hp=config.hp or get_algorithm(config.algo).hyperparameters())
    validate(config)
    if starts:
        _start_processes_early(config)
    plan = _plan(config)
    if config.league is not None:
        rehearse(plan)
    return plan, read_initial(plan, warn) if config.init_from else None


def resume(run_dir: str | Path, **overrides: Any) -> TrainResult:
    """Continue the run in `run_dir` from its latest checkpoint that is whole; `overrides` replace settings.

    The modules that its `config.json` names (`imports`, the environment's) are imported and run.

    A run that was killed after its last env-step, before its result was told, is evaluated and tells it.

    Raises UsageError when there is no run, when it is over and its budget reached, and when snapshots of its league are
    gone or damaged; RunError when no checkpoint can be used.
    """
    called = time.monotonic()
    _refuse_reimport()
    run_dir = Path(run_dir)
    imports = overrides.pop("imports", None)
    config = replace(read_config(run_dir / "config.json", imports), run_dir=run_dir, **overrides)
    validate(config, new_run=False)
    callbacks = Callbacks(config.callbacks)
    with locked(run_dir), signals_noted() as stop:
        return _resume(config, callbacks, run_dir, stop, called)


def _resume(config: Config, callbacks: Callbacks, run_dir: Path, stop: StopRequest, called: float) -> TrainResult:
    notes: list[str] = []
    resumed = checkpoint.latest(run_dir, warn=notes.append)
    past = read_run_state(resumed)
    over = _is_over(run_dir, past["env_steps"])
    if over and past["env_steps"] >= config.env_steps:
        raise UsageError(
            f"{run_dir} has taken {past['env_steps']:,} of its {config.env_steps:,} env-steps. "
            "Raise --env-steps to train on."
        )
    if over and 0 < config.wall_seconds <= past["wall_seconds"]:
        raise UsageError(
            f"{run_dir} has trained for {past['wall_seconds']:.0f} of {config.wall_seconds:.0f} seconds. "
            "Raise --wall-seconds to train on (0 = no limit)."
        )
    _start_processes_early(config)
    # policies that do not learn lie in the run's own checkpoints: where they came from may be gone
    plan = _plan(replace(config, players=frozen_from(config.players, resumed.path)))
    plan = replace(plan, config=config, start_env_steps=past["env_steps"])
    require_fit(plan, resumed)
    if config.league is not None:
        with restored(resumed, "the league in run.json"):
            rehearse(plan, past.get("league"))
    try:
        write_config(config, run_dir / "config.json")
    except OSError as error:
        notes.append(f"config.json keeps the settings of the sitting before: {error.strerror or error}.")
    return TrainResult(run_dir, sit(plan, callbacks, stop, called, resumed, notes))


def _is_over(run_dir: Path, env_steps: int) -> bool:
    """Whether the run has told its result after so many env-steps; one that was killed at its very end has not."""
    try:
        return json.loads((run_dir / "summary.json").read_bytes())["env_steps"] >= env_steps
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _refuse_reimport() -> None:
    """Every process of a run imports the script that started it; an unguarded call would run again there."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "train() was called while a process of a run imported your script: put the call under "
            '`if __name__ == "__main__":`.'
        )
    if (name := being_imported()) is not None:
        raise UsageError(f'{name} calls train() when it is imported: put the call under `if __name__ == "__main__":`.')


def _start_processes_early(config: Config) -> None:
    """Have the fork server import what is heavy while the environment is looked at."""
    if config.mode != "serial":
        fork_server()


def _plan(config: Config) -> RunPlan:
    env = load_spec(config)
    validate_for_env(config, env, resolve_workers(config))
    return make_plan(config, env)
