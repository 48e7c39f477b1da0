"""Real environments in SuperSuit's and PettingZoo's wrappers, named by tests as `wrapped_envs:NAME`."""

from __future__ import annotations

import numpy as np
from mpe2 import simple_spread_v3, simple_tag_v3
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec
from pettingzoo.utils.wrappers import BaseParallelWrapper, ClipOutOfBoundsWrapper, OrderEnforcingWrapper


def parallel_of_turns():
    """A parallel env turned into turns, wrapped there, and back."""
    return aec_to_parallel(OrderEnforcingWrapper(parallel_to_aec(simple_spread_v3.parallel_env(max_cycles=10))))


def clipped_turns():
    """Continuous actions behind a wrapper of the turn-based side."""
    turns = simple_spread_v3.env(max_cycles=10, continuous_actions=True)
    return aec_to_parallel(ClipOutOfBoundsWrapper(turns))


def plain_wrapper():
    """A wrapper that does nothing."""
    return BaseParallelWrapper(simple_spread_v3.parallel_env(max_cycles=10))


def padded():
    """Predators and prey with equal spaces."""
    import supersuit

    env = simple_tag_v3.parallel_env(max_cycles=10)
    return supersuit.pad_action_space_v0(supersuit.pad_observations_v0(env))


def knights(**wrappers):
    """Knights, archers and zombies, who die; `black_death` goes on observing zeros for the dead."""
    import supersuit
    from pettingzoo.butterfly import knights_archers_zombies_v11

    env = knights_archers_zombies_v11.parallel_env(max_cycles=120, spawn_delay=3)
    env = supersuit.flatten_v0(supersuit.dtype_v0(env, np.float32))
    return supersuit.black_death_v3(env) if wrappers.get("black_death") else env


def small_pistons(stacked=False):
    """Pistonball in grey, 20 x 30 pixels."""
    import supersuit
    from pettingzoo.butterfly import pistonball_v6

    env = pistonball_v6.parallel_env(n_pistons=4, max_cycles=12)
    env = supersuit.resize_v1(supersuit.color_reduction_v0(env, mode="B"), x_size=20, y_size=30)
    return supersuit.frame_stack_v2(env, 3) if stacked else env
