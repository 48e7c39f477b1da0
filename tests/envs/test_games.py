"""The yardstick environment and the matrix games."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from sfmarl.envs.games import DictEnv, MatrixGame, climbing, penalty


@pytest.mark.parametrize("make", [DictEnv, climbing, penalty, lambda: DictEnv(num_agents=1, obs_size=3, length=1)])
def test_they_are_pettingzoo_environments(make):
    parallel_api_test(make(), num_cycles=200)


def play(env, moves):
    env.reset(seed=0)
    total, steps = dict.fromkeys(env.possible_agents, 0.0), 0
    while env.agents:
        _, rewards, terminations, truncations, _ = env.step(dict(zip(env.agents, moves, strict=True)))
        steps += 1
        for agent, reward in rewards.items():
            total[agent] += reward
        assert not any(terminations.values())
        assert all(truncations.values()) == (not env.agents)
    return list(total.values()), steps


def test_the_games_pay_what_the_literature_says():
    table = {moves: play(climbing(), moves)[0] for moves in itertools.product(range(3), range(3))}
    assert all(first == second for first, second in table.values())
    assert table[0, 0] == [275.0, 275.0]
    assert table[1, 1] == [175.0, 175.0]
    assert table[0, 1] == table[1, 0] == [-750.0, -750.0]
    assert table[2, 1] == [150.0, 150.0]
    assert table[1, 2] == [0.0, 0.0]
    assert play(penalty(k=-100), (0, 2))[0] == play(penalty(k=0), (2, 0))[0] == [250.0, 250.0]
    assert play(penalty(k=-100), (0, 0))[0] == [-2500.0, -2500.0]
    assert play(penalty(k=-100, length=7), (1, 1)) == ([14.0, 14.0], 7)


def test_rows_and_columns_may_differ():
    game = MatrixGame([[1, 2, 3], [4, 5, 6]], length=1)
    assert [game.action_space(agent).n for agent in game.possible_agents] == [2, 3]
    assert play(game, (1, 2))[0] == [6.0, 6.0]


def test_the_dict_env_varies_and_repeats_with_its_seed():
    env = DictEnv(num_agents=2, length=20)
    first, _ = env.reset(seed=1)
    steps = [env.step({})[:2] for _ in range(5)]
    assert len({float(o["agent_0"][0]) for o, _ in steps}) == 5
    again, _ = env.reset()
    np.testing.assert_array_equal(first["agent_1"], again["agent_1"])
    assert play(env, (0, 0))[1] == 20
    twin, _ = DictEnv(num_agents=2).reset(seed=1)
    np.testing.assert_array_equal(first["agent_1"], twin["agent_1"])
    other, _ = env.reset(seed=2)
    assert (other["agent_1"] != first["agent_1"]).any()
