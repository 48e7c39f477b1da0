"""The two ways a user meets an error: a wrong request and a failed run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence


class SfmarlError(Exception):
    """Base of every error whose message is written for the user: who, what, what to do. Shown without a traceback."""

    exit_code = 1


class UsageError(SfmarlError):
    """The request cannot be carried out as it stands (exit code 2): nothing was started, nothing was written."""

    exit_code = 2


class OutcomeError(UsageError):
    """An environment says of a match what nobody can read, which is noticed when one has ended, in whatever process."""


class RunError(SfmarlError):
    """A run that had started could not go on (exit code 1): what was reached is on disk."""

    exit_code = 1


class EnvFault(RunError):
    """An environment failed or did not keep to its spaces; `__cause__` is what it raised, if it raised anything."""

    def __init__(self, message: str, copy: int = 0) -> None:
        """`copy` is the environment's number in its split; 0 where all copies are one object."""
        super().__init__(message)
        self.copy = copy


class UserCodeError(RunError):
    """Code of the user's (a callback, a reward, a metric) raised; `__cause__` is what it raised."""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return " Did you mean 'a' or 'b'?" for the known words nearest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=count, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(w) for w in close)}?" if close else ""


def debugging(argv: Sequence[str]) -> bool:
    """Return whether the user wants tracebacks, too: `--debug` among the words or SFMARL_DEBUG=1."""
    return "--debug" in argv or os.environ.get("SFMARL_DEBUG", "0") not in ("", "0")
