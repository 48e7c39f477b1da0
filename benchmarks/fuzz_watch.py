"""A request, watched: exit code, words, whether it hangs, unpickles, starts something or touches files of others."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from sfmarl.command import cli
from sfmarl.run import runner, sitting

LIMIT_SECONDS = 20.0
"""After so long a request hangs."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1, "os.link": 2, "os.symlink": 2,
    "os.chmod": 1, "os.chown": 1, "shutil.rmtree": 1,
}  # fmt: skip
"""Audit event -> how many paths it names."""
_RELATIVE = ("os.remove", "os.mkdir", "os.rmdir")
"""Those of them that `shutil.rmtree` and others give an open directory to begin at, as their last argument."""
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")


class Hang(BaseException):
    """The request took longer than LIMIT_SECONDS."""


class Started(BaseException):
    """The request was accepted: a run would begin here."""


@dataclass
class Outcome:
    """How a request ended."""

    code: int | str
    """Exit code; `started` for a run that would have begun, `hang`."""
    out: str
    """Standard output."""
    err: str
    """Standard error."""
    seconds: float
    """How long it took."""
    wrong: list[str] = field(default_factory=list)
    """What must not happen, in words; empty for a request that was answered as it should be."""


class _Watch:
    """What the audit hook, which cannot be taken away again, writes down while it is asked to."""

    def __init__(self) -> None:
        self.wrong: list[str] | None = None
        self.allowed: tuple[str, ...] = ()

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.wrong is None:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & _WRITES:
                self._touched(event, path)
        elif event in _CHANGES:
            folder = arguments[-1] if event in _RELATIVE else None
            for path in arguments[: _CHANGES[event]]:
                self._touched(event, path, folder)
        elif event == "pickle.find_class":
            self.wrong.append(f"unpickled {arguments[0]}.{arguments[1]}")
        elif event in _STARTS:
            self.wrong.append(f"{event} {arguments[0]}")

    def _touched(self, event: str, path: str | bytes | int, folder: int | None = None) -> None:
        if isinstance(path, int):
            return
        below = os.getcwd() if folder in (None, -1) else os.readlink(f"/proc/self/fd/{folder}")
        absolute = os.path.abspath(os.path.join(below, os.fsdecode(path)))
        if absolute != os.devnull and not (absolute + os.sep).startswith(self.allowed):
            self.wrong.append(f"{event} {absolute}")


_WATCH = _Watch()
_HOOKED: list[_Watch] = []


def watch(action: Callable[[], int | str], allowed: Sequence[Path] = ()) -> Outcome:
    """Perform `action`; below `allowed` files may be written and removed, elsewhere none."""
    if not _HOOKED:
        sys.addaudithook(_WATCH)
        _HOOKED.append(_WATCH)
    out, err = io.StringIO(), io.StringIO()
    begin = time.perf_counter()
    _WATCH.wrong, _WATCH.allowed = [], tuple(str(path.absolute()) + os.sep for path in allowed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limited():
            code = action()
    except SystemExit as stop:
        code = stop.code
    except Started:
        code = "started"
    except Hang:
        code = "hang"
    except Exception as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        wrong, _WATCH.wrong = _WATCH.wrong, None
    return Outcome(code, out.getvalue(), err.getvalue(), time.perf_counter() - begin, wrong)


def request(words: Sequence[str], allowed: Sequence[Path] = (), starts: bool = False) -> Outcome:
    """Give `words` to the command line; unless `starts`, a run that is accepted ends where it would begin.

    No process is ever started. What is wrong with the answer is noted in it.
    """

    def refuse(*arguments, **settings):
        raise Started

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(runner, "fork_server"))
        stack.enter_context(mock.patch.object(sitting, "ProcessCrew", refuse))
        if not starts:
            stack.enter_context(mock.patch.object(runner, "sit", refuse))
        outcome = watch(lambda: cli.main(list(words)), allowed)
    if outcome.code not in (0, 1, 2, "started"):
        outcome.wrong.append(f"exit code {outcome.code}")
    for sign in ("This is not expected", "Traceback"):
        if sign in outcome.err or sign in outcome.out:
            outcome.wrong.append(f"an unexpected error: {outcome.err.strip().splitlines()[-1][:300]}")
            break
    if outcome.code in (1, 2) and not outcome.err.strip():
        outcome.wrong.append("it failed without a word")
    return outcome


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def over(*_) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
