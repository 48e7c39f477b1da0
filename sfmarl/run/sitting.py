"""One sitting of a run, from its plan to its summary: wire its parts, loop, finish."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sfmarl.memory.plane import DataPlane
from sfmarl.memory.segment import in_units
from sfmarl.memory.words import Words
from sfmarl.monitor.console import Console
from sfmarl.monitor.event_log import EventLog, run_events
from sfmarl.monitor.metrics_writer import MetricsWriter
from sfmarl.monitor.recorder import Recorder
from sfmarl.run.build import publish_frozen
from sfmarl.run.callbacks import Callbacks
from sfmarl.run.crash import traceback_kept
from sfmarl.run.crew import Crew
from sfmarl.run.keeper import Judge
from sfmarl.run.league import League
from sfmarl.run.memory_plan import shared_allocations, shared_bytes
from sfmarl.run.plan import RunPlan
from sfmarl.run.process_crew import ProcessCrew
from sfmarl.run.run_state import restored
from sfmarl.run.serial import SerialCrew
from sfmarl.run.stopping import StopRequest
from sfmarl.run.training import Training
from sfmarl.statistics import Interval
from sfmarl.storage.checkpoint import Checkpoint
from sfmarl.storage.durable import replace_file
from sfmarl.workers.faults import FILE as ENV_FAULTS_FILE


def sit(
    plan: RunPlan,
    callbacks: Callbacks,
    stop: StopRequest,
    called: float,
    resumed: Checkpoint | None,
    notes: list[str] | None = None,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Train until the run is over or is asked to end, and return what `summary.json` holds.

    `called` is `time.monotonic()` when the run was asked for, `notes` are warnings for its first lines. Raises RunError
    when the run fails, with its latest checkpoint on disk; KeyboardInterrupt when it was asked to end, likewise.
    """
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
    return summary


def _restore_counters(words: Words, past: dict[str, Any]) -> None:
    for role, totals in past.get("counts", {}).items():
        words.counts[role][0, : len(totals)] = totals  # counters that came later are at the end


def _announce(console: Console, plan: RunPlan, resumed: Checkpoint | None, notes: list[str]) -> None:
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
