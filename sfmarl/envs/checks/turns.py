"""Random play of turn-based environments, for `sfmarl check-env`."""

from __future__ import annotations

import time

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.play import Play
from sfmarl.envs.probe import Probe
from sfmarl.envs.registry import make_turn_envs
from sfmarl.envs.rows import new_obs_rows, random_actions
from sfmarl.envs.turns import Turn, TurnEnv
from sfmarl.envs.vector import ObsRows
from sfmarl.specs import EnvSpec


class _Table:
    """One environment, one row to observe into, and random moves."""

    def __init__(self, env: TurnEnv, spec: EnvSpec, seed: int) -> None:
        self.env, self._spec = env, spec
        self._rows: list[ObsRows] = new_obs_rows(spec, 1)
        self._rng = np.random.default_rng(seed)

    def observe(self, turn: Turn) -> np.ndarray:
        """Return the mover's observation [*obs]."""
        row = self._rows[turn.seat]
        mask = None if row.action_mask is None else row.action_mask[0, turn.agent]
        self.env.observe(row.obs[0, turn.agent], mask, None if row.state is None else row.state[0])
        return row.obs[0, turn.agent]

    def move(self, turn: Turn) -> None:
        """Make a random legal move with the mover that was observed last."""
        row = self._rows[turn.seat]
        mask = None if row.action_mask is None else row.action_mask[:, turn.agent : turn.agent + 1]
        action = random_actions(self._spec.teams[turn.seat].action, (1, 1), self._rng, mask)
        self.env.act(action[0, 0])


def record_turns(
    config: Config, spec: EnvSpec, found: Probe | None, seed: int, steps: int, deadline: float
) -> list[np.ndarray]:
    """Return movers, rewards and observations of at most `steps` turns of one env with a fixed stream of actions.

    One array per turn. No turn is begun after `deadline` (`time.perf_counter`).
    """
    (env,) = make_turn_envs(config, 1, found)
    table = _Table(env, spec, 0)
    record: list[np.ndarray] = []
    try:
        env.reset(seed)
        while len(record) < steps and time.perf_counter() < deadline:
            turn = env.turn()
            if turn is None:
                env.reset()
                continue
            said = np.array(turn, np.float64)
            if turn.terminated or turn.truncated:
                record.append(said)
                env.act(None)
                continue
            record.append(np.concatenate([said, table.observe(turn).ravel()]))
            table.move(turn)
    finally:
        env.close()
    return record


def play_turns(config: Config, spec: EnvSpec, found: Probe | None, max_seconds: float, max_episodes: int) -> Play:
    """Play one environment at random until either limit is reached."""
    (env,) = make_turn_envs(config, 1, found)
    table, play = _Table(env, spec, 1), Play.of(spec)
    deadline = time.perf_counter() + max_seconds
    try:
        seed: int | None = 0
        while len(play.lengths) < max_episodes and time.perf_counter() < deadline:
            start = time.perf_counter()
            env.reset(seed)
            play.seconds += time.perf_counter() - start
            seed = None
            _episode(table, spec, play, deadline)
    finally:
        env.close()
    return play


def _episode(table: _Table, spec: EnvSpec, play: Play, deadline: float) -> None:
    """Play one episode, unless the time is over before it is."""
    env = table.env
    returns = [np.zeros(len(team.agents)) for team in spec.teams]
    acted = [np.zeros(len(team.agents), bool) for team in spec.teams]
    gone: set[tuple[int, int]] = set()
    left = length = 0
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        turn = env.turn()
        play.seconds += time.perf_counter() - start
        if turn is None:
            play.longest_open = 0
            _finish(spec, play, returns, acted, length)
            return
        team, who = spec.teams[turn.seat], (turn.seat, turn.agent)
        returns[turn.seat][turn.agent] += turn.reward
        if not np.isfinite(turn.reward):
            play.nonfinite.add(f"rewards of team {team.name!r}")
        if turn.terminated or turn.truncated:
            play.terminated += turn.terminated
            play.truncated += turn.truncated
            gone.add(who)
            left += 1
            env.act(None)
            continue
        if who in gone:
            gone.discard(who)
            play.births += 1
        # whoever left before somebody acted again died within the episode
        play.deaths, left = play.deaths + left, 0
        start = time.perf_counter()
        seen = table.observe(turn)
        table.move(turn)
        play.seconds += time.perf_counter() - start
        if np.issubdtype(seen.dtype, np.floating) and not np.isfinite(seen).all():
            play.nonfinite.add(f"observations of team {team.name!r}")
        acted[turn.seat][turn.agent] = True
        length += 1
        play.steps += 1
        play.agent_steps += 1
        play.longest_open = length


def _finish(spec: EnvSpec, play: Play, returns: list[np.ndarray], acted: list[np.ndarray], length: int) -> None:
    play.lengths.append(length)
    for index, team in enumerate(spec.teams):
        own = returns[index]
        play.returns[index].append(own)
        if np.ptp(own) > 0:
            play.unequal.add(team.name)
            if own.min() < 0 < own.max() and abs(own.sum()) < 1e-6:
                play.opposed.add(team.name)
        for agent, moved in zip(team.agents, acted[index], strict=True):
            if not moved:
                play.silent[str(agent)] = play.silent.get(str(agent), 0) + 1
