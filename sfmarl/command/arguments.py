"""From command-line words to typed settings: tyro over the dataclasses, plus `key=value` mappings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, Union

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import UsageError
from sfmarl.registry import json_or_word
from sfmarl.user_code import import_user_code

T = TypeVar("T")

_REGISTRY = ConstructorRegistry()


def parse_mapping(words: Sequence[str], *, json_values: bool) -> dict[str, Any]:
    """Parse `key=value` words, or one JSON object, into a dict with string keys.

    With `json_values` each value is read as JSON where it is JSON (`3`, `0.5`, `true`, `[1, 2]`) and kept as a string
    otherwise; without it every value is a string. Raises ValueError that names the word it cannot read.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            mapping = json.loads(words[0])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a JSON object: {error}: {words[0]}") from error
    else:
        mapping = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not key or not equals:
                raise ValueError(f"expected key=value or one JSON object, got {word!r}")
            if key in mapping:
                raise ValueError(f"{key!r} is given twice")
            mapping[key] = json_or_word(value) if json_values else value
    if not json_values and not all(isinstance(value, str) for value in mapping.values()):
        raise ValueError(f"every value must be a name, got {mapping}")
    return mapping


@_REGISTRY.primitive_rule
def _mapping_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type not in (dict[str, Any], dict[str, str]):
        return None
    json_values = info.type == dict[str, Any]

    def to_words(mapping: dict[str, Any]) -> list[str]:
        return [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in mapping.items()]

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[KEY=VALUE ...]",
        instance_from_str=lambda words: parse_mapping(words, json_values=json_values),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=to_words,
    )


def parse(cls: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Parse `argv` into dataclass `cls`: fields without a default are positional, nested fields are flat flags.

    Prints help or a usage error and raises SystemExit(0 | 2), as argparse does.
    """
    return tyro.cli(
        cls,
        args=list(argv),
        prog=prog,
        default=tyro.MISSING_NONPROP if default is None else default,
        config=(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName, tyro.conf.OmitArgPrefixes),
        registry=_REGISTRY,
    )


@_REGISTRY.primitive_rule
def _word_or_mapping_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """One plain word is itself; everything else is a mapping."""
    if info.type not in (str | dict[str, str], Union[str, dict[str, str]]):  # noqa: UP007 - tyro's form of it
        return None

    def from_words(words: list[str]) -> str | dict[str, str]:
        plain = len(words) == 1 and (Path(words[0]).exists() or not ("=" in words[0] or words[0].startswith("{")))
        return words[0] if plain else parse_mapping(words, json_values=False)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[WORD | KEY=VALUE ...]",
        instance_from_str=from_words,
        is_instance=lambda value: isinstance(value, (str, dict)),
        str_from_instance=lambda value: [value] if isinstance(value, str) else [f"{k}={v}" for k, v in value.items()],
    )


@dataclass
class TrainArguments(Config):
    """Train a team on an environment."""

    seeds: tuple[int, ...] | None = None
    """Train once with each of these seeds, one after the other, in RUN_DIR/seed-N; then print mean and interval."""
    auto: bool = False
    """Measure for some seconds first and choose workers, envs, placement and batch size that are not given, as
    `sfmarl tune` does."""
    dry_run: bool = False
    """Say what would run and how much memory it takes, and start and write nothing."""
    config: Path | None = None
    """Take the settings of an earlier run (its directory or config.json) as defaults."""
    league: tyro.conf.Suppress[tyro.conf.Fixed[Any]] = None
    """See `sfmarl league`."""


@dataclass
class LeagueArguments(TrainArguments):
    """Train by self-play against a growing pool of past selves: a league."""

    league: Any = None
    """A league's settings (`LeagueConfig`)."""


LEAGUE_DEFAULTS: dict[str, Any] = {"algo": "ippo", "eval_env_steps": 0, "final_eval_episodes": 0}
"""Of a league where they differ: the return of a player against itself says nothing."""

Arguments = TypeVar("Arguments", bound=Config)


def parse_config(argv: Sequence[str], prog: str, default: Config | None = None) -> Config:
    """Return the settings that `parse_run` reads into `Config` itself."""
    return parse_run(Config, argv, prog, default)


def parse_run(cls: type[Arguments], argv: Sequence[str], prog: str, default: Config | None = None) -> Arguments:
    """Parse `argv` into `cls`, a `Config` with further fields, whose `hp` are the chosen algorithm's hyperparameters.

    The algorithm decides which flags exist, and an imported module may define it, so `--imports` and `--algo` are
    looked up first. With a `default` (a launch script's settings) every field is an optional flag; its `hp` count only
    while the algorithm stays the default's. If `cls` has a field `config`, the file it names takes the place of the
    default.
    Raises UsageError for an unknown algorithm, a failing import and a settings file that cannot be read.
    """
    from sfmarl.algorithms import get_algorithm  # brings torch: flags of other commands do without

    base = default or Config(env=tyro.MISSING, **({} if cls is not LeagueArguments else LEAGUE_DEFAULTS))
    if cls is not Config and (file := _words_of(argv, "--config")):
        base, argv = _settings_of(Path(file[-1]), argv)
    import_user_code(_words_of(argv, "--imports") or base.imports)
    algo = (_words_of(argv, "--algo") or [base.algo])[-1]
    if cls is LeagueArguments:
        base = replace(base, league=base.league or LeagueConfig())
    keep = base.hp is not None and algo == base.algo
    base = replace(base, hp=base.hp if keep else get_algorithm(algo).hyperparameters())
    clash = {f.name for f in fields(cls)} & {f.name for f in fields(base.hp)}
    if clash:
        raise UsageError(
            f"algorithm {algo!r} has hyperparameters named like run settings: {', '.join(sorted(clash))}. "
            "Rename them in its Hyperparameters dataclass."
        )
    return parse(cls, argv, prog, cls(**{f.name: getattr(base, f.name) for f in fields(Config)}))


def _words_of(argv: Sequence[str], flag: str) -> list[str]:
    """Return the words of the last `flag A B ...` or `flag=A` of `argv`; empty when it is not there."""
    words: list[str] = []
    for i, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            words = [word.removeprefix(f"{flag}=")]
        elif word == flag:
            words = list(itertools.takewhile(lambda following: not following.startswith("--"), argv[i + 1 :]))
    return words


def given_settings(words: Sequence[str], config: Config, names: Iterable[str]) -> set[str]:
    """Return which of the settings `names` somebody chose: by a flag among `words`, or as other than the default."""
    flags = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    usual = {f.name: f.default for f in fields(Config)}
    return {name for name in names if name in flags or getattr(config, name) != usual[name]}


def config_of(arguments: Config) -> Config:
    """Return the run's settings among `arguments`, an instance of `Config` with further fields."""
    return Config(**{f.name: getattr(arguments, f.name) for f in fields(Config)})


def _settings_of(file: Path, argv: Sequence[str]) -> tuple[Config, Sequence[str]]:
    """Return an earlier run's settings as defaults of a new one, and `argv` with its environment, if any, as a flag."""
    from sfmarl.storage.config_file import read_config

    base = replace(read_config(file if file.suffix == ".json" else file / "config.json"), run_dir=None)
    if argv and not argv[0].startswith("-"):
        if argv[0] != base.env:
            base = replace(base, env_kwargs={})  # they are arguments of the other environment
        argv = ["--env", *argv]
    return base, argv
