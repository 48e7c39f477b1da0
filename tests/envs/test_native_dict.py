"""`native/dict` answers what `games/dict` answers behind the adapter, row for row."""

from __future__ import annotations

import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.registry import is_native, load_spec, make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions

SEEDS = [5, 6, 7]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"length": 7},
        {"num_agents": 3, "obs_size": 4, "num_actions": 6, "length": 40, "masks": True},
        {"num_agents": 2, "image_size": 9, "length": 5},
    ],
)
def test_it_equals_the_dict_environment_step_by_step(kwargs):
    configs = [Config(name, env_kwargs=kwargs) for name in ("games/dict", "native/dict")]
    envs = [make_vector_env(config, len(SEEDS), SEEDS) for config in configs]
    assert envs[1].spec.teams == envs[0].spec.teams == load_spec(configs[1]).teams
    assert is_native("native/dict") and not is_native("games/dict")
    spec, rng = envs[0].spec, np.random.default_rng(1)
    running = np.ones(len(SEEDS), bool)
    states = [(new_obs_rows(spec, len(SEEDS)), new_outcome_rows(spec, len(SEEDS))) for _ in envs]
    for env, (rows, _) in zip(envs, states, strict=True):
        env.reset(range(len(SEEDS)), rows)

    for step in range(100):
        equal_rows(*states)
        if step % 9 == 4:
            # one copy pauses, and is out of step with the others from then on
            running[step % 3] = False
        actions = [random_actions(spec.teams[0].action, (len(SEEDS), len(spec.teams[0].agents)), rng)]
        ends = [env.step(actions, running, *state) for env, state in zip(envs, states, strict=True)]
        np.testing.assert_array_equal(*ends)
        equal_rows(*states)
        running[:] = True
        if ends[0].any():
            for env, (rows, _) in zip(envs, states, strict=True):
                env.reset(np.flatnonzero(ends[0]).tolist(), rows)


def equal_rows(first, second):
    for one, other in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        for name in one.__slots__:
            a, b = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert (a is None) == (b is None) and (a is None or a.dtype == b.dtype)


def test_masks_leave_something_legal():
    env = make_vector_env(Config("native/dict", env_kwargs={"masks": True}), 4, range(4))
    rows = new_obs_rows(env.spec, 4)
    env.reset(range(4), rows)
    assert rows[0].action_mask.any(-1).all() and not rows[0].action_mask.all()
