"""Environments whose agents may see what a renderer draws."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


def draws_what_is_seen(env: Any) -> bool:
    """Whether an environment offers `rgb_array` and somebody in it observes pictures: uint8 [H, W, C] or [H, W]."""
    modes = (getattr(env, "metadata", None) or {}).get("render_modes") or ()
    return "rgb_array" in modes and any(map(_holds_picture, _observation_spaces(env)))


def _observation_spaces(env: Any) -> list[Any]:
    if isinstance(env, gymnasium.Env):
        return [env.observation_space]
    if not callable(getattr(env, "observation_space", None)):
        return []
    return [env.observation_space(agent) for agent in getattr(env, "possible_agents", ())]


def _holds_picture(space: Any) -> bool:
    if isinstance(space, spaces.Dict):
        return any(map(_holds_picture, space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return any(map(_holds_picture, space.spaces))
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)
