"""How many threads the numerical libraries of this process may use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits


def use_threads(count: int) -> Callable[[], None]:
    """Give torch and NumPy's BLAS `count` threads each; returns a function that undoes it.

    Every component is a process of its own and its matrices are small: by default a 64 x 64 product would be spread
    over all cores, which costs more than it saves and takes the cores from the other components.
    """
    before = torch.get_num_threads()
    limits = threadpool_limits(limits=count, user_api="blas")
    torch.set_num_threads(count)

    def undo() -> None:
        torch.set_num_threads(before)
        limits.restore_original_limits()

    return undo
