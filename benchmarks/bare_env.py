"""The environments alone, with actions prepared beforehand: the first piece of the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.registry import is_native, make_env, make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions

PREPARED = 64
"""Joint actions, or turn-based episodes, drawn beforehand, so that drawing costs the environment nothing."""

Bare = Callable[[], int]
"""Does a piece of work once and returns how many agent-steps that was."""


def env_work(config: Config, num_envs: int, seed: int) -> Bare:
    """Return one step of `num_envs` environments with prepared random legal actions, resets included, nothing recorded.

    Raises ValueError for an environment whose legal actions cannot be known beforehand.
    """
    rng = np.random.default_rng(seed)
    seeds = [seed * num_envs + e for e in range(num_envs)]
    if is_native(config.env):
        return _native_work(config, seeds, rng)
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


def _native_work(config: Config, seeds: Sequence[int], rng: np.random.Generator) -> Bare:
    env = make_vector_env(config, len(seeds), seeds)
    spec, running = env.spec, np.ones(len(seeds), bool)
    if any(team.has_mask for team in spec.teams):
        raise ValueError(f"{config.env} steps many copies at once with masks: no actions can be prepared")
    rows, outcome = new_obs_rows(spec, len(seeds)), new_outcome_rows(spec, len(seeds))
    prepared = [
        [random_actions(team.action, (len(seeds), len(team.agents)), rng) for team in spec.teams]
        for _ in range(PREPARED)
    ]
    env.reset(range(len(seeds)), rows)
    step = 0

    def work() -> int:
        nonlocal step
        ended = env.step(prepared[step % PREPARED], running, rows, outcome)
        if ended.any():
            env.reset(np.flatnonzero(ended).tolist(), rows)
        step += 1
        return len(seeds) * spec.num_agents

    return work
