"""Restoring an algorithm's live tensors and random streams from saved ones, all or nothing."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def load_in_place(live: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy every `saved` tensor into the `live` one of its name.

    Raises KeyError when one is missing and ValueError for an unknown name or another shape, before anything is changed.
    """
    if missing := sorted(live.keys() - saved.keys()):
        raise KeyError(f"the saved state lacks {_some(missing)}")
    if unknown := sorted(saved.keys() - live.keys()):
        raise ValueError(f"the saved state holds unknown {_some(unknown)}")
    for name, tensor in live.items():
        if saved[name].shape != tensor.shape:
            raise ValueError(f"{name}: saved as {tuple(saved[name].shape)}, expected {tuple(tensor.shape)}")
    for name, tensor in live.items():
        tensor.copy_(saved[name])


def restored_generator(state: Tensor) -> torch.Generator:
    """Return a CPU generator in the saved `state`. Raises ValueError when it is no such generator's."""
    generator = torch.Generator()
    try:
        generator.set_state(state.cpu())
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"minibatch_generator: not the state of a CPU generator ({error})") from error
    return generator


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
