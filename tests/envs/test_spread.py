"""The native particle world against mpe2, step by step."""

from __future__ import annotations

import numpy as np
import pytest
from mpe2 import simple_spread_v3
from mpe2._mpe_utils.core import Agent, World

from sfmarl.envs.particles import Contacts, integrate
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.spread import SimpleSpread

EPISODES = 200


class Pair:
    """E native worlds and as many mpe2 environments."""

    def __init__(self, num_envs, **kwargs):
        self.native = SimpleSpread(num_envs, range(num_envs), **kwargs)
        self.mpe2 = [simple_spread_v3.parallel_env(**kwargs) for _ in range(num_envs)]
        self.rows = new_obs_rows(self.native.spec, num_envs)
        self.outcome = new_outcome_rows(self.native.spec, num_envs)
        self.agents = self.native.spec.teams[0].agents

    def expect_obs(self, e, observations):
        expected = np.array([observations[agent] for agent in self.agents])
        np.testing.assert_allclose(self.rows[0].obs[e], expected, rtol=1e-6, atol=1e-6)

    def reset(self, seeded):
        self.native.reset(range(len(self.mpe2)), self.rows)
        for e, env in enumerate(self.mpe2):
            self.expect_obs(e, env.reset(seed=e if seeded else None)[0])
        assert self.rows[0].active.all()
        assert self.rows[0].is_first.all()

    def step(self, actions):
        """Step both and compare everything; return `ended`."""
        ended = self.native.step([actions], np.ones(len(self.mpe2), bool), self.rows, self.outcome)
        for e, env in enumerate(self.mpe2):
            moves = {a: actions[e, i] if actions.ndim > 2 else int(actions[e, i]) for i, a in enumerate(self.agents)}
            observations, rewards, terminations, truncations, _ = env.step(moves)
            self.expect_obs(e, observations)
            paid = [rewards[agent] for agent in self.agents]
            np.testing.assert_allclose(self.outcome[0].reward[e], paid, rtol=1e-6, atol=1e-6)
            assert self.outcome[0].terminated[e].tolist() == list(terminations.values())
            assert self.outcome[0].truncated[e].tolist() == list(truncations.values())
            assert ended[e] == (not env.agents)
            assert self.rows[0].active[e].tolist() == [not ended[e]] * len(self.agents)
        return ended


@pytest.mark.parametrize(
    ("kwargs", "episodes"),
    [
        ({}, EPISODES),
        ({"continuous_actions": True}, EPISODES),
        ({"N": 5, "local_ratio": 0.9, "max_cycles": 11}, 20),
        ({"N": 4, "local_ratio": 0.0, "continuous_actions": True, "max_cycles": 60}, 8),
        ({"N": 1}, 4),
    ],
)
def test_equal_seeds_play_equal_episodes(kwargs, episodes):
    """Also the second episode of each env, whose initial state comes from the env's own stream."""
    pair = Pair(episodes // 2, **kwargs)
    rng = np.random.default_rng(0)
    spec = pair.native.spec.teams[0].action
    for seeded in (True, False):
        pair.reset(seeded)
        length = kwargs.get("max_cycles", 25)
        for t in range(1, length + 1):
            ended = pair.step(random_actions(spec, (episodes // 2, len(pair.agents)), rng))
            assert ended.all() == ended.any() == (t == length)


def test_equal_from_injected_states_with_many_collisions():
    """Crowded worlds with fast agents: contact forces and collision penalties at every step."""
    pair = Pair(30, N=4)
    rng = np.random.default_rng(1)
    pair.reset(True)
    native = pair.native
    native.position[...] = rng.uniform(-0.3, 0.3, native.position.shape)
    native.velocity[...] = rng.normal(size=native.velocity.shape)
    native.landmarks[...] = rng.uniform(-0.3, 0.3, native.landmarks.shape)
    for e, env in enumerate(pair.mpe2):
        world = env.unwrapped.world
        for i, agent in enumerate(world.agents):
            agent.state.p_pos, agent.state.p_vel = native.position[e, i].copy(), native.velocity[e, i].copy()
        for i, landmark in enumerate(world.landmarks):
            landmark.state.p_pos = native.landmarks[e, i].copy()
    touched = 0
    for _ in range(25):
        pair.step(random_actions(native.spec.teams[0].action, (30, 4), rng))
        touched += int(Contacts(np.full(4, 0.15)).count(native.position).sum())
    assert touched > 200


def test_continuous_actions_outside_their_bounds_are_clipped_as_in_mpe2():
    pair = Pair(4, continuous_actions=True)
    rng = np.random.default_rng(2)
    pair.reset(True)
    for _ in range(25):
        wild = rng.normal(scale=2.0, size=(4, 3, 5)).astype(np.float32)
        before = wild.copy()
        tame = np.clip(wild, 0, 1)
        native = SimpleSpread(4, range(4), continuous_actions=True)
        for name in ("position", "velocity", "landmarks"):
            getattr(native, name)[...] = getattr(pair.native, name)
        pair.step(tame)
        native.step([wild], np.ones(4, bool), new_obs_rows(native.spec, 4), new_outcome_rows(native.spec, 4))
        np.testing.assert_array_equal(native.velocity, pair.native.velocity)
        np.testing.assert_array_equal(wild, before)


def test_worlds_that_do_not_run_stand_still():
    env = SimpleSpread(5, range(5), max_cycles=3)
    twin = SimpleSpread(5, range(5), max_cycles=3)
    rows, outcome = new_obs_rows(env.spec, 5), new_outcome_rows(env.spec, 5)
    twin_rows, twin_outcome = new_obs_rows(env.spec, 5), new_outcome_rows(env.spec, 5)
    env.reset(range(5), rows)
    twin.reset(range(5), twin_rows)
    rng = np.random.default_rng(0)
    running = np.array([True, False, True, True, False])
    for _ in range(3):
        actions = rng.integers(5, size=(5, 3)).astype(np.int32)
        for row in rows:
            row.obs[~running] = 7
            row.is_first[~running] = True
        outcome[0].reward[~running] = 7
        ended = env.step([actions], running, rows, outcome)
        twin_ended = twin.step([actions], np.ones(5, bool), twin_rows, twin_outcome)
        np.testing.assert_array_equal(rows[0].obs[running], twin_rows[0].obs[running])
        np.testing.assert_array_equal(outcome[0].reward[running], twin_outcome[0].reward[running])
        assert (rows[0].obs[~running] == 7).all()
        assert rows[0].is_first[~running].all()
        assert (outcome[0].reward[~running] == 7).all()
        assert ended.tolist() == (twin_ended & running).tolist()
    assert env.steps.tolist() == [3, 0, 3, 3, 0]


def test_physics_equals_mpe2_for_mixed_sizes():
    """`Contacts` and `integrate` alone, with agents of different sizes as later scenarios have them."""
    rng = np.random.default_rng(3)
    radii = np.array([0.05, 0.15, 0.2, 0.075])
    position, velocity = rng.uniform(-0.2, 0.2, (20, 4, 2)), rng.normal(size=(20, 4, 2))
    control = rng.normal(size=(20, 4, 2))
    after = integrate(position, velocity, control + Contacts(radii).force(position))
    for e in range(20):
        world = World()
        world.agents = [Agent() for _ in radii]
        for i, agent in enumerate(world.agents):
            agent.size, agent.silent = radii[i], True
            agent.state.p_pos, agent.state.p_vel = position[e, i].copy(), velocity[e, i].copy()
            agent.action.u = control[e, i]
        world.step()
        np.testing.assert_allclose(after[0][e], [agent.state.p_pos for agent in world.agents], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(after[1][e], [agent.state.p_vel for agent in world.agents], rtol=1e-9, atol=1e-12)
