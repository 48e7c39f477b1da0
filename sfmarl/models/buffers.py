"""Work arrays that are made once: what acts does not allocate from call to call."""

from __future__ import annotations

import math

import numpy as np


class Buffers:
    """Work arrays by name. The memory of a name grows with what is asked for and is never freed."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def __call__(self, name: str, *shape: int, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Return a contiguous array of `shape`, its values undefined."""
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size or memory.dtype != dtype:
            memory = self._memory[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)
