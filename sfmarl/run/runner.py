"""A run from its settings to its summary. Read top to bottom: prepare, wire, loop, finish.

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
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, default_run_dir
from sfmarl.envs.registry import load_spec
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.policy import JointPolicy, load_policy
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.segment import in_units
from sfmarl.monitor.console import Console
from sfmarl.monitor.event_log import EventLog, run_events
from sfmarl.monitor.metrics import MetricsWriter
from sfmarl.monitor.recorder import Recorder
from sfmarl.players import frozen_from
from sfmarl.run.build import publish_frozen
from sfmarl.run.callbacks import Callbacks
from sfmarl.run.crash import traceback_kept
from sfmarl.run.crew import Crew
from sfmarl.run.fork_server import fork_server
from sfmarl.run.initial import InitialPolicies, read_initial, require_fit, write_initial
from sfmarl.run.keeper import Judge
from sfmarl.run.league import League, rehearse
from sfmarl.run.memory_plan import shared_allocations, shared_bytes
from sfmarl.run.plan import RunPlan, make_plan, resolve_workers
from sfmarl.run.process_crew import ProcessCrew
from sfmarl.run.run_state import read_run_state, restored
from sfmarl.run.serial import SerialCrew
from sfmarl.run.stopping import StopRequest, signals_noted
from sfmarl.run.training import Training
from sfmarl.run.validate import validate
from sfmarl.run.validate_env import validate_for_env
from sfmarl.statistics import Interval
from sfmarl.storage import checkpoint
from sfmarl.storage.config_file import read_config, write_config
from sfmarl.storage.durable import replace_file
from sfmarl.storage.lock import locked, make_run_dir
from sfmarl.user_code import absolute, being_imported, import_user_code
from sfmarl.workers.faults import FILE as ENV_FAULTS_FILE


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
        return _run(plan, callbacks, stop, called, resumed=None, notes=notes, judge=judge)


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
    return _run(plan, callbacks, stop, called, resumed=resumed, notes=notes)


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


def _run(
    plan: RunPlan,
    callbacks: Callbacks,
    stop: StopRequest,
    called: float,
    resumed: checkpoint.Checkpoint | None,
    notes: list[str] | None = None,
    judge: Judge | None = None,
) -> TrainResult:
    """Wire the run and see it through; `called` is `time.monotonic()` when it was asked for."""
    config, run_dir = plan.config, plan.config.run_dir
    past = resumed.run_state if resumed else {}
    console = Console(config.env_steps, config.quiet)
    _announce(console, plan, resumed, notes or [])  # sizes are told before they are asked for
    plane = DataPlane.create(plan.plane)
    publish_frozen(plan, plane)
    words = plane.words()
    _restore_counters(words, past)

    recorder = Recorder(
        words,
        plan.env,
        [policy.name for policy in plan.policies],
        called,
        rollout=config.rollout,
        epochs=[getattr(learns.hp, "epochs", 1) for learns in plan.learning],
        past_seconds=past.get("wall_seconds", 0.0),
        local_inference=plan.local_inference,
    )
    with console:

        def warn(text: str) -> None:
            console.message(text, "warning")

        writer = MetricsWriter(run_dir, resume_step=past.get("env_steps"), warn=warn)
        events = EventLog(run_dir, warn)
        crew: Crew
        if config.mode == "serial":
            crew = SerialCrew(plan, plane, run_dir)
        else:
            crew = ProcessCrew(plan, plane, run_dir, events)
        league = None
        if config.league is not None:
            with restored(resumed, "the league in run.json") if resumed else nullcontext():
                league = League(plan, plane, past.get("league", {}), console.message, crew.reset)
        training = Training(plan, crew, recorder, writer, console, past, callbacks, stop, judge, league)
        with run_events(events, recorder, resumed is not None), traceback_kept(run_dir):
            try:
                stop.obey()
                summary = training.run()
            except KeyboardInterrupt:  # asked twice
                crew.stop(at_once=True)
                raise
            finally:
                crew.stop()
                writer.close()
            try:
                replace_file(run_dir / "summary.json", json.dumps(summary, indent=2).encode() + b"\n")
            except OSError as error:
                warn(f"summary.json could not be written: {error.strerror or error}.")
            callbacks.end(summary)
        console.message(_closing(summary, run_dir), "result")
    stop.obey()
    return TrainResult(run_dir, summary)


def _restore_counters(words: Any, past: dict[str, Any]) -> None:
    for role, totals in past.get("counts", {}).items():
        words.counts[role][0, : len(totals)] = totals  # counters that came later are at the end


def _announce(console: Console, plan: RunPlan, resumed: checkpoint.Checkpoint | None, notes: list[str]) -> None:
    config, spec = plan.config, plan.plane
    for note in notes:
        console.message(note, "warning")
    teams = ", ".join(f"{team.name} ({len(team.agents)} agents)" for team in plan.env.teams)
    algos = " + ".join(dict.fromkeys(learns.algo for learns in plan.learning))
    console.message(f"{algos} on {config.env}: {teams}; seed {config.seed}; {config.run_dir}")
    console.message(
        f"{config.mode}: {spec.workers} rollout workers x {config.num_envs_per_worker} envs, "
        f"{'local' if plan.local_inference else spec.inference_workers} inference, {spec.policies} learner, "
        f"device {plan.device}"
    )
    shared = ", ".join(map(str, shared_allocations(plan)))
    console.message(f"{in_units(shared_bytes(plan))} of shared memory: {shared}")
    if resumed:
        console.message(f"resumed from {resumed.path.name}")
    elif config.init_from:
        for policy, source in config.init_from.items():
            console.message(f"policy {policy} begins with {source}")


def _closing(summary: dict[str, Any], run_dir: Path) -> str:
    lines = [
        f"{summary['stopped_by']} after {summary['env_steps']:,} env-steps, {summary['agent_steps']:,} agent-steps, "
        f"{summary['wall_seconds']:.0f} s ({summary['agent_steps_per_second']:,.0f} agent-steps/s)"
    ]
    if faults := summary["env_faults"]:
        lines.append(f"environments failed {faults:,} times, and were replaced: {run_dir / ENV_FAULTS_FILE}")
    evaluation = summary["evaluation"]
    for team in evaluation["teams"].values() if evaluation else ():
        how = f"{evaluation['episodes']} episodes, greedy, {evaluation['env_version']}"
        lines.append(f"evaluation: {team['metric']}: {Interval.from_json(team)} ({how})")
    lines.append(f"{run_dir} (tensorboard --logdir {run_dir}; sfmarl evaluate {run_dir})")
    return "\n".join(lines)
