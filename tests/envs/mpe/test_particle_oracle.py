"""Every native particle scenario against mpe2, step by step: observations, state, rewards, endings."""

from __future__ import annotations

import numpy as np
import pytest
from particle_pairs import CASES, Pair


def play(module, num_envs, kwargs):
    """Play what mpe2 draws from its seeds, then crowded worlds, whose goals come from the streams that follow."""
    pair = Pair(module, num_envs, **kwargs)
    rng = np.random.default_rng(7)
    pair.reset(seeded=True)
    terminated = pair.play(rng)
    pair.reset(seeded=False)
    pair.crowd(rng)
    return terminated + pair.play(rng)


@pytest.mark.parametrize(
    ("module", "kwargs", "continuous"), [(*case, index % 2 == 1) for index, case in enumerate(CASES)]
)
def test_equal_episodes(module, kwargs, continuous):
    num_envs = 4 if "terminate_on_success" in kwargs else 1
    play(module, num_envs, {**kwargs, "continuous_actions": continuous})


@pytest.mark.slow
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("module", "kwargs"), CASES)
def test_thousands_of_equal_episodes(module, kwargs, continuous):
    """4,400 in all. Where success ends them, some worlds have ended while others go on."""
    terminated = play(module, 50, {**kwargs, "continuous_actions": continuous})
    assert (terminated > 0) == kwargs.get("terminate_on_success", False)
