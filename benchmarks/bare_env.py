"""The environments alone, with actions prepared beforehand: the first piece of the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.registry import is_native, make_env, make_envs
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import ObsRows, VectorEnv
from sfmarl.envs.vector_turns import TurnVectorEnv

PREPARED = 64
"""Joint actions, or turn-based episodes, drawn beforehand, so that drawing costs the environment nothing."""
PREPARED_TURNS = 512
"""Turns of each copy of a native game that are drawn beforehand; then every copy begins anew."""

Bare = Callable[[], int]
"""Does a piece of work once and returns how many agent-steps that was."""


def env_work(config: Config, num_envs: int, seed: int) -> Bare:
    """Return one step of `num_envs` environments with prepared random legal actions, resets included, nothing recorded.

    Raises ValueError for an environment whose legal actions cannot be known beforehand.
    """
    rng = np.random.default_rng(seed)
    seeds = [seed * num_envs + e for e in range(num_envs)]
    if is_native(config.env):
        env = make_envs(config, num_envs, seeds)
        return _native_turns_work(env, rng) if isinstance(env, TurnVectorEnv) else _native_work(env, rng)
    envs = [make_env(config) for _ in seeds]
    turn_based = hasattr(envs[0], "agent_iter")
    return _turns_work(envs, rng) if turn_based else _dict_work(envs, seeds, rng)


def _dict_work(envs: Sequence[Any], seeds: Sequence[int], rng: np.random.Generator) -> Bare:
    agents, prepared = envs[0].possible_agents, []
    for env, seed in zip(envs, seeds, strict=True):
        observations, _ = env.reset(seed=seed)
        masked = isinstance(observations[agents[0]], dict)
        prepared.append(_legal_episode(env, observations, rng) if masked else _joint_actions(env, rng))
    place = [0] * len(envs)

    def work() -> int:
        for e, env in enumerate(envs):
            moves = prepared[e]
            env.step(moves[place[e] % len(moves)])
            place[e] += 1
            if not env.agents:
                env.reset()
                place[e] = 0 if masked else place[e]
        return len(envs) * len(agents)

    return work


def _joint_actions(env: Any, rng: np.random.Generator) -> list[dict[Any, int]]:
    return [
        {agent: int(rng.integers(env.action_space(agent).n)) for agent in env.possible_agents} for _ in range(PREPARED)
    ]


def _legal_episode(env: Any, observations: dict[Any, Any], rng: np.random.Generator) -> list[dict[Any, int]]:
    """Return the joint actions of one episode, which is legal again and again if the masks do not change."""

    def masks(seen: dict[Any, Any]) -> np.ndarray:
        return np.stack([seen[agent]["action_mask"] for agent in env.possible_agents])

    episode, offered = [], []
    while env.agents:
        offered.append(masks(observations))
        episode.append({a: int(rng.choice(np.flatnonzero(m))) for a, m in zip(env.agents, offered[-1], strict=True)})
        observations = env.step(episode[-1])[0]
    observations, _ = env.reset()
    for moves, before in zip(episode, offered, strict=True):
        if not np.array_equal(masks(observations), before):
            raise ValueError("what is legal changes from episode to episode: no actions can be prepared")
        observations = env.step(moves)[0]
    env.reset()
    return episode


def _turns_work(envs: Sequence[Any], rng: np.random.Generator) -> Bare:
    """Turn by turn; what PettingZoo's own loop asks for is `last()` before every `step()`."""
    episodes = [_episode(envs[0], seed, rng) for seed in range(PREPARED)]
    numbers, moves = [], []
    for e, env in enumerate(envs):
        numbers.append(e % PREPARED)
        env.reset(seed=numbers[e])
        moves.append(iter(episodes[numbers[e]]))

    def work() -> int:
        done = 0
        for e, env in enumerate(envs):
            action = next(moves[e], -1)
            if action == -1:
                numbers[e] = (numbers[e] + 1) % PREPARED
                env.reset(seed=numbers[e])
                moves[e] = iter(episodes[numbers[e]])
                action = next(moves[e])
            env.last()
            env.step(action)
            done += action is not None
        return done

    return work


def _episode(env: Any, seed: int, rng: np.random.Generator) -> list[int | None]:
    """Return the actions of one random legal episode up to its last choice; None of an agent that is out."""
    env.reset(seed=seed)
    actions: list[int | None] = []
    while env.agents and not all(env.terminations[a] or env.truncations[a] for a in env.agents):
        seen, _, terminated, truncated, _ = env.last()
        if terminated or truncated:
            actions.append(None)
        elif isinstance(seen, dict):
            actions.append(int(rng.choice(np.flatnonzero(seen["action_mask"]))))
        else:
            actions.append(int(rng.integers(env.action_space(env.agent_selection).n)))
        env.step(actions[-1])
    return actions


def _native_work(env: VectorEnv, rng: np.random.Generator) -> Bare:
    spec, count = env.spec, env.num_envs
    if any(team.has_mask for team in spec.teams):
        raise ValueError(f"{spec.env} steps many copies at once with masks: no actions can be prepared")
    rows, outcome, running = new_obs_rows(spec, count), new_outcome_rows(spec, count), np.ones(count, bool)
    prepared = [
        [random_actions(team.action, (count, len(team.agents)), rng) for team in spec.teams] for _ in range(PREPARED)
    ]
    env.reset(range(count), rows)
    step = 0

    def work() -> int:
        nonlocal step
        ended = env.step(prepared[step % PREPARED], running, rows, outcome)
        if ended.any():
            env.reset(np.flatnonzero(ended).tolist(), rows)
        step += 1
        return count * spec.num_agents

    return work


def _native_turns_work(env: TurnVectorEnv, rng: np.random.Generator) -> Bare:
    """One turn in every copy, and what the next mover sees; after `PREPARED_TURNS` all copies begin anew."""
    everywhere, rows = np.arange(env.num_envs), new_obs_rows(env.spec, env.num_envs)
    offered: list[list[np.ndarray]] = []
    prepared: list[np.ndarray] = []
    for replayed in (False, True):
        env.reset(everywhere)
        for turn in range(PREPARED_TURNS):
            seen = _observe_movers(env, rows)
            masks = [mask for _, _, mask in seen if mask is not None]
            if replayed:
                if not all(map(np.array_equal, masks, offered[turn])):
                    raise ValueError(f"{env.spec.env}: legal moves differ from game to game: none can be prepared")
            else:
                offered.append([mask.copy() for mask in masks])
                action = env.spec.teams[0].action
                actions = np.zeros((env.num_envs, *action.shape), action.dtype)
                for seat, movers, mask in seen:
                    own = env.spec.teams[seat].action
                    actions[movers] = random_actions(own, (len(movers),), rng, mask)
                prepared.append(actions)
            _take_turns(env, everywhere, prepared[turn])
    step = 0

    def work() -> int:
        nonlocal step
        if step == 0:
            env.reset(everywhere)
        _observe_movers(env, rows)
        _take_turns(env, everywhere, prepared[step])
        step = (step + 1) % PREPARED_TURNS
        return env.num_envs

    return work


def _observe_movers(env: TurnVectorEnv, rows: Sequence[ObsRows]) -> list[tuple[int, np.ndarray, np.ndarray | None]]:
    """Write what every mover sees; return (seat, its copies, masks [n, k]) of the seats that are to move."""
    seen = []
    for seat, row in enumerate(rows):
        movers = np.flatnonzero(env.seat == seat)
        if movers.size:
            n = movers.size
            mask = None if row.action_mask is None else row.action_mask[:n, 0]
            env.observe(seat, movers, row.obs[:n, 0], mask, None if row.state is None else row.state[:n])
            seen.append((seat, movers, mask))
    return seen


def _take_turns(env: TurnVectorEnv, everywhere: np.ndarray, actions: np.ndarray) -> None:
    outcome = env.act(everywhere, actions)
    over = outcome.terminated | outcome.truncated
    if over.any():
        env.reset(np.flatnonzero(over))
