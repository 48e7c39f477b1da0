"""The main loop: what the main process does while the crew works.

It consumes messages and shared counters, and decides by env-steps and seconds when to record and to stop; its
Keeper decides when to save and to evaluate. It never waits for one component alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import psutil

from sfmarl.envs.infos import parse_info_metrics
from sfmarl.errors import RunError
from sfmarl.monitor.console import Console
from sfmarl.monitor.episodes import Episodes
from sfmarl.monitor.growth import GrowthWatch
from sfmarl.monitor.metrics_writer import MetricsWriter
from sfmarl.monitor.record_files import Late
from sfmarl.monitor.recorder import Recorder
from sfmarl.monitor.system import SystemSampler
from sfmarl.run import league_report
from sfmarl.run.callbacks import Callbacks, Run
from sfmarl.run.crew import Crew, Message
from sfmarl.run.keeper import Judge, Keeper
from sfmarl.run.league import League
from sfmarl.run.league_board import Board
from sfmarl.run.plan import RunPlan
from sfmarl.run.stopping import StopRequest
from sfmarl.storage.checkpoint import checkpoint_paths
from sfmarl.versions import package_versions

POLL_SECONDS = 0.2

INFO_EPISODES = 100
"""After so many episodes an entry of the infos that never appeared is taken for a slip of the pen."""
OPPONENT_EPISODES = 20
"""Episodes with returns that are not all 0 from which agents that pay each other are taken for opponents."""


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
        callbacks: Callbacks,
        stop: StopRequest,
        judge: Judge | None = None,
        league: League | None = None,
    ) -> None:
        """`past` is the run state of the checkpoint that is resumed, empty for a new run; `judge` may stop the run."""
        self._plan, self._config = plan, plan.config
        self._crew, self._recorder, self._writer, self._console = crew, recorder, writer, console
        self._system = SystemSampler(plan.device)
        self._growth = GrowthWatch()
        self._callbacks = callbacks
        self._stop = stop
        self._league = league
        self._board: Board | None = None
        if league is not None:
            self._board = Board(self._config.run_dir, league.settings, past.get("env_steps"))
        self._run = Run(self._config, plan.env, recorder, console.message)
        self._keeper = Keeper(plan, crew, recorder, past, callbacks, console.message, self._warn, self._write, judge,
                              league)  # fmt: skip
        self._last_record = time.monotonic()
        self._unseen_infos = {metric.key for metric in parse_info_metrics(self._config.info_metrics)}
        self._watched_episodes = 0
        self._cancelling = {team.name: 0 for team in plan.env.teams if len(team.agents) > 1}
        self._start_steps = recorder.env_steps, recorder.agent_steps
        self._start_wall = recorder.wall_seconds

    def run(self) -> dict[str, Any]:
        """Start the crew, loop until the run is over, save, evaluate, and return the summary."""
        self._callbacks.start(self._run)
        try:
            self._crew.start()
            if not checkpoint_paths(self._config.run_dir):
                self._keeper.save_first(self._pump, self._stopped)
            while (reason := self._stop_reason()) is None:
                self._pump()
                self._keep_schedule()
            self._record()
            if self._league is not None:
                # what is saved is then what the league knows: no result comes after it
                self._hear(self._crew.drain())
            self._keeper.save_last(self._listen)
        except Exception:
            self._save_after_failure()
            raise
        finally:
            self._system.close()
        self._hear(self._crew.stop_training())
        self._record(last=True)
        return self._summary(reason)

    def _listen(self) -> None:
        self._hear(self._crew.poll(POLL_SECONDS))
        self._recorder.look()

    def _hear(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._handle(message)

    def _pump(self) -> None:
        self._listen()
        # not while a checkpoint is being written: a player's weights and its part in the league belong together
        if self._league is not None and not self._keeper.saving and self._league.look(self._recorder.env_steps):
            self._keeper.save_soon()

    def _stopped(self) -> bool:
        return self._stop.signal > 0

    def _stop_reason(self) -> str | None:
        config = self._config
        if self._stop.signal:
            return "interrupted"
        if self._recorder.env_steps >= config.env_steps:
            return "finished"
        if config.wall_seconds and self._recorder.wall_seconds >= config.wall_seconds:
            return "stopped by wall_seconds"
        if self._keeper.reached_score:
            return "stopped by stop_score"
        if self._run.stop_reason is not None:
            return f"stopped by a callback: {self._run.stop_reason}"
        return self._keeper.verdict

    def _handle(self, message: Message) -> None:
        match message.kind:
            case "episodes":
                episodes = self._recorder.episodes.add(*message.payload)
                self._watch_infos(episodes)
                self._watch_opponents(episodes)
                self._callbacks.episodes_ended(episodes)
                if self._league is not None:
                    self._league.episodes(episodes)
            case "update":
                self._recorder.learned(message.index, message.payload)
                self._callbacks.updated(self._plan.policies[message.index].name, message.payload)
            case "warning":
                self._warn(message.payload)
            case "saved":
                self._keeper.on_saved(message.index, *message.payload)
            case "evaluated":
                self._keeper.on_evaluated(*message.payload)

    def _watch_infos(self, episodes: Episodes) -> None:
        """Warn once of info_metrics that no info held in the first INFO_EPISODES episodes of this sitting."""
        if not self._unseen_infos:
            return
        self._unseen_infos -= {key for key, values in episodes.infos.items() if not np.isnan(values).all()}
        self._watched_episodes += len(episodes.lengths)
        if self._unseen_infos and self._watched_episodes >= INFO_EPISODES:
            names = ", ".join(map(repr, sorted(self._unseen_infos)))
            self._warn(f"info_metrics: no agent's info held {names} in {self._watched_episodes} episodes.")
            self._unseen_infos = set()

    def _watch_opponents(self, episodes: Episodes) -> None:
        """Warn once of a team whose agents' returns cancel out in every one of its first OPPONENT_EPISODES."""
        for team in list(self._cancelling):
            returns = episodes.returns_of(team)
            if (np.abs(returns.sum(axis=1)) > 1e-6 * (1 + np.abs(returns).max(axis=1, initial=0.0))).any():
                del self._cancelling[team]
                continue
            self._cancelling[team] += int(returns.any(axis=1).sum())
            if self._cancelling[team] >= OPPONENT_EPISODES:
                self._warn(
                    f"team {team!r}: its agents' returns cancel out in every episode. Opponents need teams of their "
                    "own (--teams each); one policy may still play them all (--policies AGENT=NAME OTHER=NAME)."
                )
                del self._cancelling[team]

    def _warn(self, text: str) -> None:
        self._console.message(text, "warning")

    def _keep_schedule(self) -> None:
        now = time.monotonic()
        if now - self._last_record >= self._config.log_seconds:
            self._last_record = now
            self._record()
        self._keeper.keep_schedule()

    def _record(self, last: bool = False) -> None:
        scalars = self._recorder.record() | self._system.sample(self._crew.pids())
        self._watch_memory()
        if self._league is not None:
            scalars |= league_report.scalars(self._league)
        scalars |= self._callbacks.record(scalars)
        recorder = self._recorder
        late = None if self._board is None else self._board.look(self._league, recorder.env_steps, last)
        self._write(
            scalars,
            {
                "env_steps": recorder.env_steps,
                "agent_steps": recorder.agent_steps,
                "wall_seconds": recorder.wall_seconds,
            },
            late,
        )
        self._console.update(self._recorder.view())

    def _watch_memory(self) -> None:
        """Tell what grows, and replace rollout workers that have grown too large."""
        memory, limit = self._system.memory, self._config.max_worker_gib
        for growth in self._growth.look(time.monotonic(), memory):
            self._warn(growth.sentence(self._system.name(growth.pid), psutil.virtual_memory().available))
        for pid, size in memory.items() if limit else ():
            if size > limit * 2**30:
                self._crew.replace(pid, f"had grown to {size / 2**30:.2f} GiB (--max-worker-gib)")

    def _write(self, scalars: dict[str, float], state: dict[str, Any], late: Callable[[], Late] | None = None) -> None:
        self._writer.write(
            scalars,
            env_steps=state["env_steps"],
            agent_steps=state["agent_steps"],
            wall_seconds=state["wall_seconds"],
            late=late,
        )

    def _save_after_failure(self) -> None:
        """Keep what was learned since the last checkpoint, if the learners still answer."""
        self._league = None  # results that it cannot read are no reason to lose what was learned; it is saved as it is
        with contextlib.suppress(RunError):  # the first failure is told; the checkpoint before it stands
            self._keeper.save_last(self._pump)

    def _summary(self, reason: str) -> dict[str, Any]:
        config, recorder = self._config, self._recorder
        seconds = max(recorder.wall_seconds - self._start_wall, 1e-9)
        judged = self._keeper.verdict is not None
        evaluation = None
        if not judged:
            evaluation = self._keeper.final_evaluation(self._listen, self._stopped)
        best, saved = self._keeper.best, self._keeper.saved
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
            "env_faults": recorder.env_faults,
            "wall_seconds": self._start_wall + seconds,
            "agent_steps_per_second": (recorder.agent_steps - self._start_steps[1]) / seconds,
            "env_steps_per_second": (recorder.env_steps - self._start_steps[0]) / seconds,
            "evaluation": None if evaluation is None else evaluation.to_json(),
            "best": None
            if best is None
            else {"checkpoint": best.checkpoint, "score": best.score, "metric": best.metric},
            "checkpoint": None if saved is None else saved.name,
            "versions": package_versions(),
        }
