"""Gymnasium environments as one-agent teams."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env, register_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions


@pytest.mark.parametrize(
    ("name", "kwargs", "ends"),
    [("CartPole-v1", {}, "terminated"), ("Pendulum-v1", {"max_episode_steps": 20}, "truncated")],
)
def test_rows_equal_a_plain_loop(name, kwargs, ends):
    env = make_vector_env(Config(name, env_kwargs=kwargs), 2, [3, 4])
    plain = [gymnasium.make(name, **kwargs) for _ in range(2)]
    assert env.spec.teams[0].agents == ("agent_0",)
    spec = env.spec.teams[0].action
    rng = np.random.default_rng(0)
    rows, outcome = new_obs_rows(env.spec, 2), new_outcome_rows(env.spec, 2)
    env.reset([0, 1], rows)
    firsts = [copy.reset(seed=seed)[0] for copy, seed in zip(plain, [3, 4], strict=True)]
    np.testing.assert_array_equal(rows[0].obs[:, 0], firsts)
    seen = 0
    for _ in range(200):
        actions = random_actions(spec, (2, 1), rng)
        ended = env.step([actions], np.ones(2, bool), rows, outcome)
        for e, copy in enumerate(plain):
            observation, reward, terminated, truncated, _ = copy.step(actions[e, 0])
            np.testing.assert_array_equal(rows[0].obs[e, 0], observation)
            assert outcome[0].reward[e, 0] == np.float32(reward)
            assert (outcome[0].terminated[e, 0], outcome[0].truncated[e, 0]) == (terminated, truncated)
            assert ended[e] == (terminated or truncated)
            assert rows[0].active[e, 0] != ended[e]
            if ended[e]:
                seen += int(getattr(outcome[0], ends)[e, 0])
                observation, _ = copy.reset()
                env.reset([e], rows)
                np.testing.assert_array_equal(rows[0].obs[e, 0], observation)
                assert rows[0].is_first[e, 0]
    assert seen > 4


class Masked(gymnasium.Env):
    """Only the action that equals the step count is legal."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return 0, {"action_mask": np.eye(3, dtype=np.int8)[0]}

    def step(self, action):
        assert action == self.t % 3
        self.t += 1
        return self.t % 3, 1.0, False, self.t == 30, {"action_mask": np.eye(3, dtype=np.int8)[self.t % 3]}


def test_masks_come_from_the_info():
    register_env("test/masked", Masked, "masked")
    env = make_vector_env(Config("test/masked"), 1, [0])
    assert env.spec.teams[0].has_mask
    rows, outcome = new_obs_rows(env.spec, 1), new_outcome_rows(env.spec, 1)
    env.reset([0], rows)
    rng = np.random.default_rng(0)
    for t in range(1, 31):
        ended = env.step(
            [random_actions(env.spec.teams[0].action, (1, 1), rng, rows[0].action_mask)],
            np.ones(1, bool),
            rows,
            outcome,
        )
        assert rows[0].obs[0, 0].tolist() == np.eye(3)[t % 3].tolist()
        assert ended[0] == (t == 30)
        assert rows[0].action_mask[0, 0].tolist() == ([True] * 3 if t == 30 else np.eye(3, dtype=bool)[t % 3].tolist())
