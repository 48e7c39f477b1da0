"""Copies from host memory to the device that acts or learns, the same calls on the CPU and on CUDA.

On CUDA a copy from page-locked memory (`memory/registered.py`, or `host` below) is asynchronous: its source must stay
as it is until `wait` returns. From pageable memory the driver copies first, so the same calls stay right.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIRECT_BYTES = 1 << 16
"""Smaller pieces are gathered on the host and travel together: what a transfer of its own costs the host (about 10 us)
is enough to copy this much. `benchmarks/gpu.py` measures both ways."""


class Transfers:
    """Copies to one device, in the order in which they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.separate = device.type == "cuda"
        """Whether the device has memory of its own; without, a batch or a buffer is filled in place."""
        self._event = torch.cuda.Event() if self.separate else None

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return zeros in host memory, page-locked if the device has memory of its own."""
        return torch.zeros(shape, dtype=dtype, pin_memory=self.device.type == "cuda")

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy `source`, on the host, into `target`, on the device; other dtypes are converted on the device."""
        target.copy_(source, non_blocking=True)

    def wait(self) -> None:
        """Return when everything asked for so far has been copied: the sources may be written again."""
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(self.device))
            self._event.synchronize()
