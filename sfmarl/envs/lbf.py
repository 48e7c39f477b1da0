"""Level-based foraging (Christianos et al. 2020; package lbforaging): `lbf/Foraging-8x8-2p-2f-coop-v3`.

Rewards are each player's own share of the food it loaded; over an episode all players' shares sum to at most 1. An
episode ends when the food is gone (terminated) or after `max_episode_steps` (truncated, where LBF itself says
terminated).
"""

from __future__ import annotations

from typing import Any

import gymnasium
from lbforaging.foraging.environment import ForagingEnv

from sfmarl.envs.listed import ListedEnv

SIGNATURE_OF = ForagingEnv
"""Whose parameters are the keyword arguments of `build`."""
ENTRY_POINT = "lbforaging"
"""What the entry points of its environments begin with."""


def build(env_id: str, **kwargs: Any) -> ListedEnv:
    """Return the environment that lbforaging registers as `env_id` (`Foraging-8x8-2p-2f-coop-v3`)."""
    return ListedEnv(gymnasium.make(env_id, disable_env_checker=True, **kwargs), _food_is_left)


def _food_is_left(env: gymnasium.Env) -> bool:
    return bool(env.unwrapped.field.any())
