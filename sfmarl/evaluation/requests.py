"""Who is asked to play, in a few words, and which game that is.

RUN                     the newest checkpoint of a run; of a league its first learning player
RUN@latest | @best | @step-000001000000
                        one of its checkpoints
RUN:POLICY[@...]        another policy of it
RUN@snapshots           all snapshots in a league's pool, or so many, evenly spread over its history
RUN@1a2b3c              the snapshot whose address begins so
random | NAME | module:callable
                        a script (envs/script.py)
mcts:200                OpenSpiel's MCTS with so many simulations per move
LABEL=...               any of them, under a name of its own in tables
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfmarl.config import Config
from sfmarl.envs.board.twins import native_twin
from sfmarl.envs.script import SCRIPTS, find_script
from sfmarl.errors import UsageError, nearest
from sfmarl.storage.config_file import read_config
from sfmarl.user_code import absolute, import_user_code

SNAPSHOTS = "snapshots"
"""Behind the @: all snapshots of a run."""

_MCTS = re.compile(r"mcts:(.*)")


@dataclass(frozen=True)
class Request:
    """A player as a user wrote it."""

    text: str
    """As it was written."""
    label: str
    """Name in tables; empty: made of what it is."""
    run: Path | None = None
    """Run, checkpoint or snapshot directory; None for scripts and MCTS."""
    policy: str = ""
    """Policy of the run; empty: the one that plays there."""
    which: str = ""
    """What stands behind the @."""
    script: str = ""
    """What a script calls."""
    simulations: int = 0
    """Of MCTS."""

    @property
    def config_path(self) -> Path | None:
        """The settings of its run: None when there are none."""
        if self.run is None:
            return None
        places = (self.run, self.run.parent.parent) if (self.run / "manifest.json").is_file() else (self.run,)
        return next((path / "config.json" for path in places if (path / "config.json").is_file()), None)


def parse_request(text: str) -> Request:
    """Read one player. Nothing is opened yet, but what is a directory is looked at.

    Raises UsageError when it is neither a directory nor a known script, with what a player may be.
    """
    if (found := _in_directory(text)) is not None:
        return found
    label, word = _labelled(text)
    if match := _MCTS.fullmatch(word):
        if not (match[1].isascii() and match[1].isdigit() and int(match[1]) > 0):
            raise UsageError(f"{word!r}: behind mcts: stands a number of simulations, as in mcts:200.")
        return Request(text, label, simulations=int(match[1]))
    if word in SCRIPTS or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", word):
        find_script(word)
        return Request(text, label, script=word)
    raise UsageError(
        f"there is no player {text!r}: it is neither a directory nor the name of a script.{nearest(word, SCRIPTS)} "
        f"Name a run (RUN, RUN@best, RUN@snapshots, RUN@ADDRESS), a script ({', '.join(SCRIPTS)}, module:callable), or "
        "mcts:SIMULATIONS."
    )


def read_requests(
    words: Sequence[str],
    env: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
    imports: Sequence[str] | None = None,
) -> tuple[list[Request], Config]:
    """Return who `words` name and the game they play: that of the runs, or `env` with `env_kwargs`.

    What the runs' `config.json` name under `imports`, or `imports` instead, is imported first, so that scripts may be
    registered there. Raises UsageError for unknown players, and when the runs do not agree on a game.
    """
    import_user_code(imports or ())
    found = [_in_directory(word) for word in words]
    configs: dict[Path, Config] = {}
    for request in found:
        if request is not None and (path := request.config_path) is not None and path not in configs:
            configs[path] = read_config(path, imports)
    requests = [parse_request(word) for word in words]
    named = [name for config in configs.values() for name in config.imports] if imports is None else imports
    every = tuple(dict.fromkeys(absolute(named)))
    if env is not None:
        base = next(iter(configs.values()), Config(env=env))
        return requests, game_config(replace(base, env=env, env_kwargs=env_kwargs or {}, imports=every))
    if env_kwargs:
        raise UsageError("env_kwargs are arguments of the environment that --env names: give both.")
    if not configs:
        raise UsageError("no player says which game is played: name it with --env, e.g. --env native/connect_four.")
    (first_path, first), *others = configs.items()
    for path, config in others:
        if _game(config) != _game(first):
            twin = native_twin(first.env)
            hint = f" Both are {twin}: say --env {twin}." if twin == native_twin(config.env) else ""
            raise UsageError(
                f"{first_path.parent} plays {_named(first)}, {path.parent} plays {_named(config)}: players of a "
                f"tournament play one game.{hint} Or name the game that all of them can play with --env."
            )
    return requests, game_config(replace(first, imports=every))


def game_config(config: Config) -> Config:
    """Return the settings of a run's environment without who plays there and what is learned from it."""
    return replace(config, players={}, policies={}, league=None, info_metrics=(), reward="")


def _game(config: Config) -> tuple[Any, ...]:
    return config.env, config.env_kwargs, config.frame_stack, config.teams


def _named(config: Config) -> str:
    words = [config.env, *(f"{name}={value}" for name, value in config.env_kwargs.items())]
    return " ".join(words + ([f"frame_stack={config.frame_stack}"] if config.frame_stack > 1 else []))


def _in_directory(text: str) -> Request | None:
    """Return a player whose weights lie in a directory; None for others."""
    label, word = _labelled(text)
    path, which = (word, "") if Path(word).is_dir() or "@" not in word else word.rsplit("@", 1)
    if Path(path).is_dir():
        return Request(text, label, Path(path), "", which)
    run, _, policy = path.rpartition(":")
    return Request(text, label, Path(run), policy, which) if run and Path(run).is_dir() else None


def _labelled(text: str) -> tuple[str, str]:
    """Split `LABEL=PLAYER`; an equals sign in an existing path separates nothing."""
    label, equals, word = text.partition("=")
    return (label, word) if equals and label and word and not Path(text).exists() else ("", text)
