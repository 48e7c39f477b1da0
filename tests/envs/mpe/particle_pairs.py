"""Native particle worlds and as many mpe2 environments, played side by side and compared in everything."""

from __future__ import annotations

import importlib

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions

CASES = [
    ("simple_adversary_v3", {}),
    ("simple_adversary_v3", {"N": 4, "max_cycles": 11}),
    ("simple_adversary_v3", {"N": 3, "num_agent_neighbors": 2, "num_landmark_neighbors": 4}),
    ("simple_crypto_v3", {}),
    ("simple_push_v3", {}),
    ("simple_reference_v3", {}),
    ("simple_reference_v3", {"local_ratio": 0.2, "max_cycles": 31}),
    ("simple_speaker_listener_v4", {}),
    ("simple_spread_v3", {}),
    ("simple_spread_v3", {"N": 5, "local_ratio": 0.9, "max_cycles": 11}),
    ("simple_spread_v3", {"N": 4, "local_ratio": 0.0, "num_agent_neighbors": 5, "num_landmark_neighbors": 2}),
    ("simple_spread_v3", {"N": 1, "max_cycles": 40}),
    ("simple_spread_v3", {"N": 2, "terminate_on_success": True}),
    ("simple_tag_v3", {}),
    ("simple_tag_v3", {"num_good": 2, "num_adversaries": 4, "num_obstacles": 3, "max_cycles": 60}),
    ("simple_tag_v3", {"num_good": 3, "num_agent_neighbors": 2, "num_landmark_neighbors": 1}),
    ("simple_tag_v3", {"num_agent_neighbors": 5, "num_landmark_neighbors": 1, "num_obstacles": 0}),
    ("simple_tag_v3", {"terminate_on_success": True, "dynamic_rescaling": False}),
    ("simple_tag_v3", {"num_good": 2, "num_adversaries": 4, "terminate_on_success": True}),
    ("simple_world_comm_v3", {}),
    ("simple_world_comm_v3", {"num_good": 3, "num_adversaries": 2, "num_obstacles": 2, "num_forests": 3}),
    ("simple_world_comm_v3", {"num_adversaries": 1, "num_food": 1, "num_forests": 0}),
]
"""mpe2's module, keyword arguments."""


def native_name(module):
    """Return the name of the native counterpart of mpe2's `module`."""
    return f"native/{module.rpartition('_')[0]}"


class Pair:
    """E native worlds and as many mpe2 environments."""

    def __init__(self, module, num_envs, **kwargs):
        build = importlib.import_module(f"mpe2.{module}").parallel_env
        self.mpe2 = [build(**kwargs) for _ in range(num_envs)]
        self.native = make_vector_env(Config(native_name(module), env_kwargs=kwargs), num_envs, range(num_envs))
        self.teams = self.native.spec.teams
        self.rows = new_obs_rows(self.native.spec, num_envs)
        self.outcome = new_outcome_rows(self.native.spec, num_envs)

    def reset(self, seeded):
        """Begin an episode everywhere and compare; unseeded ones continue the environments' own streams."""
        everyone = range(len(self.mpe2))
        self.native.reset(everyone, self.rows)
        seen = [env.reset(seed=e if seeded else None)[0] for e, env in enumerate(self.mpe2)]
        self._expect_obs(everyone, seen)
        assert all(rows.active.all() and rows.is_first.all() for rows in self.rows)

    def crowd(self, rng):
        """Push everything together in mpe2's worlds, some more than others, let agents fly, and copy the state."""
        for e, env in enumerate(self.mpe2):
            world, scale = env.unwrapped.world, rng.uniform(0.05, 0.4)
            for entity in world.entities:
                entity.state.p_pos = rng.uniform(-scale, scale, 2)
            for agent in world.agents:
                if agent.movable:
                    agent.state.p_vel = rng.normal(size=2)
            self.native.worlds.position[..., e] = [entity.state.p_pos for entity in world.entities]
            self.native.worlds.velocity[..., e] = [agent.state.p_vel for agent in world.agents]

    def play(self, rng):
        """Play until every episode has ended, comparing every step; return how many were terminated."""
        running = np.ones(len(self.mpe2), bool)
        terminated = 0
        while running.any():
            running &= ~self.step([self._draw(team, rng) for team in self.teams], running)
            terminated += int(self.outcome[0].terminated.any(axis=1).sum())
        return terminated

    def step(self, actions, running):
        """Step both and compare; return `ended`."""
        for outcome in self.outcome:
            outcome.terminated.fill(False)
        ended = self.native.step(actions, running, self.rows, self.outcome)
        at = np.flatnonzero(running).tolist()
        answers = [self.mpe2[e].step(self._moves(actions, e)) for e in at]
        self._expect_obs(at, [answer[0] for answer in answers])
        for team, rows, outcome in zip(self.teams, self.rows, self.outcome, strict=True):
            paid, terminated, truncated = (
                np.array([[answer[part][agent] for agent in team.agents] for answer in answers]) for part in (1, 2, 3)
            )
            np.testing.assert_allclose(outcome.reward[at], paid, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(outcome.terminated[at], terminated)
            np.testing.assert_array_equal(outcome.truncated[at], truncated)
            np.testing.assert_array_equal(rows.active[at], ~(terminated | truncated))
            assert not rows.is_first[at].any()
        assert ended[at].tolist() == [not self.mpe2[e].agents for e in at]
        assert not ended[~running].any()
        return ended

    def _draw(self, team, rng):
        """Draw actions; continuous ones beyond their bounds, too, and now and then nothing at all."""
        shape = len(self.mpe2), len(team.agents)
        if team.action.kind == "continuous":
            drawn = rng.normal(0.5, 1.0, (*shape, *team.action.shape)).astype(np.float32)
            drawn[rng.random(shape) < 0.1] = 0.0
            return drawn
        return random_actions(team.action, shape, rng)

    def _moves(self, actions, e):
        """Return what mpe2 is sent, which clips as the adapter does."""
        return {
            agent: int(stored[e, i]) if team.action.kind == "discrete" else np.clip(stored[e, i], 0.0, 1.0)
            for team, stored in zip(self.teams, actions, strict=True)
            for i, agent in enumerate(team.agents)
        }

    def _expect_obs(self, at, seen):
        for team, rows in zip(self.teams, self.rows, strict=True):
            expected = np.array([[observations[agent] for agent in team.agents] for observations in seen])
            np.testing.assert_allclose(rows.obs[at], expected, rtol=1e-6, atol=1e-6)
            if rows.state is not None:
                states = np.array([self.mpe2[e].state() for e in at])
                np.testing.assert_allclose(rows.state[at], states, rtol=1e-6, atol=1e-6)
