"""Where an exception came from, for a message and for RUN/crash.txt."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfmarl.errors import UserCodeError
from sfmarl.storage.durable import write_text


def origin(error: BaseException) -> str:
    """Return the line that raised what `error` came from, as tracebacks name it; empty if nobody knows."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    frames = traceback.extract_tb(error.__traceback__)
    return f'File "{frames[-1].filename}", line {frames[-1].lineno}, in {frames[-1].name}' if frames else ""


@contextmanager
def traceback_kept(run_dir: Path) -> Iterator[None]:
    """Write to RUN/crash.txt where the user's code raised, and say so."""
    try:
        yield
    except UserCodeError as error:
        path = run_dir / "crash.txt"
        try:
            write_text(path, "".join(traceback.format_exception(error.__cause__)))
        except OSError:
            raise error from None
        raise UserCodeError(f"{error}\nThe traceback is in {path}.") from error.__cause__
