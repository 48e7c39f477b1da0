"""The physics alone against mpe2's `World`, on bodies no scenario has."""

from __future__ import annotations

import numpy as np
from mpe2._mpe_utils.core import Agent, Landmark, World

from sfmarl.envs.mpe.physics import Contacts, move

SIZE = np.array([0.05, 0.15, 0.2, 0.075, 0.1, 0.1, 0.3])
COLLIDES = np.array([True, True, False, True, True, True, True])
MAX_SPEED = np.array([[0.4], [np.inf], [0.1], [1.3], [np.inf]])
MOVES = np.array([True, True, True, True, False])
AGENTS, WORLDS = len(MAX_SPEED), 50


def test_physics_equals_mpe2_for_mixed_bodies():
    """Five agents, one that passes through everything, one that is fixed, three with speed limits; two obstacles."""
    rng = np.random.default_rng(3)
    position = rng.uniform(-0.3, 0.3, (len(SIZE), 2, WORLDS))
    velocity, control = rng.normal(size=(2, AGENTS, 2, WORLDS)) * MOVES[:, None, None]
    worlds = [_mpe2_world(position[..., e], velocity[..., e], control[..., e]) for e in range(WORLDS)]
    contacts = Contacts(SIZE, COLLIDES, MOVES)
    pushed = 0
    for _ in range(5):
        contact = contacts.force(position)
        pushed += np.count_nonzero(np.abs(contact) > 0.1)
        assert not contact[~(COLLIDES[:AGENTS] & MOVES)].any()
        move(position[:AGENTS], velocity, control + contact, MAX_SPEED)
        for e, world in enumerate(worlds):
            world.step()
            expected = [entity.state.p_pos for entity in world.entities]
            np.testing.assert_allclose(position[..., e], expected, rtol=1e-9, atol=1e-12)
            expected = [agent.state.p_vel for agent in world.agents]
            np.testing.assert_allclose(velocity[..., e], expected, rtol=1e-9, atol=1e-12)
    assert pushed > 500


def test_a_softplus_that_is_left_out_is_below_every_digit():
    """Two bodies that come nearer: the force sets in where its share of a velocity is below 1e-18."""
    gaps = np.linspace(0.035, 0.045, 101)
    position = np.zeros((2, 2, len(gaps)))
    position[1, 0] = 0.2 + gaps
    force = Contacts(np.full(2, 0.1), np.ones(2, bool), np.ones(2, bool)).force(position)
    exact = 100 * 1e-3 * np.logaddexp(0, -gaps / 1e-3)
    np.testing.assert_allclose(force[1, 0], exact, rtol=1e-9, atol=1e-18)
    np.testing.assert_array_equal(force[0], -force[1])


def _mpe2_world(position, velocity, control):
    world = World()
    world.agents = [Agent() for _ in range(AGENTS)]
    world.landmarks = [Landmark() for _ in SIZE[AGENTS:]]
    for i, entity in enumerate(world.entities):
        entity.size, entity.collide = SIZE[i], bool(COLLIDES[i])
        entity.state.p_pos = position[i].copy()
    for i, agent in enumerate(world.agents):
        agent.silent, agent.movable = True, bool(MOVES[i])
        agent.max_speed = None if np.isinf(MAX_SPEED[i, 0]) else MAX_SPEED[i, 0]
        agent.state.p_vel = velocity[i].copy()
        agent.action.u = control[i]
    return world
