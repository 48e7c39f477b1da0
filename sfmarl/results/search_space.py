"""What a sweep searches: settings and the values each may take, read from words such as `lr=log:1e-4..1e-2`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, get_type_hints

from sfmarl.config import Config
from sfmarl.errors import UsageError, nearest
from sfmarl.registry import json_or_word
from sfmarl.setting_types import check_types

FORMS = "A..B (a range), log:A..B (on a logarithmic scale), int:A..B or A..B/STEP (whole numbers), or A,B,C (a choice)"
"""What may stand behind the equals sign."""

_NOT_SEARCHED = {
    "env": "one sweep is of one environment",
    "algo": "presets differ in their hyperparameters: search those (critic, returns, surrogate)",
    "hp": "name its hyperparameters themselves",
    "seed": "its score would be luck",
    "run_dir": "every trial has its own",
    "quiet": "it changes no score",
}
_RANGE = re.compile(r"(?:(log|int|float):)?([^./,]*(?:\.\d[^./,]*)?)\.\.([^/]+?)(?:/(.+))?")


class Suggesting(Protocol):
    """What is used of an `optuna.Trial`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: list[str]) -> str: ...


@dataclass(frozen=True)
class Dimension:
    """One searched setting."""

    name: str
    """A field of the settings or hyperparameters, or `env_kwargs.NAME`."""
    low: float = 0.0
    """Least value of a range."""
    high: float = 0.0
    """Greatest value of a range, included."""
    whole: bool = False
    """Only whole numbers."""
    log: bool = False
    """Uniform in the logarithm."""
    step: int = 1
    """Distance of neighbouring whole numbers."""
    choices: tuple[Any, ...] = ()
    """The values of a choice; empty for a range."""

    def suggest(self, trial: Suggesting) -> Any:
        """Return the value that `trial` takes."""
        if self.choices:
            # as JSON: a study stores words and numbers, not lists
            return json.loads(trial.suggest_categorical(self.name, [json.dumps(choice) for choice in self.choices]))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=self.step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def stored(self, value: Any) -> Any:
        """Return the value behind what a study stores of `suggest`."""
        return json.loads(value) if self.choices else value


def parse_search(search: Mapping[str, str], config: Config) -> list[Dimension]:
    """Read `{setting: values}` for runs with the settings `config`, whose `hp` are filled in.

    Raises UsageError for a setting that does not exist (with the nearest names) or is not searched, for values that
    cannot be read, and for values that the setting cannot take.
    """
    if not search:
        raise UsageError(f"nothing is searched. Say --search SETTING=VALUES ...; VALUES are {FORMS}.")
    kinds = {**get_type_hints(Config), **get_type_hints(type(config.hp))}
    dimensions = []
    for name, text in search.items():
        if name in _NOT_SEARCHED:
            raise UsageError(f"--search {name}: it is not searched, because {_NOT_SEARCHED[name]}.")
        argument = name.startswith("env_kwargs.") and name != "env_kwargs."
        if name not in kinds and not argument:
            raise UsageError(f"--search: there is no setting {name!r}.{nearest(name, kinds)} See sfmarl train --help.")
        dimension = _parse(name, text, kinds.get(name))
        for value in dimension.choices or (dimension.low, dimension.high):
            try:
                check_types(applied(config, {name: int(value) if dimension.whole else value}))
            except UsageError as error:
                raise UsageError(f"--search {name}={text}: {error}") from error
        dimensions.append(dimension)
    return dimensions


def applied(config: Config, values: Mapping[str, Any]) -> Config:
    """Return `config` with searched `values`. Raises UsageError when the hyperparameters refuse one."""
    own = {f.name for f in fields(Config)}
    settings = {name: value for name, value in values.items() if name in own}
    kwargs = {n.removeprefix("env_kwargs."): value for n, value in values.items() if n.startswith("env_kwargs.")}
    rest = {name: value for name, value in values.items() if name not in own and not name.startswith("env_kwargs.")}
    return replace(config, **settings, env_kwargs={**config.env_kwargs, **kwargs}, hp=replace(config.hp, **rest))


def _parse(name: str, text: str, kind: Any) -> Dimension:
    match = _RANGE.fullmatch(text)
    try:
        if match is None:
            return _choice(name, text)
        prefix, low, high, step = match.groups()
        whole = prefix == "int" or kind is int or step is not None
        dimension = Dimension(name, float(low), float(high), whole, prefix == "log", int(step or 1))
    except ValueError as error:
        raise UsageError(f"--search {name}={text}: {error}. Values are {FORMS}.") from error
    wrong = (
        "the range is empty" if not dimension.low < dimension.high
        else "a logarithm needs values above 0" if dimension.log and dimension.low <= 0
        else "a logarithmic range has no step" if dimension.log and dimension.step != 1
        else "the step must be 1 or more" if dimension.step < 1
        else "the ends must be whole numbers" if whole and (dimension.low % 1 or dimension.high % 1)
        else ""
    )  # fmt: skip
    if wrong:
        raise UsageError(f"--search {name}={text}: {wrong}.")
    return dimension


def _choice(name: str, text: str) -> Dimension:
    try:
        choices = json.loads(f"[{text}]")  # numbers, booleans, lists
    except (ValueError, RecursionError):
        choices = [json_or_word(word) for word in text.split(",")]
    if len(choices) < 2 or "" in choices:
        raise ValueError("a choice needs two values or more")
    if len({json.dumps(choice) for choice in choices}) < len(choices):
        raise ValueError("a value is given twice")
    return Dimension(name, choices=tuple(choices))
