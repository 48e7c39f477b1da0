"""Where an AECEnv keeps whose turn it is, below the wrappers that only pass it on.

PettingZoo's wrappers look every attribute up through each other, at microseconds per attribute and layer; reading an
agent's turn takes seven of them, which in a board game is half of a turn's time.
"""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv
from pettingzoo.utils.wrappers import BaseWrapper, OrderEnforcingWrapper

_STATE = ("agents", "agent_selection", "terminations", "truncations", "infos", "_cumulative_rewards", "last")
_PLAIN_LOOKUPS = (BaseWrapper.__getattr__, OrderEnforcingWrapper.__getattr__)


def state_holder(env: Any) -> Any | None:
    """Return the object whose `agents`, `agent_selection`, `terminations`, ... `env.last()` would read.

    None when some wrapper has a say in them, or when the environment answers `last()` in its own way: then only
    `last()` tells.
    """
    while isinstance(env, BaseWrapper):
        own = vars(env)
        if type(env).__getattr__ not in _PLAIN_LOOKUPS or any(
            name in own or getattr(type(env), name, None) is not getattr(AECEnv, name, None) for name in _STATE
        ):
            return None
        env = env.env
    return env if getattr(type(env), "last", None) is AECEnv.last else None
