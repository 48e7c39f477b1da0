"""Packages with an interface of their own against a plain loop over that interface."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.registry import list_envs, load_spec, make_env, make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.errors import UsageError

FORAGING = "lbf/Foraging-8x8-2p-2f-coop-v3"
WAREHOUSE = "rware/rware-tiny-2ag-v2"
PACKAGES = {"lbf": "lbforaging", "rware": "rware"}


def needs(name):
    return pytest.importorskip(PACKAGES[name.split("/")[0]])


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        (FORAGING, {}),
        ("lbf/Foraging-5x5-2p-1f-v3", {"max_episode_steps": 200}),
        (WAREHOUSE, {"max_steps": 20}),
        ("rware/rware-tiny-2ag-v2", {"msg_bits": 2, "max_steps": 20}),
        ("rware/rware-imgdict-tiny-2ag-v2", {"max_steps": 20}),
    ],
)
def test_rows_equal_a_plain_loop(name, kwargs):
    needs(name)
    env = make_vector_env(Config(name, env_kwargs=kwargs), 1, [3])
    plain = gymnasium.make(name.split("/")[1], disable_env_checker=True, **kwargs)
    team, codec = env.spec.teams[0], env._codecs[0]
    assert team.agents == ("agent_0", "agent_1") and env.spec.state_shape is None
    rng = np.random.default_rng(0)
    rows, outcome = new_obs_rows(env.spec, 1), new_outcome_rows(env.spec, 1)
    env.reset([0], rows)
    told, _ = plain.reset(seed=3)
    endings = []
    for _ in range(250):
        np.testing.assert_array_equal(rows[0].obs[0], [codec.obs.one(raw) for raw in told])
        actions = random_actions(team.action, (1, 2), rng)
        ended = env.step([actions], np.ones(1, bool), rows, outcome)
        told, rewards, done, cut, _ = plain.step(list(codec.action.decode(actions)[0]))
        np.testing.assert_array_equal(outcome[0].reward[0], np.float32(rewards))
        assert ended[0] == (done or cut)
        if ended[0]:
            np.testing.assert_array_equal(rows[0].obs[0], [codec.obs.one(raw) for raw in told])
            endings.append((outcome[0].terminated.all(), outcome[0].truncated.all()))
            if name.startswith("lbf"):
                assert endings[-1] == ((not plain.unwrapped.field.any()), bool(plain.unwrapped.field.any()))
            told, _ = plain.reset()
            env.reset([0], rows)
    # a time limit is no end of the game, whatever the package calls it
    assert (False, True) in endings or "5x5" in name
    assert ((True, False) in endings) == ("5x5" in name)


def test_names_are_answered_with_the_nearest_and_arguments_with_the_known():
    needs("lbf")
    with pytest.raises(UsageError, match=r"'Foraging-8x8-2p-2f-cop-v3' in lbforaging\. Did you mean 'Foraging-8x8"):
        make_env(Config("lbf/Foraging-8x8-2p-2f-cop-v3"))
    with pytest.raises(UsageError, match=r"Take for example lbf/Foraging-8x8"):
        make_env(Config("lbf/"))
    with pytest.raises(UsageError, match=r"no keyword argument 'sigth'.*Did you mean 'sight'"):
        make_env(Config(FORAGING, env_kwargs={"sigth": 2}))
    assert load_spec(Config(FORAGING, env_kwargs={"sight": 2})).teams[0].obs.shape == (12,)


def test_enumerations_are_given_by_name():
    needs("rware")
    env = make_env(Config(WAREHOUSE, env_kwargs={"reward_type": "two_stage"}))
    assert env.env.unwrapped.reward_type.name == "TWO_STAGE"
    with pytest.raises(UsageError, match="GLOBAL, INDIVIDUAL, TWO_STAGE"):
        make_env(Config(WAREHOUSE, env_kwargs={"reward_type": "mine"}))


@pytest.mark.parametrize(("name", "package"), [(FORAGING, "lbforaging"), (WAREHOUSE, "rware")])
def test_a_missing_package_is_answered_with_its_extra(name, package, monkeypatch):
    for module in {package, *(known for known in sys.modules if known.startswith(f"{package}."))}:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"sfmarl.envs.{name.split('/')[0]}", raising=False)
    with pytest.raises(UsageError, match=rf"'{package}', which is not installed: pip install 'sfmarl\[\w+\]'"):
        make_env(Config(name))


def test_lists_name_one_environment_per_adapter():
    assert {FORAGING, WAREHOUSE} <= {name for name, _ in list_envs()}
