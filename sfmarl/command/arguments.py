"""From command-line words to typed settings: tyro over the dataclasses, plus `key=value` mappings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sfmarl.config import Config
from sfmarl.errors import UsageError
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
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object: {error}: {words[0]}") from error
    else:
        mapping = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not key or not equals:
                raise ValueError(f"expected key=value or one JSON object, got {word!r}")
            if key in mapping:
                raise ValueError(f"{key!r} is given twice")
            mapping[key] = _json_or_string(value) if json_values else value
    if not json_values and not all(isinstance(value, str) for value in mapping.values()):
        raise ValueError(f"every value must be a name, got {mapping}")
    return mapping


def _json_or_string(word: str) -> Any:
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word


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


def parse_config(argv: Sequence[str], prog: str, default: Config | None = None) -> Config:
    """Parse `argv` into a `Config` whose `hp` are the chosen algorithm's hyperparameters.

    The algorithm decides which flags exist, and an imported module may define it, so `--imports` and `--algo` are
    looked up first. With a `default` (a launch script's settings) every field is an optional flag; its `hp` count only
    while the algorithm stays the default's. Raises UsageError for an unknown algorithm and for a failing import.
    """
    from sfmarl.algorithms import get_algorithm  # brings torch: flags of other commands do without

    base = Config(env=tyro.MISSING) if default is None else default
    import_user_code(_words_of(argv, "--imports") or base.imports)
    algo = (_words_of(argv, "--algo") or [base.algo])[-1]
    keep = base.hp is not None and algo == base.algo
    base = replace(base, hp=base.hp if keep else get_algorithm(algo).hyperparameters())
    clash = {f.name for f in fields(base)} & {f.name for f in fields(base.hp)}
    if clash:
        raise UsageError(
            f"algorithm {algo!r} has hyperparameters named like run settings: {', '.join(sorted(clash))}. "
            "Rename them in its Hyperparameters dataclass."
        )
    return parse(Config, argv, prog, base)


def _words_of(argv: Sequence[str], flag: str) -> list[str]:
    """Return the words of the last `flag A B ...` or `flag=A` of `argv`; empty when it is not there."""
    words: list[str] = []
    for i, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            words = [word.removeprefix(f"{flag}=")]
        elif word == flag:
            words = list(itertools.takewhile(lambda following: not following.startswith("--"), argv[i + 1 :]))
    return words
