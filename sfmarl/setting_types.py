"""Settings from a file, a command line or a script: are their values of the kinds their dataclass declares?"""

from __future__ import annotations

import math
import types
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sfmarl.errors import UsageError


def check_types(settings: Any) -> None:
    """Compare a dataclass's values with its annotations, the elements of tuples and dicts included.

    Raises UsageError that names the setting and what it may be.
    """
    hints = get_type_hints(type(settings))
    for f in fields(settings):
        require_type(f.name, getattr(settings, f.name), hints[f.name], f.type)


def require_type(name: str, value: Any, hint: Any, written: Any) -> None:
    """Raise UsageError unless `value` is of the kind `hint`, which stands in the source as `written`."""
    if not _fits(value, hint):
        legal = get_args(hint)
        expected = " | ".join(map(str, legal)) if get_origin(hint) is Literal else written
        raise UsageError(f"{name} = {value!r} ({type(value).__name__}) is not of the expected kind: {expected}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None:
        return value is None
    if origin is Literal:
        return any(type(value) is type(legal) and value == legal for legal in arguments)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return isinstance(value, tuple) and all(_fits(element, arguments[0]) for element in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(k, arguments[0]) and _fits(v, arguments[1]) for k, v in value.items()
        )
    if hint is float:
        # a whole number beyond a float's range is one that no computation can use
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
