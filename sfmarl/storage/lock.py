"""One run at a time in a run directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfmarl.errors import UsageError
from sfmarl.storage.durable import make_directory, open_in_place


def make_run_dir(run_dir: Path) -> None:
    """Create the directory unless it is there. Raises UsageError when that cannot be."""
    try:
        make_directory(run_dir)
    except OSError as error:
        raise UsageError(f"{run_dir} cannot be created: {error.strerror or error}. Name another --run-dir.") from error


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold RUN/.lock, which the kernel lets go of when this process ends, however it ends.

    Raises UsageError while another process holds it or when the directory is not there.
    """
    try:
        file = open(run_dir / ".lock", "a", opener=open_in_place)  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"{run_dir} cannot be used as a run directory: {error.strerror} (.lock).") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{run_dir} is in use: another process trains there. Stop it, or name another.") from None
        yield
