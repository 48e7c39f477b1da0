"""Torch tensors as bytes: the safetensors format, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from sfmarl.errors import RunError


def dump_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the tensors in the safetensors format; tensors that share memory are written once each."""
    # clone: safetensors refuses views and tied parameters
    return safetensors.torch.save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})


def parse_tensors(data: bytes, what: Path) -> dict[str, torch.Tensor]:
    """Return the CPU tensors that `data`, the content of `what`, holds. Nothing in it is executed.

    Raises RunError when it is not in the safetensors format (a pickle, a torch archive, a damaged file).
    """
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise RunError(
            f"{what} is not a safetensors file ({error}). Other formats are not read: they can run code."
        ) from error
