"""From counters and messages to records: what the run writes to its metrics files and shows on the console."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from sfmarl.memory.words import (
    INFERENCE_COUNTS,
    INFERENCE_TIMES,
    LEARNER_COUNTS,
    LEARNER_TIMES,
    ROLLOUT_COUNTS,
    ROLLOUT_TIMES,
    Words,
)
from sfmarl.monitor.breakdown import Breakdown, break_down
from sfmarl.monitor.console import RunView
from sfmarl.monitor.episodes import EpisodeStats
from sfmarl.specs import EnvSpec

_TIMES = {"rollout": ROLLOUT_TIMES, "inference": INFERENCE_TIMES, "learner": LEARNER_TIMES}
_COUNTS = {"rollout": ROLLOUT_COUNTS, "inference": INFERENCE_COUNTS, "learner": LEARNER_COUNTS}

Totals = dict[str, dict[str, float]]
"""Role -> counter or category -> sum over the role's processes."""


class Recorder:
    """Differences of the shared counters between two records, and the newest news of each learner."""

    def __init__(
        self,
        words: Words,
        env: EnvSpec,
        policies: Sequence[str],
        called: float,
        rollout: int,
        epochs: Sequence[float],
        past_seconds: float,
        local_inference: bool = False,
    ) -> None:
        """`rollout` is T, `epochs` each policy's passes over a sample, `past_seconds` its time before a resume.

        With `local_inference` rollout workers compute their actions themselves.
        """
        self.episodes = EpisodeStats(
            env, episodes=int(words.counts["rollout"][:, ROLLOUT_COUNTS.index("episodes")].sum())
        )
        self.evaluation = ""
        """The latest evaluation in words."""
        self.bottleneck = Breakdown({}, "", "")
        """Of the newest record."""
        self._rates = 0.0, 0.0
        # time.monotonic(), env-steps and agent-steps of the last record, before it of the first sight of progress:
        # the console's rates and its ETA leave the start of the processes out
        self._shown_from: tuple[float, int, int] | None = None
        self._words = words
        self._policies = policies
        self._rollout = rollout
        self._local_inference = local_inference
        self._epochs = np.array(epochs, float)
        self._learned = self._learned_steps()
        # by time.monotonic(): when the run was asked for
        self._called = called
        self._updates = self._updates_made()
        self._first_update: float | None = None
        self._past_seconds = past_seconds
        self._start = self._last = time.monotonic()
        self._counts, self._times = self._read()
        self._learner: dict[str, dict[str, float]] = {}

    def _read(self) -> tuple[Totals, Totals]:
        def totals(arrays: Mapping[str, np.ndarray], names: Mapping[str, tuple[str, ...]]) -> Totals:
            return {
                role: dict(zip(of_role, arrays[role].sum(axis=0).tolist(), strict=True))
                for role, of_role in names.items()
            }

        return totals(self._words.counts, _COUNTS), totals(self._words.times, _TIMES)

    @property
    def env_steps(self) -> int:
        """Environment steps since the start of the run."""
        return int(self._words.counts["rollout"][:, ROLLOUT_COUNTS.index("env_steps")].sum())

    @property
    def agent_steps(self) -> int:
        """Valid actions of live learning agents since the start of the run."""
        return int(self._words.counts["rollout"][:, ROLLOUT_COUNTS.index("agent_steps")].sum())

    @property
    def env_faults(self) -> int:
        """Failures of environments since the start of the run."""
        return int(self._words.counts["rollout"][:, ROLLOUT_COUNTS.index("env_faults")].sum())

    @property
    def wall_seconds(self) -> float:
        """Seconds of training since the start of the run, earlier sittings included."""
        return self._past_seconds + time.monotonic() - self._start

    def _learned_steps(self) -> np.ndarray:
        return self._words.counts["learner"][:, LEARNER_COUNTS.index("agent_steps")].copy()

    def _updates_made(self) -> np.ndarray:
        return self._words.counts["learner"][:, LEARNER_COUNTS.index("updates")].copy()

    def look(self) -> None:
        """Take note of the times of the first steps and of every policy's first update; called often."""
        if self._shown_from is None and self.env_steps > self._counts["rollout"]["env_steps"]:
            self._shown_from = time.monotonic(), self.env_steps, self.agent_steps
        if self._first_update is None and (self._updates_made() > self._updates).all():
            self._first_update = time.monotonic() - self._called

    def _passes(self) -> float:
        """Return the samples learned from since the last record, once per epoch."""
        before, self._learned = self._learned, self._learned_steps()
        return float((self._learned - before) @ self._epochs)

    def learned(self, policy: int, metrics: dict[str, float]) -> None:
        """Take note of a learner's update metrics (means since its last report)."""
        self._learner[self._policies[policy]] = metrics

    def record(self) -> dict[str, float]:
        """Return the scalars since the last record (names in `metrics.METRICS`) and start the next one."""
        now = time.monotonic()
        seconds, self._last = max(now - self._last, 1e-9), now
        counts, times = self._read()

        def grown(old: Totals, new: Totals) -> Totals:
            return {role: {name: new[role][name] - old[role][name] for name in new[role]} for role in new}

        count, spent = grown(self._counts, counts), grown(self._times, times)
        self._counts, self._times = counts, times
        self.bottleneck = break_down(spent, self._local_inference)
        rollout, inference, learner = count["rollout"], count["inference"], count["learner"]
        scalars = {
            "throughput/agent_steps_per_second": rollout["agent_steps"] / seconds,
            "throughput/env_steps_per_second": rollout["env_steps"] / seconds,
            "throughput/updates_per_second": learner["updates"] / seconds,
            "throughput/samples_times_epochs_per_second": self._passes() / seconds,
            "learner/dropped_slots": learner["dropped_slots"],
            "env/faults": counts["rollout"]["env_faults"],
            **self.bottleneck.scalars(),
            **self.episodes.collect(),
        }
        if self._shown_from is not None:
            self._rates = self._rates_since(*self._shown_from)
            self._shown_from = now, self.env_steps, self.agent_steps
        if self._first_update is not None:
            scalars["startup/first_update_seconds"] = self._first_update
        if inference["forwards"]:
            scalars["inference/batch_rows"] = inference["rows"] / inference["forwards"]
        if learner["rows"]:
            scalars["learner/valid_fraction"] = learner["agent_steps"] / learner["rows"]
        if steps := rollout["split_steps"]:
            scalars["queue/actions_wait_milliseconds"] = 1e3 * spent["rollout"]["wait_actions"] / steps
            scalars["queue/slots_wait_milliseconds"] = 1e3 * spent["rollout"]["wait_slots"] / (steps / self._rollout)
        for policy, metrics in self._learner.items():
            scalars |= {f"learner/{policy}/{name}": x for name, x in metrics.items() if not name.startswith("lag_")}
        if lag := self._lag():
            scalars |= dict(zip(("policy_lag/min", "policy_lag/mean", "policy_lag/max"), lag, strict=True))
        return scalars

    def _rates_since(self, time_before: float, env_steps: int, agent_steps: int) -> tuple[float, float]:
        """Return agent-steps and env-steps per second since then."""
        seconds = max(time.monotonic() - time_before, 1e-9)
        return (self.agent_steps - agent_steps) / seconds, (self.env_steps - env_steps) / seconds

    def _lag(self) -> tuple[float, float, float] | None:
        lags = [metrics for metrics in self._learner.values() if "lag_mean" in metrics]
        if not lags:
            return None
        mean = sum(metrics["lag_mean"] for metrics in lags) / len(lags)
        return min(m["lag_min"] for m in lags), mean, max(m["lag_max"] for m in lags)

    def view(self) -> RunView:
        """Return what the console shows now."""
        agent_steps, env_steps = self._rates
        return RunView(
            env_steps=self.env_steps,
            wall_seconds=self.wall_seconds,
            env_steps_per_second=env_steps,
            agent_steps_per_second=agent_steps,
            episodes=self.episodes.episodes,
            returns=self.episodes.recent(),
            evaluation=self.evaluation,
            learner=self._learner,
            policy_lag=self._lag(),
            fractions=self.bottleneck.fractions,
            bottleneck=self.bottleneck.sentence,
        )
