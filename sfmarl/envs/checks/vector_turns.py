"""Random play of games that are stepped together, for `sfmarl check-env`."""

from __future__ import annotations

import time

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.play import Play
from sfmarl.envs.registry import make_envs
from sfmarl.envs.rows import new_obs_rows, random_actions
from sfmarl.envs.vector import ObsRows
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.specs import EnvSpec


def play_vector_turns(config: Config, spec: EnvSpec, max_seconds: float, max_episodes: int) -> Play:
    """Play as many copies as a split of a run has, because speed depends on how many, until either limit is reached."""
    num_envs = max(1, config.num_envs_per_worker // config.num_splits)
    env = make_envs(config, num_envs, range(num_envs))
    rows, play, rng = new_obs_rows(spec, num_envs), Play.of(spec), np.random.default_rng(1)
    totals, acted = np.zeros((num_envs, len(spec.teams))), np.zeros((num_envs, len(spec.teams)), bool)
    length = np.zeros(num_envs, int)
    everywhere = np.arange(num_envs)
    deadline = time.perf_counter() + max_seconds
    try:
        env.reset(everywhere)
        while len(play.lengths) < max_episodes and time.perf_counter() < deadline:
            acted[everywhere, env.seat] = True
            actions = _moves(env, spec, rows, play, rng)
            start = time.perf_counter()
            outcome = env.act(everywhere, actions)
            play.seconds += time.perf_counter() - start
            play.steps += num_envs
            play.agent_steps += num_envs
            totals += outcome.reward
            length += 1
            for seat in np.flatnonzero(~np.isfinite(outcome.reward).all(axis=0)):
                play.nonfinite.add(f"rewards of team {spec.teams[seat].name!r}")
            over = np.flatnonzero(outcome.terminated | outcome.truncated)
            play.terminated += int(outcome.terminated.sum()) * len(spec.teams)
            play.truncated += int(outcome.truncated.sum()) * len(spec.teams)
            for e in over.tolist():
                _finish(spec, play, totals[e], acted[e], int(length[e]))
            if over.size:
                totals[over] = length[over] = acted[over] = 0
                start = time.perf_counter()
                env.reset(over)
                play.seconds += time.perf_counter() - start
    finally:
        env.close()
    play.longest_open = int(length.max())
    return play


def _moves(env: TurnVectorEnv, spec: EnvSpec, rows: list[ObsRows], play: Play, rng: np.random.Generator) -> np.ndarray:
    """Let every mover look; return a random legal move for each copy, [E, *action]."""
    action = spec.teams[0].action
    moves = np.zeros((env.num_envs, *action.shape), action.dtype)
    for seat, (team, row) in enumerate(zip(spec.teams, rows, strict=True)):
        movers = np.flatnonzero(env.seat == seat)
        if not movers.size:
            continue
        n = movers.size
        obs, mask = row.obs[:n, 0], None if row.action_mask is None else row.action_mask[:n, 0]
        start = time.perf_counter()
        env.observe(seat, movers, obs, mask, None if row.state is None else row.state[:n])
        play.seconds += time.perf_counter() - start
        if np.issubdtype(obs.dtype, np.floating) and not np.isfinite(obs).all():
            play.nonfinite.add(f"observations of team {team.name!r}")
        moves[movers] = random_actions(team.action, (n,), rng, mask)
    return moves


def _finish(spec: EnvSpec, play: Play, returns: np.ndarray, acted: np.ndarray, length: int) -> None:
    play.lengths.append(length)
    for index, team in enumerate(spec.teams):
        play.returns[index].append(returns[index : index + 1].copy())
        if not acted[index]:
            agent = str(team.agents[0])
            play.silent[agent] = play.silent.get(agent, 0) + 1
