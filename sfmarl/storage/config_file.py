"""`config.json` of a run directory: a `Config` written as plain JSON and rebuilt from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from sfmarl import __version__
from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import UsageError, nearest
from sfmarl.setting_types import check_types, require_type
from sfmarl.storage.durable import replace_file
from sfmarl.user_code import absolute, import_user_code

T = TypeVar("T")


def write_config(config: Config, path: Path) -> None:
    """Write `config` and the version that wrote it to `path`, replacing the file in one step. Raises OSError."""
    replace_file(path, json.dumps(config_to_json(config), indent=2).encode() + b"\n")


def config_to_json(config: Config) -> dict[str, Any]:
    """Return `config` and the version that writes it, as plain JSON types."""
    return {"sfmarl_version": __version__, **config.to_json()}


def read_config(path: Path, imports: Sequence[str] | None = None) -> Config:
    """Rebuild the `Config` that `write_config` wrote, its hyperparameters through the algorithm registry.

    The modules and files it names under `imports` are imported, which runs them; `imports` takes their place when it
    is not None. Raises UsageError when there is no such file, it is no settings file of this package, one of its
    imports fails, or it names an algorithm or a setting that this version does not have.
    """
    return config_from_json(_load(path), path, imports)


def config_from_json(data: Any, path: Path, imports: Sequence[str] | None = None) -> Config:
    """Rebuild what `config_to_json` returned and `path` holds. Imports and raises UsageError as `read_config` does."""
    data, origin = _import_named(data, path, imports)
    if data.get("hp") is not None:
        try:
            preset = get_algorithm(data["algo"]).hyperparameters()
        except UsageError as error:
            raise UsageError(f"{origin}: {error}") from error
        data["hp"] = from_json(type(preset), data["hp"], origin)
    if data.get("league") is not None:
        data["league"] = from_json(LeagueConfig, data["league"], origin)
    return from_json(Config, data, origin)


def import_run_code(path: Path, imports: Sequence[str] | None = None) -> None:
    """Import what the settings file `path` names under `imports`, or `imports` instead. Raises like `read_config`."""
    _import_named(_load(path), path, imports)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} is not a run directory: it has no {path.name}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Restore it from a copy of the run directory.") from error


def _import_named(data: Any, path: Path, imports: Sequence[str] | None) -> tuple[dict[str, Any], str]:
    """Return the settings, their `imports` replaced and imported, and how messages call the file."""
    if not isinstance(data, dict) or not isinstance(data.get("env"), str) or not isinstance(data.get("algo"), str):
        raise UsageError(f"{path} is not a settings file of sfmarl: it names no environment and algorithm.")
    data = dict(data)
    written_by = data.pop("sfmarl_version", "an unknown version")
    origin = f"{path} (written by sfmarl {written_by})"
    if imports is not None:
        data["imports"] = list(absolute(imports))
    named = data.get("imports", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UsageError(f"{origin}: imports must be a list of modules and files, found {named!r}.")
    try:
        import_user_code(named)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from error
    return data, origin


def from_json(cls: type[T], data: Any, origin: str) -> T:
    """Construct dataclass `cls` from JSON values, restoring what JSON has no type for: tuples and paths.

    Raises UsageError, opening with `origin` (where the values come from), for values that do not fit its fields.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{origin}: expected an object for {cls.__name__}, found {type(data).__name__}.")
    known = {f.name for f in fields(cls) if f.init}
    for name in data.keys() - known:
        raise UsageError(
            f"{origin} has a setting {name!r} that this version does not know.{nearest(name, known)} "
            "Use the version that wrote it, or remove the entry."
        )
    hints = get_type_hints(cls)
    values = {name: _restore(hints[name], value) for name, value in data.items()}
    required = {f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING}
    for name in required - values.keys():
        raise UsageError(f"{origin} lacks the setting {name!r}.")
    try:
        made = _construct(cls, values, hints)
        check_types(made)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from error
    return made


def _construct(cls: type[T], values: dict[str, Any], hints: dict[str, Any]) -> T:
    """Return `cls(**values)`. A class that cannot cope with a value of the wrong kind has its error in words."""
    try:
        return cls(**values)
    except (TypeError, ValueError, OverflowError) as error:
        for f in fields(cls):
            if f.name in values:
                require_type(f.name, values[f.name], hints[f.name], f.type)
        raise UsageError(f"{error}.") from error


def _restore(hint: Any, value: Any) -> Any:
    if isinstance(value, list) and get_origin(hint) is tuple:
        return tuple(value)
    if isinstance(value, str) and hint in (Path, Path | None):
        return Path(value)
    return value
