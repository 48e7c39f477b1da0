"""Encoders that a user registers: what stands before the hidden layers in the place of the built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sfmarl.errors import UsageError, UserCodeError
from sfmarl.registry import Registry, parse_call

BuildEncoder = Callable[..., nn.Module]
"""`(shape, **kwargs) -> module` that maps rows float32 or uint8 [M, *shape] to features float32 [M, F]."""

MODELS: Registry[BuildEncoder] = Registry("model")
"""Encoders by name."""


def register_model(name: str, build: BuildEncoder, description: str = "") -> None:
    """Make `build(shape, **kwargs)` known as `name`; UsageError if it is taken.

    It returns a torch module that maps rows [M, *shape] (`shape` is one agent's stored observation, normalised if it is
    a vector) to features [M, F]. Hidden layers, memory and the head follow as in every network, so that parameter
    sharing, agent ids, GRU and LSTM work with it; each parameter set builds one of its own. Its state must lie in
    parameters and buffers, and all of it must be float32.
    """
    MODELS.register(name, build, description)


def find_model(setting: str) -> Callable[[tuple[int, ...]], nn.Module]:
    """Return what builds the encoder `name?key=value` names. Raises UsageError when there is none."""
    name, kwargs = parse_call(setting)
    build = MODELS.find_callable(name)
    return lambda shape: build(shape, **kwargs)


class CustomEncoder(nn.Module):
    """One registered encoder per parameter set (the interface of `convolutions.ConvEncoder`)."""

    def __init__(self, setting: str, shape: tuple[int, ...], num_sets: int, generator: torch.Generator) -> None:
        """Raises UsageError when there is no such encoder, or when it cannot be built for rows of `shape`."""
        super().__init__()
        self._dims = len(shape)
        build = find_model(setting)
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            # a user's module draws its first weights from torch's own generator
            torch.manual_seed(seed)
            try:
                self.encoders = nn.ModuleList(build(shape) for _ in range(num_sets))
                with torch.no_grad():
                    rows = self.encoders[0].eval()(torch.zeros((2, *shape)))
            except Exception as error:
                raise UserCodeError(
                    f"model {setting!r} for observations {list(shape)} raised {type(error).__name__}: {error}"
                ) from error
        _require_features(setting, rows, self.state_dict())
        self.features = rows.shape[1]

    def forward(self, x: Tensor, group_sets: list[int]) -> Tensor:
        """Encode x [..., *shape] with set 0, or groups x [G, M, *shape], group g with set `group_sets[g]`."""
        if len(group_sets) == 1:
            lead = x.shape[: x.dim() - self._dims]
            rows = self.encoders[group_sets[0]](x.reshape(-1, *x.shape[len(lead) :]))
            return rows.reshape(*lead, -1)
        return torch.stack([self.encoders[s](rows) for rows, s in zip(x, group_sets, strict=True)])


def _require_features(setting: str, rows: Any, state: dict[str, Tensor]) -> None:
    if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != 2 or rows.dtype != torch.float32:
        got = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise UsageError(
            f"model {setting!r} must map rows [M, *shape] to float32 features [M, F]; of M = 2 it made {got}."
        )
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            raise UsageError(f"model {setting!r}: {name} is {tensor.dtype}; weights are published as float32.")
