"""Looks at a live AECEnv for a few turns and says what it is: teams, spaces, masks, global state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sfmarl.envs.probe import (
    PROBE_SEEDS,
    PROBE_STEPS,
    Probe,
    StateWatch,
    detect_info_masks,
    judge_state,
    possible_agents,
    random_move,
    require_unchanged,
    spaces_by_agent,
    team_codecs,
    team_specs,
    watch_state,
)
from sfmarl.envs.teams import split_teams
from sfmarl.errors import UsageError
from sfmarl.specs import EnvSpec


def probe_turns(env: Any, name: str, teams: str = "auto") -> Probe:
    """Play a few random turns in the AECEnv `env`, which is left in the middle of an episode.

    `auto` makes every agent a team of its own: who takes turns is more often an opponent than a partner.
    Raises UsageError like `probe`.
    """
    _call(name, "reset", lambda: env.reset(seed=PROBE_SEEDS[0]))
    agents = possible_agents(env, name)
    observation_spaces, action_spaces = spaces_by_agent(env, name, agents)
    split = split_teams(agents, observation_spaces, action_spaces, "each" if teams == "auto" else teams)
    codecs = team_codecs(name, split, observation_spaces, action_spaces)
    rng = np.random.default_rng(PROBE_SEEDS[0])
    team_of = {agent: team for team, members in split.items() for agent in members}
    watch = StateWatch(joint=False)
    for seed in PROBE_SEEDS:
        if seed != PROBE_SEEDS[0]:
            _call(name, "reset", lambda seed=seed: env.reset(seed=seed))
            require_unchanged(env, name, agents, observation_spaces, action_spaces)
        for _ in range(PROBE_STEPS * len(agents)):
            if not env.agents:
                break
            agent, (raw, _, terminated, truncated, info) = _last(env, name)
            if agent not in team_of:
                raise UsageError(f"{name}: it is the turn of {agent!r}, which is not in `possible_agents` {agents}")
            move = None
            if not (terminated or truncated):
                detect_info_masks(codecs, team_of, {agent: info})
                watch_state(env, name, watch, codecs, split, {agent: raw})
                move = random_move(name, agent, codecs[team_of[agent]], raw, info, rng)
            _call(name, "step", lambda move=move: env.step(move))
    state_shape, _, notes = judge_state(watch)
    spec = EnvSpec(name, team_specs(split, codecs), turn_based=True, state_shape=state_shape)
    return Probe(spec, tuple(codecs.values()), notes)


def _last(env: Any, name: str) -> tuple[Any, tuple]:
    """Return whose turn it is and what `last()` says of it."""
    answer = _call(name, "last", env.last)
    if not isinstance(answer, tuple) or len(answer) != 5:
        raise UsageError(
            f"{name}: last() must return (observation, reward, terminated, truncated, info), not {answer!r:.200}"
        )
    return env.agent_selection, answer


def _call(name: str, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise UsageError(f"{name} failed in one of its first calls of {what}(): {error!r}") from error
