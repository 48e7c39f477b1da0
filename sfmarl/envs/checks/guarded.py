"""Runs somebody else's test of an environment: silent, within a time limit, its failure caught."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 200
"""Characters of a message that are told."""


@dataclass(frozen=True)
class Verdict:
    """What a test said of an environment."""

    steps: int
    """Calls of step() it made."""
    in_time: bool = True
    """Whether it came to an end."""
    says: str = ""
    """The assertion that failed, or the exception; empty when it passed or ran out of time."""
    asserted: bool = False
    """Whether `says` is an assertion of the test, not an exception."""
    call: str = ""
    """The call of the environment that raised; empty when the test itself failed."""
    remarks: tuple[str, ...] = ()
    """Its warnings, each once."""


class _OutOfTime(BaseException):
    """Raised from step(); no `except Exception` of a test or an environment keeps it."""


@dataclass
class _Meter:
    deadline: float
    steps: int = 0
    call: str = ""


def run_guarded(test: Callable[[], Any], envs: Sequence[Any], seconds: float) -> Verdict:
    """Run `test`, which steps `envs`, for about `seconds`: it is stopped at the first step after that."""
    meter = _Meter(time.perf_counter() + seconds)
    for env in envs:
        _meter_calls(env, meter)
    in_time, says, asserted = True, "", False
    with warnings.catch_warnings(record=True) as caught, _silence():
        warnings.simplefilter("always")
        try:
            test()
        except _OutOfTime:
            in_time = False
        except AssertionError as error:
            asserted = not meter.call
            says = _assertion(error)
        except Exception as error:
            says = f"{type(error).__name__}: {error}"
    remarks = tuple(dict.fromkeys(_plain(str(warning.message)) for warning in caught))
    return Verdict(meter.steps, in_time, says[:LONGEST].rstrip("."), asserted, meter.call if says else "", remarks)


def _meter_calls(env: Any, meter: _Meter) -> None:
    """Have the instance count its steps, end at the deadline, and say which of its calls raised."""

    def metered(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        # with the signature of the original, which tests look at
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            if name == "step":
                if time.perf_counter() > meter.deadline:
                    raise _OutOfTime
                meter.steps += 1
            try:
                return call(*args, **kwargs)
            except Exception:
                meter.call = meter.call or f"{name}({'options=...' if 'options' in kwargs else ''})"
                raise

        return run

    for name in ("step", "reset"):
        # an instance without a __dict__ is tested without a limit
        with contextlib.suppress(AttributeError):
            setattr(env, name, metered(name, getattr(env, name)))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _assertion(error: AssertionError) -> str:
    """Return what an assertion says, or its source where it says nothing."""
    said = _plain(str(error))
    if said:
        return said
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "an assertion") if frames else "an assertion"


def _plain(message: str) -> str:
    """Return the message in one line, without terminal colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).removeprefix("WARN: ").split())
