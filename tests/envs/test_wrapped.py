"""Environments in other libraries' wrappers: rows equal what a plain loop over the wrapped environment says."""

from __future__ import annotations

import numpy as np
import pytest
import wrapped_envs

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions

NEEDS = {"padded": ("supersuit",), "knights": ("supersuit", "pygame"), "small_pistons": ("supersuit", "pymunk")}


@pytest.mark.parametrize(
    ("name", "kwargs", "shapes"),
    [
        ("parallel_of_turns", {}, [(3, 18)]),
        ("clipped_turns", {}, [(3, 18)]),
        ("plain_wrapper", {}, [(3, 18)]),
        ("padded", {}, [(3, 16), (1, 16)]),
        ("knights", {}, [(2, 135), (2, 135)]),
        ("knights", {"black_death": True}, [(2, 135), (2, 135)]),
        ("small_pistons", {}, [(4, 30, 20, 1)]),
        ("small_pistons", {"stacked": True}, [(4, 30, 20, 3)]),
    ],
)
def test_rows_equal_a_plain_loop(name, kwargs, shapes):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    config = Config(f"wrapped_envs:{name}", env_kwargs=kwargs)
    env = make_vector_env(config, 2, [3, 4])
    plain = [getattr(wrapped_envs, name)(**kwargs) for _ in range(2)]
    spec = env.spec
    assert [(len(team.agents), *team.obs.shape) for team in spec.teams] == shapes
    rows, outcome = new_obs_rows(spec, 2), new_outcome_rows(spec, 2)
    env.reset([0, 1], rows)
    told = [copy.reset(seed=seed)[0] for copy, seed in zip(plain, (3, 4), strict=True)]
    rng, finished, died = np.random.default_rng(1), 0, 0
    for _ in range(130 if name == "knights" else 14):
        moves = []
        for team, row, codec in zip(spec.teams, rows, env._codecs, strict=True):
            actions = random_actions(team.action, row.active.shape, rng)
            moves.append((actions, codec.action.decode(actions)))
            for e, seen in enumerate(told):
                for i, agent in enumerate(team.agents):
                    assert row.active[e, i] == (agent in plain[e].agents)
                    if row.active[e, i]:
                        np.testing.assert_array_equal(row.obs[e, i], codec.obs.one(seen[agent]))
        ended = env.step([actions for actions, _ in moves], np.ones(2, bool), rows, outcome)
        for e, copy in enumerate(plain):
            chosen = {
                agent: decoded[e][i]
                for team, (_, decoded) in zip(spec.teams, moves, strict=True)
                for i, agent in enumerate(team.agents)
                if agent in copy.agents
            }
            told[e], rewards, terminations, _, _ = copy.step(chosen)
            for team, paid in zip(spec.teams, outcome, strict=True):
                for i, agent in enumerate(team.agents):
                    assert paid.reward[e, i] == np.float32(rewards.get(agent, 0.0) if agent in chosen else 0.0)
                    assert paid.terminated[e, i] == bool(agent in chosen and terminations.get(agent, False))
            assert ended[e] == (not copy.agents)
            died += int(not ended[e] and len(copy.agents) < len(chosen))
            if ended[e]:
                finished += 1
                env.reset([e], rows)
                told[e] = copy.reset()[0]
    assert finished
    assert died or name != "knights" or kwargs
