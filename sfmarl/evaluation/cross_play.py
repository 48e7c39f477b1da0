"""Everybody against everybody: which matches there are, and playing them.

pairings(P, seats)       every ordered pair, so that everybody sits everywhere
play_matches(...)        outcome [M, seats] of matches [M, seats], as many games at once as pay
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.infos import OUTCOME
from sfmarl.envs.registry import is_native, make_envs, probe_env
from sfmarl.envs.vector import Reporting
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import RunError
from sfmarl.evaluation.arena import Arena, ParallelArena, TurnArena
from sfmarl.evaluation.contestants import Contestant
from sfmarl.evaluation.evaluator import MAX_ENVS, MAX_EPISODE_STEPS
from sfmarl.evaluation.games import Games
from sfmarl.evaluation.vector_turn_arena import VectorTurnArena
from sfmarl.league.outcome import outcome_from_info, outcome_from_returns
from sfmarl.seeding import seed_for
from sfmarl.threads import use_threads

MAX_NATIVE_ENVS = 1024
"""Copies of a native game that are stepped together: rows of many policies are worth gathering."""

Progress = Callable[[int], None]
"""Told how many games have ended since it was told last."""


def pairings(players: int, seats: int) -> np.ndarray:
    """Return who meets whom: int64 [n, seats], numbers of players.

    Two seats: all P (P - 1) ordered pairs. More: each player in each seat, with each other in all the other seats.
    """
    found = [
        [row if seat == at else column for seat in range(seats)]
        for row in range(players)
        for column in range(players)
        if row != column
        # of two seats the other player's turn to sit alone is the same match
        for at in range(seats if seats > 2 else 1)
    ]
    return np.array(found, np.int64).reshape(-1, seats)


def with_outcomes(config: Config) -> Config:
    """Return the settings with which the environment is asked who won (`info["outcome"]`), where it has infos."""
    if is_native(config.env):
        envs = make_envs(config, 1, [0])
        asked = isinstance(envs, Reporting) and OUTCOME in envs.info_keys
        envs.close()
    else:
        asked = bool(probe_env(config).codecs)
    return replace(config, info_metrics=(OUTCOME,)) if asked else config


def play_matches(
    config: Config,
    contestants: Sequence[Contestant],
    matches: np.ndarray,
    seed: int,
    greedy: bool = False,
    openings: int = 0,
    progress: Progress | None = None,
    max_episode_steps: int = MAX_EPISODE_STEPS,
) -> np.ndarray:
    """Play `matches` int64 [M, seats] of the environment of `config` and return their outcomes [M, seats] float64.

    Every match is played to its end, in whatever order. Outcomes are what the environment says of them, if it does and
    is asked (`with_outcomes`), else made of its own returns (league/outcome.py). The first `openings` plies are random
    legal moves.
    Raises UsageError when the environment cannot be built or its outcome not be read, RunError for an endless game.
    """
    arena = _arena(config, len(matches), seed)
    undo_threads = use_threads(1)
    try:
        games = Games(arena.spec, contestants, arena.num_envs, seed, openings)
        return _play(arena, games, matches, greedy, progress or (lambda count: None), max_episode_steps)
    finally:
        undo_threads()
        arena.close()


def _arena(config: Config, matches: int, seed: int) -> Arena:
    """Return as many copies of the game as there is use for."""
    count = min(matches, MAX_NATIVE_ENVS if is_native(config.env) else MAX_ENVS)
    seeds = [seed_for(seed, "tournament", e) for e in range(count)]
    envs = make_envs(config, count, seeds)
    if isinstance(envs, list):
        return TurnArena(envs, seeds)
    return VectorTurnArena(envs) if isinstance(envs, TurnVectorEnv) else ParallelArena(envs)


def _play(
    arena: Arena, games: Games, matches: np.ndarray, greedy: bool, progress: Progress, max_episode_steps: int
) -> np.ndarray:
    arena.seat(games.crowds)
    waiting = deque(range(len(matches)))
    outcomes = np.full(matches.shape, np.nan)
    match_of = np.full(len(games.who), -1)
    agents = np.repeat(np.arange(len(games.spec.teams)), [len(team.agents) for team in games.spec.teams])

    def begin(envs: Sequence[int]) -> None:
        begun = []
        for env in envs:
            match_of[env] = waiting.popleft() if waiting else -1
            if match_of[env] >= 0:
                games.begin(env, matches[match_of[env]])
                begun.append(env)
        if begun:
            arena.reset(np.array(begun))

    begin(range(len(match_of)))
    while (running := match_of >= 0).any():
        ended = np.flatnonzero(arena.step(running, greedy))
        if games.plies[running].max() > max_episode_steps:
            raise RunError(
                f"A game of {games.spec.env} did not end within {max_episode_steps} steps. Give the environment a time "
                "limit (often max_cycles in --env-kwargs)."
            )
        if not ended.size:
            continue
        finished = arena.episodes.drain()
        stated = finished.infos.get(OUTCOME)
        for row, env in enumerate(ended.tolist()):
            said = None if stated is None else stated[row]
            outcomes[match_of[env]] = outcome_of(np.bincount(agents, finished.returns[row]), said)
        progress(len(ended))
        begin(ended.tolist())
    return outcomes


def outcome_of(returns: np.ndarray, stated: np.ndarray | None) -> np.ndarray:
    """Return the outcome [seats] of seats' returns [seats], or of what was stated of them (NaN: nothing).

    Raises UsageError when it cannot be read.
    """
    silent = stated is None or np.isnan(stated).all()
    return outcome_from_returns(returns) if silent else outcome_from_info(stated)
