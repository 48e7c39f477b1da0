"""Everybody against everybody: from words that name players to who beat whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec, make_envs
from sfmarl.errors import UsageError, nearest
from sfmarl.evaluation.contestants import Contestant, read_contestants
from sfmarl.evaluation.cross_play import pairings, with_outcomes
from sfmarl.evaluation.parallel_play import Play, play_all
from sfmarl.evaluation.requests import read_requests
from sfmarl.results.tournament_result import Tournament
from sfmarl.versions import env_version


def tournament(
    players: Sequence[str],
    *,
    games: int = 50,
    seed: int = 0,
    greedy: bool = False,
    openings: int = 0,
    snapshots: int | None = None,
    champion: str | None = None,
    workers: int = 1,
    env: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    imports: Sequence[str] | None = None,
    elo_k: float = 0.0,
    warn: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tournament:
    """Have everybody play everybody in every seat, `games` times each, and return who beat whom.

    `players` are written as in evaluation/requests.py, and so is `champion`, one of them (default: the first).
    `snapshots`: at most so many of each run that is asked for all. `workers`: processes; the result does not depend on
    their number. `warn` is told about damaged checkpoints that were passed over, `progress` how many games of how many
    have been played.

    Raises UsageError for players that do not exist, do not fit together or are fewer than two, for damaged snapshots,
    and for a game whose outcome cannot be read; RunError for damaged checkpoints and a game that fails.
    """
    for name, value, least in (("games", games, 1), ("openings", openings, 0), ("workers", workers, 1)):
        if value < least:
            raise UsageError(f"{name} = {value}: a tournament needs at least {least}.")
    if snapshots is not None and snapshots < 1:
        raise UsageError(f"snapshots = {snapshots}: take at least one of a run, or do not name RUN@snapshots.")
    requests, config = read_requests(players, env, env_kwargs, imports)
    spec = load_spec(config)
    if len(spec.teams) < 2:
        raise UsageError(
            f"{config.env} has one team, {spec.teams[0].name!r}: nobody plays against another. Name a game."
        )
    contestants = read_contestants(requests, spec, snapshots, warn)
    if len(contestants) < 2:
        raise UsageError("a tournament needs two players or more, e.g. RUN random, or RUN RUN@snapshots.")
    first = 0 if champion is None else _number_of(champion, contestants)
    matches = np.repeat(pairings(len(contestants), len(spec.teams)), games, axis=0)
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(matches))

    outcomes = play_all(Play(with_outcomes(config), contestants, seed, greedy, openings), matches, workers, tell)
    return Tournament(
        env=config.env,
        env_version=_version(config),
        seats=tuple(team.name for team in spec.teams),
        contestants=contestants,
        games=games,
        matches=matches,
        outcomes=outcomes,
        seed=seed,
        greedy=greedy,
        openings=openings,
        champion=first,
        elo_k=elo_k,
    )


def _number_of(champion: str, contestants: Sequence[Contestant]) -> int:
    """Return the number of the player that is called `champion` in tables, or was asked for so."""
    for number, contestant in enumerate(contestants):
        if champion == contestant.name:
            return number
    asked = [number for number, contestant in enumerate(contestants) if contestant.asked == champion]
    if len(asked) == 1:
        return asked[0]
    names = [contestant.name for contestant in contestants]
    raise UsageError(
        f"the champion {champion!r} is {'several' if asked else 'none'} of the players.{nearest(champion, names)} "
        f"They are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    )


def _version(config: Config) -> str:
    envs = make_envs(config, 1, [0])
    env = envs[0] if isinstance(envs, list) else envs
    try:
        return env_version(config, env)
    finally:
        env.close()
