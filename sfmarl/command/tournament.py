"""`sfmarl tournament`: everybody against everybody."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfmarl.command.arguments import parse
from sfmarl.errors import UsageError

TELL_SECONDS = 10.0
"""Between two lines that say how far it is."""


@dataclass
class TournamentArguments:
    """Have players meet in every seat: win rates with 95 % intervals, ratings, and who beats the champion."""

    players: tuple[str, ...]
    """Runs (RUN, RUN@best, RUN@step-..., RUN:POLICY), snapshots (RUN@snapshots for all, RUN@ADDRESS), scripts (random,
    a registered name, module:callable) and OpenSpiel's MCTS (mcts:200: simulations per move); LABEL=... names one."""
    games: int = 50
    """Games of each ordered pair (of each pair and seat, where there are more than two)."""
    snapshots: int | None = None
    """Snapshots of each RUN@snapshots at most, evenly spread over its history."""
    champion: str | None = None
    """Player of whom is told whether anybody beats it [default: the first]."""
    greedy: bool = False
    """Policies take their most probable action, or sample (--no-greedy). Greedy needs openings, or games are equal."""
    openings: int = 0
    """Random legal plies (env-steps) at the beginning of every game."""
    seed: int = 0
    """Seed of environments, openings, scripts, searches and sampled actions."""
    elo_k: float = 0.0
    """Also compute Elo with this K (base 1200, games in a random order), e.g. 16."""
    workers: int = 1
    """Processes; the result does not depend on their number."""
    env: str | None = None
    """Play on this environment instead of the runs' own, e.g. native/connect_four for PettingZoo's."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of --env."""
    imports: tuple[str, ...] | None = None
    """Modules or .py files to import instead of those that the runs' config.json name."""
    json: Path | None = None
    """Write everything to this file as JSON; - prints it instead of the tables."""
    png: Path | None = None
    """Draw the win rates to this file."""


def tournament(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(TournamentArguments, words, prog="sfmarl tournament")
    from sfmarl.results.tournament import tournament as play

    settings = {name: value for name, value in vars(arguments).items() if name not in ("players", "json", "png")}
    if arguments.greedy and not arguments.openings and arguments.games > 1:
        _warn("greedy policies play the same game again and again: give --openings, or sample (--no-greedy).")
    printed = arguments.json == Path("-")
    files = {"json_file": None if printed else arguments.json, "picture": arguments.png}
    for path in filter(None, files.values()):
        _require_writable(path)
    result = play(arguments.players, **settings, warn=_warn, progress=_Progress())
    print(json.dumps(result.to_json()) if printed else result, flush=True)
    written = result.write(**files)
    if written and not printed:
        print(*written)
    return 0


def _require_writable(path: Path) -> None:
    """Raise UsageError now rather than after the last game."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{path} cannot be written. Choose another file.")


class _Progress:
    """Says now and then, on standard error, how far it is."""

    def __init__(self) -> None:
        self._begun = self._next = time.monotonic()
        self._next += TELL_SECONDS

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TELL_SECONDS
            left = (now - self._begun) * (total - done) / done
            print(f"{done:,} of {total:,} games, about {left:.0f} s left", file=sys.stderr, flush=True)


def _warn(text: str) -> None:
    print(f"sfmarl: warning: {text}", file=sys.stderr)
