"""Batches that were kept for whoever looks for the cause of a fault."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from sfmarl.storage.durable import replace_file, safe_name
from sfmarl.storage.tensors import dump_tensors

FOLDER = "not_finite"


def keep_batch(run_dir: Path, name: str, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write tensors as RUN/not_finite/NAME.safetensors and return the path. Raises OSError."""
    path = run_dir / FOLDER / f"{safe_name(name)}.safetensors"
    path.parent.mkdir(exist_ok=True)
    replace_file(path, dump_tensors(tensors))
    return path
