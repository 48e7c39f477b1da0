"""What the oracle does not see: specs, keyword arguments, streams of random numbers, worlds that stand still."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from particle_pairs import CASES, native_name

from sfmarl.config import Config
from sfmarl.envs.mpe import SCENARIOS
from sfmarl.envs.mpe.view import View
from sfmarl.envs.registry import ENVS, load_spec, make_vector_env
from sfmarl.envs.resolve import resolve
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.errors import UsageError

REFUSED = {"render_mode", "benchmark_data", "curriculum"}
"""Pictures, infos, and stages that only a caller who holds the environment can advance."""

every_scenario = pytest.mark.parametrize("module", SCENARIOS)


def vector_env(module, num_envs, seeds=None, **kwargs):
    return make_vector_env(Config(native_name(module), env_kwargs=kwargs), num_envs, seeds or list(range(num_envs)))


def act(env, rng):
    return [random_actions(team.action, (env.num_envs, len(team.agents)), rng) for team in env.spec.teams]


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("module", "kwargs"), CASES)
def test_specs_are_those_of_the_adapter(module, kwargs, continuous):
    """Teams, agents, spaces and `state()`, all but the environment's name."""
    kwargs = {**kwargs, "continuous_actions": continuous}
    adapter, native = (load_spec(Config(name, env_kwargs=kwargs)) for name in (f"mpe2.{module}", native_name(module)))
    assert repr(replace(native, env="")) == repr(replace(adapter, env=""))


@every_scenario
def test_keyword_arguments_are_mpe2s(module):
    native, original = (set(resolve(name, ENVS).accepted()) for name in (native_name(module), f"mpe2.{module}"))
    assert native <= original
    assert original - native <= REFUSED
    for name in original - native:
        with pytest.raises(UsageError, match=f"takes no keyword argument '{name}'.*max_cycles, continuous_actions"):
            load_spec(Config(native_name(module), env_kwargs={name: None}))


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("simple_spread", {"N": 0}, "needs N >= 1, got 0"),
        ("simple_spread", {"N": 2.0}, "needs N >= 1, got 2.0"),
        ("simple_spread", {"local_ratio": 1.5}, r"needs local_ratio in \[0, 1\], got 1.5"),
        ("simple_reference", {"local_ratio": -1}, r"needs local_ratio in \[0, 1\], got -1"),
        ("simple_push", {"max_cycles": 0}, "needs max_cycles >= 1, got 0"),
        ("simple_tag", {"num_adversaries": 0}, "needs num_adversaries >= 1, got 0"),
        ("simple_tag", {"num_agent_neighbors": 0}, "needs num_agent_neighbors >= 1, got 0"),
        ("simple_world_comm", {"num_food": 0}, "needs num_food >= 1, got 0"),
    ],
)
def test_impossible_worlds_are_refused(name, kwargs, words):
    with pytest.raises(UsageError, match=f"native/{name} {words}"):
        load_spec(Config(f"native/{name}", env_kwargs=kwargs))


@every_scenario
def test_a_restored_stream_goes_on(module):
    """Through JSON, as a checkpoint keeps it: the same goals and places as without the interruption."""

    def episode(env):
        rows = new_obs_rows(env.spec, 3)
        env.reset(range(3), rows)
        return [row.obs for row in rows]

    env, resumed = vector_env(module, 3), vector_env(module, 3, seeds=[7, 8, 9])
    first = episode(env)
    resumed.restore_generators(json.loads(json.dumps(env.generator_states())))
    second = episode(env)
    assert any((one != two).any() for one, two in zip(first, second, strict=True))
    for expected, found in zip(second, episode(resumed), strict=True):
        np.testing.assert_array_equal(found, expected)


@every_scenario
def test_places_and_goals_are_uniform(module):
    """6,000 episodes: ranges, means and variances of a uniform distribution, goals all equally often."""
    env = vector_env(module, 6000)
    env.reset(range(6000), new_obs_rows(env.spec, 6000))
    worlds, entities = env.worlds, env.worlds.entities
    place = worlds.position / entities.span[:, None, None]
    assert np.abs(place).max() <= 1.0
    np.testing.assert_allclose(place.mean(axis=-1), 0.0, atol=0.04)
    np.testing.assert_allclose(place.var(axis=-1), 1 / 3, atol=0.02)
    assert not worlds.velocity.any()
    assert not worlds.said.any()
    for goals in worlds.goals:
        counts = np.bincount(goals, minlength=entities.num_landmarks)
        np.testing.assert_allclose(counts / 6000, 1 / entities.num_landmarks, atol=0.03)
    # independent of each other: nothing is drawn from the numbers of something else
    drawn = np.concatenate([place.reshape(-1, 6000), worlds.goals])
    np.testing.assert_allclose(np.corrcoef(drawn), np.eye(len(drawn)), atol=0.07)


@every_scenario
def test_worlds_that_do_not_run_stand_still(module):
    kwargs = {"max_cycles": 3}
    env, twin = (vector_env(module, 5, **kwargs) for _ in range(2))
    rows, outcome = new_obs_rows(env.spec, 5), new_outcome_rows(env.spec, 5)
    twin_rows, twin_outcome = new_obs_rows(env.spec, 5), new_outcome_rows(env.spec, 5)
    env.reset(range(5), rows)
    twin.reset(range(5), twin_rows)
    rng = np.random.default_rng(0)
    running = np.array([True, False, True, True, False])
    before = env.worlds.position[..., ~running].copy()
    for t in range(3):
        actions = act(env, rng)
        for row, paid in zip(rows, outcome, strict=True):
            row.obs[~running] = 7
            row.is_first[~running] = True
            paid.reward[~running] = 7
        ended = env.step(actions, running, rows, outcome)
        twin_ended = twin.step(actions, np.ones(5, bool), twin_rows, twin_outcome)
        assert ended.tolist() == (twin_ended & running).tolist() == (running & (t == 2)).tolist()
        for row, paid, twin_row, twin_paid in zip(rows, outcome, twin_rows, twin_outcome, strict=True):
            np.testing.assert_array_equal(row.obs[running], twin_row.obs[running])
            np.testing.assert_array_equal(paid.reward[running], twin_paid.reward[running])
            assert (row.obs[~running] == 7).all()
            assert row.is_first[~running].all()
            assert (paid.reward[~running] == 7).all()
            if row.state is not None:
                np.testing.assert_array_equal(row.state[running], twin_row.state[running])
    np.testing.assert_array_equal(env.worlds.position[..., ~running], before)
    assert env.steps.tolist() == [3, 0, 3, 3, 0]


@pytest.mark.parametrize("nearest", [None, 1, 3, 7])
def test_every_team_can_see_the_velocities_of_every_team(nearest):
    """Also in pairings that no scenario has, by plain loops: three teams, one of which is alone."""
    env = vector_env("simple_world_comm_v3", 4)
    env.reset(range(4), new_obs_rows(env.spec, 4))
    worlds = env.worlds
    worlds.velocity[...] = np.random.default_rng(0).normal(size=worlds.velocity.shape)
    agents = [(team.name, name) for team in env.spec.teams for name in team.agents]
    for seer in env.spec.teams:
        for seen in env.spec.teams:
            found = View(worlds, seer.name).velocities(seen.name, nearest)
            for row, name in enumerate(seer.agents):
                me = agents.index((seer.name, name))
                for e in range(4):
                    others = [i for i in range(len(agents)) if i != me]
                    expected = [worlds.velocity[i, :, e] * (agents[i][0] == seen.name) for i in others]
                    if nearest is None:
                        expected = [v for v, i in zip(expected, others, strict=True) if agents[i][0] == seen.name]
                    else:
                        way = [np.linalg.norm(worlds.position[i, :, e] - worlds.position[me, :, e]) for i in others]
                        expected = [expected[at] for at in np.argsort(way)[:nearest]]
                        expected += [np.zeros(2)] * (nearest - len(expected))
                    np.testing.assert_allclose(found[row, :, :, e], np.reshape(expected, (-1, 2)))


@every_scenario
def test_actions_are_left_as_they_are(module):
    env = vector_env(module, 4, continuous_actions=True)
    rows, outcome = new_obs_rows(env.spec, 4), new_outcome_rows(env.spec, 4)
    env.reset(range(4), rows)
    wild = [10.0 * stored - 5.0 for stored in act(env, np.random.default_rng(0))]
    kept = [stored.copy() for stored in wild]
    env.step(wild, np.ones(4, bool), rows, outcome)
    for stored, before in zip(wild, kept, strict=True):
        np.testing.assert_array_equal(stored, before)
