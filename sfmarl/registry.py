"""Things a user may name: one registry per kind, filled by this package and by the user's own modules.

A setting that calls what is registered is written `name`, `name?key=value&key=value`, or, with a callable that nobody
registered, `module:callable?key=value`.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from sfmarl.errors import UsageError, nearest
from sfmarl.setting_types import require_type
from sfmarl.user_code import import_callable

T = TypeVar("T")


class Entry(NamedTuple):
    """A registered thing as `sfmarl list` shows it."""

    name: str
    """How it is named in settings."""
    description: str
    """One line."""


class Registry(Mapping[str, T], Generic[T]):
    """Names of one kind -> what they stand for, in order of registration."""

    def __init__(self, kind: str, code: Callable[[T], tuple[Any, ...]] = lambda value: (value,)) -> None:
        """`kind` is what messages call an entry; `code` returns the classes and functions that an entry is made of."""
        self.kind = kind
        self._code = code
        self._values: dict[str, T] = {}
        self._descriptions: dict[str, str] = {}

    def register(self, name: str, value: T, description: str = "") -> None:
        """Make `value` known as `name`; an empty `description` is replaced by the first line of its docstring.

        Registering again what the same lines of code define replaces it: a module may be loaded twice. Raises
        UsageError for a name that cannot be written in a setting or that something else has taken.
        """
        if not re.fullmatch(r"[^\s:?][^:?]*", name):
            raise UsageError(f"{self.kind} {name!r}: a name must not be empty, begin with a space, or hold : or ?.")
        code = self._code(value)
        if name in self._values and [*map(_origin, self._code(self._values[name]))] != [*map(_origin, code)]:
            raise UsageError(f"{self.kind} {name!r} is registered already, as something else. Choose another name.")
        self._values[name] = value
        documented = inspect.getdoc(code[0]) if hasattr(code[0], "__qualname__") else None
        self._descriptions[name] = description or (documented or "").partition("\n")[0]

    def find(self, name: str) -> T:
        """Return what is registered as `name`. Raises UsageError with the nearest names."""
        if name in self._values:
            return self._values[name]
        known = f" Known: {', '.join(self._values)}." if self._values else ""
        raise UsageError(
            f"there is no {self.kind} named {name!r}.{nearest(name, self._values)}{known} Name the file that registers "
            "one of your own with --imports."
        )

    def find_callable(self, name: str) -> T | Callable[..., Any]:
        """Return what is registered as `name`, or what `module:callable` names. Raises UsageError."""
        return import_callable(self.kind, name) if ":" in name and name not in self._values else self.find(name)

    def entries(self) -> list[Entry]:
        """Return what is registered, in order of registration."""
        return [Entry(name, self._descriptions[name]) for name in self._values]

    def __getitem__(self, name: str) -> T:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


_SHORT_NUMBER = re.compile(r"[+-]?([0-9]+\.|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Call(NamedTuple):
    """A setting of the form `name?key=value&key=value`."""

    name: str
    """A registered name or `module:callable`."""
    kwargs: dict[str, Any]
    """Keyword arguments."""


def parse_call(text: str) -> Call:
    """Read `name`, `name?key=value&key=value` or `name?{JSON}`.

    Values are JSON where they can be read as JSON, `.5` being read as 0.5, else text.
    Raises UsageError that quotes the part it cannot read.
    """
    name, _, rest = text.partition("?")
    if not name:
        raise UsageError(f"{text!r} names nothing. Write name or name?key=value&key=value.")
    if rest.startswith("{"):
        try:
            return Call(name, json.loads(rest))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{text!r}: {rest!r} is not a JSON object: {error}.") from error
    kwargs: dict[str, Any] = {}
    for word in filter(None, rest.split("&")):
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier() or key in kwargs:
            raise UsageError(f"{text!r}: expected key=value&key=value with each key once, got {word!r}.")
        kwargs[key] = json_or_word(value)
    return Call(name, kwargs)


def require_arguments(what: str, call: Call, function: Callable[..., Any], *given: Any) -> None:
    """Look whether `function(*given, **call.kwargs)` is a call it takes: names, and kinds where they are plain ones.

    Raises UsageError that opens with `what`, names the argument, and says what there is.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of C code, that tells nothing
        return
    takes = [name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    takes = takes[len(given) :]
    settings = f"Its settings are {', '.join(takes)}." if takes else "It has no settings."
    for name in call.kwargs:
        if name not in takes and not open_ended:
            raise UsageError(f"{what} has no setting {name!r}.{nearest(name, takes)} {settings}")
    try:
        signature.bind(*given, **call.kwargs)
    except TypeError as error:
        raise UsageError(f"{what} cannot be called: {error}. {settings}") from error
    hints = _hints(function)
    for name, value in call.kwargs.items():
        if hints.get(name) in (bool, float, int, str):
            try:
                require_type(name, value, hints[name], hints[name].__name__)
            except UsageError as error:
                raise UsageError(f"{what}: {error} {settings}") from error


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return argument -> kind, as far as they can be told."""
    own = function if inspect.isfunction(function) or is_dataclass(function) else getattr(function, "__init__", None)
    try:
        return get_type_hints(own)
    except Exception:  # annotations are anything, and of the user's
        return {}


def json_or_word(text: str) -> Any:
    """Return the JSON value that `text` is, a number that JSON wants more digits of (`.5`, `1.`), or `text` itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return float(text) if _SHORT_NUMBER.fullmatch(text) else text


def _origin(code: Any) -> Any:
    """Return where a class or function is defined; equal for two loads of the same lines. Anything else is itself."""
    name, module = getattr(code, "__qualname__", None), getattr(code, "__module__", None)
    if name is None:
        return code
    file = getattr(sys.modules.get(module), "__file__", None)
    return (str(Path(file).resolve()) if file else module), name
