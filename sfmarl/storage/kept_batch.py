"""Batches that were kept for whoever looks for the cause of a fault."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from sfmarl.storage.durable import make_directory, replace_file, safe_name
from sfmarl.storage.tensors import dump_tensors

FOLDER = "not_finite"


def keep_batch(run_dir: Path, name: str, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write tensors as RUN/not_finite/NAME.safetensors and return the path. Raises OSError."""
    path = run_dir / FOLDER / f"{safe_name(name)}.safetensors"
    if path.parent.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path.parent))
    make_directory(path.parent)
    replace_file(path, dump_tensors(tensors))
    return path
