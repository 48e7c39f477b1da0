"""torch.compile for a learner's step, where there is a compiler for its device."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Return `function` compiled for `device`; as it is, with a RuntimeWarning, where nothing can be compiled."""
    if fault := compiler_fault(device.type):
        warnings.warn(f"compile = True, but {fault}. The learner goes on uncompiled.", RuntimeWarning, stacklevel=2)
        return function
    return torch.compile(function)


@functools.cache
def compiler_fault(kind: str) -> str | None:
    """Return why nothing can be compiled for devices of this `kind`; None if something was.

    Takes seconds the first time: the only proof of a compiler (C++ on the CPU, Triton on a GPU) is what it makes.
    """
    import torch._inductor.config as inductor

    # compiler processes of its own would outlive a learner that is killed
    inductor.compile_threads = 1
    # its hints are for who writes the code: that float32 is not TF32 is meant (benchmarks/gpu.md)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\._inductor\.")
    try:
        torch.compile(lambda x: x.sin() + 1.0)(torch.zeros(8, device=kind))
    except Exception as error:  # whatever a missing or broken tool chain raises
        text = str(error).strip().splitlines() or [""]
        return f"torch cannot compile for {kind}: {type(error).__name__}: {text[0]}"
    return None
