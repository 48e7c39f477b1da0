"""Multi-robot warehouse (Papoudakis et al. 2021; package rware): `rware/rware-tiny-2ag-v2`.

Rewards are each robot's own deliveries; `reward_type=GLOBAL` pays everybody for each, as RWARE defines it. A warehouse
never closes: whatever ends an episode (`max_steps`, `max_inactivity_steps`) is a limit, so it is truncated, where RWARE
itself says terminated.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import gymnasium
import rware
from rware.warehouse import ObservationType, RewardType, Warehouse

from sfmarl.envs.listed import ListedEnv
from sfmarl.errors import UsageError

SIGNATURE_OF = Warehouse
"""Whose parameters are the keyword arguments of `build`."""
ENTRY_POINT = "rware"
"""What the entry points of its environments begin with."""
_ENUMS: dict[str, type[Enum]] = {"reward_type": RewardType, "observation_type": ObservationType}

# the variants that observe images are registered on demand
rware.image_registration()


def build(env_id: str, **kwargs: Any) -> ListedEnv:
    """Return the environment that rware registers as `env_id`; enumerations are given by name (`TWO_STAGE`)."""
    for name, kind in _ENUMS.items():
        if isinstance(kwargs.get(name), str):
            kwargs[name] = _member(name, kind, kwargs[name])
    return ListedEnv(gymnasium.make(env_id, disable_env_checker=True, **kwargs), lambda env: True)


def _member(name: str, kind: type[Enum], word: str) -> Enum:
    try:
        return kind[word.upper()]
    except KeyError as error:
        raise UsageError(f"rware: {name} = {word!r} is unknown; it is one of {', '.join(kind.__members__)}") from error
