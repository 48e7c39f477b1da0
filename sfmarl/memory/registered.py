"""Page-locking the segment for CUDA, so that slots are copied to a device from where they lie.

Every process that uses a GPU registers its own mapping once (cudaHostRegister) and gives it back at its end. A driver
that refuses costs speed, not the run: copies from pageable memory go through the driver's own staging.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sfmarl.memory.segment import Segment

_PORTABLE = 1
"""cudaHostRegisterPortable: page-locked for every device of the process."""


@contextlib.contextmanager
def registered(
    segment: Segment, device: torch.device, warn: Callable[[str], None], runtime: Any = None
) -> Iterator[bool]:
    """Keep the segment page-locked inside the block if `device` is a GPU; whether it is comes out.

    A refusal is said to `warn`. `runtime` has cudaHostRegister and cudaHostUnregister (torch's binding).
    """
    if device.type != "cuda" and runtime is None:
        yield False
        return
    runtime = runtime or torch.cuda.cudart()
    memory = segment.memory()  # keeps the mapping alive as long as it is registered
    error = int(runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, _PORTABLE))
    if error:
        _forget_error(device)
        warn(
            f"CUDA did not page-lock the {memory.nbytes / 2**30:.2f} GiB of shared memory (error {error}): copies to "
            f"{device} are slower. Lower --num-envs-per-worker, --rollout or --ring if memory is short."
        )
        yield False
        return
    try:
        yield True
    finally:
        if device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # what went wrong on the device is already on its way up
                torch.cuda.synchronize(device)
        runtime.cudaHostUnregister(memory.ctypes.data)


def _forget_error(device: torch.device) -> None:
    """The runtime remembers its last error until somebody asks, and the next kernel's launch check would raise it."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device=device)
            torch.cuda.synchronize(device)
