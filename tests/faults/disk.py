"""A disk that fills up, or becomes read-only, while a run writes to it: at the run's first checkpoint."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfmarl.run.callbacks import Callback

FILLER = "filler"


@contextmanager
def small_disk(folder: Path, size: str = "4m") -> Iterator[Path]:
    """Mount a tmpfs of `size` in `folder`. Raises CalledProcessError where mounting is not permitted."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with open(disk / FILLER, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


class FillDisk(Callback):
    """Fills the disk of the run directory once the run has its first checkpoint."""

    def on_checkpoint(self, path: Path) -> None:
        if not (disk := self.run.run_dir.parent / FILLER).exists():
            fill(disk.parent)


class EmptyDisk(FillDisk):
    """Does that, and makes room again when half of the env-steps are taken."""

    def on_record(self, scalars):
        filler = self.run.run_dir.parent / FILLER
        if filler.exists() and self.run.env_steps > self.run.config.env_steps / 2:
            filler.write_bytes(b"")


class ReadOnly(Callback):
    """Has the run directory become read-only once the run has its first checkpoint, as a failing disk does."""

    def on_checkpoint(self, path: Path) -> None:
        folder = str(self.run.run_dir)
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
