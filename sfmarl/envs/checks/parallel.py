"""Random play of environments whose agents act at once, for `sfmarl check-env`."""

from __future__ import annotations

import time

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.play import Play
from sfmarl.envs.probe import Probe
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.specs import EnvSpec, TeamSpec

NUM_ENVS = 4
"""Copies that are played side by side."""


def record_parallel(
    config: Config, spec: EnvSpec, found: Probe | None, seed: int, steps: int, deadline: float
) -> list[np.ndarray]:
    """Return observations and rewards of at most `steps` steps of one env with a fixed stream of actions.

    One array per step. No step is begun after `deadline` (`time.perf_counter`).
    """
    env = make_vector_env(config, 1, [seed], found=found)
    rng = np.random.default_rng(0)
    record: list[np.ndarray] = []
    try:
        rows = new_obs_rows(spec, 1)
        env.reset([0], rows)
        while len(record) < steps and time.perf_counter() < deadline:
            following, outcome = new_obs_rows(spec, 1), new_outcome_rows(spec, 1)
            ended = env.step(_random(spec, rows, rng), np.ones(1, bool), following, outcome)
            seen = [part.ravel() for row in rows for part in (row.obs, row.active)]
            record.append(np.concatenate([*seen, *(row.reward.ravel() for row in outcome)]))
            rows = following
            if ended[0]:
                env.reset([0], rows)
    finally:
        env.close()
    return record


def play_parallel(config: Config, spec: EnvSpec, found: Probe | None, max_seconds: float, max_episodes: int) -> Play:
    """Play `NUM_ENVS` copies at random until either limit is reached.

    A native environment (`found` is None) steps all copies of a split at once, and its speed depends on how many: there
    are as many as in a split of a run.
    """
    num_envs = NUM_ENVS if found is not None else max(1, config.num_envs_per_worker // config.num_splits)
    env = make_vector_env(config, num_envs, range(num_envs), found=found)
    play = Play.of(spec)
    rng = np.random.default_rng(1)
    running = np.ones(num_envs, bool)
    totals = [np.zeros((num_envs, len(team.agents))) for team in spec.teams]
    length = np.zeros(num_envs, int)
    deadline = time.perf_counter() + max_seconds
    try:
        rows = new_obs_rows(spec, num_envs)
        env.reset(range(num_envs), rows)
        while time.perf_counter() < deadline and len(play.lengths) < max_episodes:
            actions = _random(spec, rows, rng)
            following, outcome = new_obs_rows(spec, num_envs), new_outcome_rows(spec, num_envs)
            start = time.perf_counter()
            ended = env.step(actions, running, following, outcome)
            play.seconds += time.perf_counter() - start
            play.steps += num_envs
            play.agent_steps += sum(int(row.active.sum()) for row in rows)
            length += 1
            for team, total, row, new in zip(spec.teams, totals, outcome, following, strict=True):
                total += row.reward
                _note(play, team, row, new, ended)
            for e in np.flatnonzero(ended).tolist():
                play.lengths.append(int(length[e]))
                length[e] = 0
                for returns, total in zip(play.returns, totals, strict=True):
                    returns.append(total[e].copy())
                    total[e] = 0.0
            rows = following
            if ended.any():
                start = time.perf_counter()
                env.reset(np.flatnonzero(ended).tolist(), rows)
                play.seconds += time.perf_counter() - start
    finally:
        env.close()
    play.longest_open = int(length.max())
    return play


def _random(spec: EnvSpec, rows: list[ObsRows], rng: np.random.Generator) -> list[np.ndarray]:
    return [random_actions(t.action, r.active.shape, rng, r.action_mask) for t, r in zip(spec.teams, rows, strict=True)]


def _note(play: Play, team: TeamSpec, row: OutcomeRows, new: ObsRows, ended: np.ndarray) -> None:
    lasting = ~ended[:, None]
    play.terminated += int(row.terminated.sum())
    play.truncated += int(row.truncated.sum())
    play.deaths += int(((row.terminated | row.truncated) & lasting).sum())
    play.births += int((new.is_first & lasting).sum())
    if not np.isfinite(row.reward).all():
        play.nonfinite.add(f"rewards of team {team.name!r}")
    if np.issubdtype(new.obs.dtype, np.floating) and not np.isfinite(new.obs).all():
        play.nonfinite.add(f"observations of team {team.name!r}")
    if len(team.agents) > 1:
        if (np.ptp(row.reward, axis=1) > 0).any():
            play.unequal.add(team.name)
        if ((row.reward.min(axis=1) < 0) & (row.reward.max(axis=1) > 0) & (abs(row.reward.sum(axis=1)) < 1e-6)).any():
            play.opposed.add(team.name)
