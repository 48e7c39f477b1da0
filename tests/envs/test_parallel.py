"""The dict adapter against a plain-loop reading of what scripted, chaotic and real environments said."""

from __future__ import annotations

import numpy as np
import pytest
from adapter_rows import POISON, build, expect_env, poisoned
from gymnasium import spaces
from scripted_envs import ChaosEnv, ScriptedEnv

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, random_actions
from sfmarl.envs.vector import VectorEnv
from sfmarl.errors import RunError


@pytest.mark.parametrize("masks", [None, "obs", "info"])
@pytest.mark.parametrize("teams", ["auto", "each", '{"mixed": [7, "a_1"], "rest": ["a_0", 8], "b": ["b_0"]}'])
@pytest.mark.parametrize("chaos", [1.0, 0.05, 0.0])
def test_every_row_is_what_the_env_said(masks, teams, chaos):
    num_envs = 5
    kwargs = {"masks": masks, "chaos": chaos, "with_state": chaos == 1.0}
    if teams.startswith("{"):
        # mixed teams need equal action spaces
        kwargs["agents"] = ("a_0", "a_1", "b_0", "7", "8")
    env = build([ChaosEnv(**kwargs) for _ in range(num_envs)], teams)
    spec, copies = env.spec, env._envs
    assert isinstance(env, VectorEnv)
    rng = np.random.default_rng(0)
    rows, _ = poisoned(spec, num_envs)
    env.reset(range(num_envs), rows)
    alive = [expect_env(spec, e, {}, copies[e].log[-1], rows, None) for e in range(num_envs)]
    running = np.ones(num_envs, bool)
    for _ in range(120):
        actions = [random_actions(t.action, r.active.shape, rng) for t, r in zip(spec.teams, rows, strict=True)]
        before = [set(copy.agents) for copy in copies]
        following, outcome = poisoned(spec, num_envs)
        ended = env.step(actions, running, following, outcome)
        for e in range(num_envs):
            if not running[e]:
                assert all((row.obs[e] == POISON).all() and row.is_first[e].all() for row in following)
                assert all((row.reward[e] == POISON).all() and row.truncated[e].all() for row in outcome)
                assert not ended[e]
                continue
            was, said = alive[e], copies[e].log[-1]
            alive[e] = expect_env(spec, e, was, said, following, outcome)
            assert ended[e] == (not any(alive[e].values()))
            got = {}
            for team, acts in zip(spec.teams, actions, strict=True):
                for i, agent in enumerate(team.agents):
                    if was[agent]:
                        got[agent] = acts[e, i] + team.action.start[0]
                    elif agent in before[e]:
                        got[agent] = team.action.start[0]
            assert copies[e].received[-1] == got
            if spec.state_shape is not None:
                over = ended[e] and not any(row.truncated[e].any() for row in outcome)
                expected = [0, 0] if over else [copies[e].t, len(copies[e].agents)]
                assert all(row.state[e].tolist() == expected for row in following)
        rows = following
        done = np.flatnonzero(~running | ended).tolist()
        if done:
            env.reset(done, rows)
            for e in done:
                alive[e] = expect_env(spec, e, {}, copies[e].log[-1], rows, None)
        running = rng.random(num_envs) < 0.9 if rng.random() < 0.5 else np.ones(num_envs, bool)
        for e in np.flatnonzero(~running):
            alive[e] = {}
    assert sum(len(copy.received) for copy in copies) > 400


def test_first_reset_is_seeded_and_later_ones_are_not():
    script = [{"listed": ["x_0"], "obs": ["x_0"]}, {"listed": [], "obs": ["x_0"], "term": {"x_0": True}}]
    env = build([ScriptedEnv(["x_0"], script) for _ in range(2)])
    rows, outcome = poisoned(env.spec, 2)
    env.reset([1], rows)
    env.reset([0, 1], rows)
    assert env._envs[0].seeds == [100]
    assert env._envs[1].seeds == [101, None]
    assert env.step([np.zeros((2, 1), np.int32)], np.ones(2, bool), rows, outcome).all()


@pytest.mark.parametrize(
    ("name", "kwargs", "sizes"),
    [
        ("mpe2.simple_spread_v3", {"N": 4}, [4]),
        ("mpe2.simple_tag_v3", {}, [3, 1]),
        ("mpe2.simple_speaker_listener_v4", {"continuous_actions": True}, [1, 1]),
        ("sisl/pursuit-v5", {"n_pursuers": 3, "max_cycles": 20}, [3]),
        ("pettingzoo.classic.rps_v2", {"max_cycles": 5}, [2]),
    ],
)
def test_real_environments_equal_a_plain_loop(name, kwargs, sizes):
    num_envs, seeds = 2, [3, 4]
    env = make_vector_env(Config(name, env_kwargs=kwargs), num_envs, seeds)
    plain = make_vector_env(Config(name, env_kwargs=kwargs), num_envs, seeds)._envs
    spec = env.spec
    assert [len(team.agents) for team in spec.teams] == sizes
    rng = np.random.default_rng(0)
    rows = new_obs_rows(spec, num_envs)
    env.reset(range(num_envs), rows)
    said = [
        {"obs": p.reset(seed=seed)[0], "listed": p.agents, "infos": {}} for p, seed in zip(plain, seeds, strict=True)
    ]

    def raw(observation):
        return {"obs": {a: np.asarray(o, np.float32) for a, o in observation.items()}}

    alive = []
    for e in range(num_envs):
        said[e].update(raw(said[e]["obs"]) if name != "pettingzoo.classic.rps_v2" else one_hot(said[e]["obs"]))
        alive.append(expect_env(spec, e, {}, said[e], rows, None))
    for _ in range(60):
        actions = [random_actions(t.action, r.active.shape, rng) for t, r in zip(spec.teams, rows, strict=True)]
        rows, outcome = poisoned(spec, num_envs)
        ended = env.step(actions, np.ones(num_envs, bool), rows, outcome)
        for e, copy in enumerate(plain):
            moves = {}
            for team, acts in zip(spec.teams, actions, strict=True):
                moves.update({a: acts[e, i] if acts.ndim > 2 else int(acts[e, i]) for i, a in enumerate(team.agents)})
            o, r, term, trunc, _ = copy.step(moves)
            answer = {"listed": list(copy.agents), "rewards": r, "term": term, "trunc": trunc, "infos": {}}
            answer.update(raw(o) if name != "pettingzoo.classic.rps_v2" else one_hot(o))
            alive[e] = expect_env(spec, e, alive[e], answer, rows, outcome)
            if spec.state_shape is not None:
                np.testing.assert_array_equal(rows[-1].state[e], np.ravel(copy.state()))
            assert ended[e] == (not copy.agents)
        if ended.any():
            assert ended.all()
            break
    else:
        pytest.fail("no episode ended")
    env.close()


def one_hot(observations):
    return {"obs": {a: np.eye(4, dtype=np.float32)[int(o)] for a, o in observations.items()}}


def two(**later):
    """A script of two agents who live for one step and then do `later`."""
    both = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
    return [both, *[both] * 30, {**both, **later}]


def play_to_the_end(env):
    rows, outcome = poisoned(env.spec, env.num_envs)
    env.reset(range(env.num_envs), rows)
    for _ in range(31):
        env.step([np.zeros(r.active.shape, np.int32) for r in rows], np.ones(env.num_envs, bool), rows, outcome)


GOOD = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"obs": {"x_0": GOOD, "x_1": np.zeros(4, np.float32)}}, ["'x_1'", "(3,)", "(4,)"]),
        ({"obs": {"x_0": np.zeros(2, np.float32), "x_1": np.zeros(4, np.float32)}}, ["'x_0'", "(3,)", "(2,)"]),
        ({"obs": {"x_0": GOOD, "x_1": GOOD.astype(complex)}}, ["'x_1'", "float32", "complex128"]),
        ({"obs": {"x_0": GOOD, "x_1": None}}, ["'x_1'", "expected"]),
        ({"obs": {"x_0": GOOD, "x_1": np.zeros(4), "x_2": GOOD}}, ["x_2", "possible_agents"]),
        ({"listed": ["x_0", "x_1", "x_9"]}, ["x_9", "possible_agents"]),
        ({"rewards": {"x_0": 0.0, "x_1": "much"}}, ["'x_1'", "reward", "'much'"]),
        # the same mistakes on the road of those who die
        ({"obs": {"x_1": np.zeros(5, np.float32)}, "listed": ["x_1"]}, ["'x_1'", "(3,)", "(5,)"]),
        ({"rewards": {"x_1": "much"}, "listed": ["x_1"]}, ["'x_1'", "reward", "'much'"]),
    ],
)
def test_what_breaks_the_spaces_is_named(later, words):
    env = build([ScriptedEnv(["x_0", "x_1"], two()), ScriptedEnv(["x_0", "x_1"], two(**later))], name="my.env")
    with pytest.raises(RunError) as caught:
        play_to_the_end(env)
    for word in [*words, "my.env", "copy 1", "seed 101", "episode 1", "step 31"]:
        assert word in str(caught.value)


def test_an_exception_in_step_or_reset_names_env_copy_seed_and_step():
    class Explodes(ScriptedEnv):
        def step(self, actions):
            if self.t == 10:
                raise ZeroDivisionError("boom")
            return super().step(actions)

    env = build([ScriptedEnv(["x_0", "x_1"], two()), Explodes(["x_0", "x_1"], two())], name="my.env")
    with pytest.raises(
        RunError, match=r"my\.env, copy 1 \(seed 101\), episode 1, step 11: step\(\) raised Zero.*boom"
    ) as e:
        play_to_the_end(env)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    env._envs[0].script = None
    with pytest.raises(RunError, match=r"copy 0 .*episode 2, step 0: reset\(\) raised TypeError"):
        env.reset([0], new_obs_rows(env.spec, 2))


def test_a_mask_without_a_legal_action_is_named():
    def info(*mask):
        return {"x_0": {"action_mask": [1, 1, 1, 1]}, "x_1": {"action_mask": list(mask)}}

    both = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"], "infos": info(0, 1, 0, 0)}
    script = [both] * 31 + [{**both, "infos": info(0, 0, 0, 0)}]
    env = build([ScriptedEnv(["x_0", "x_1"], script)])
    assert env.spec.teams[0].has_mask
    with pytest.raises(RunError, match="'x_1': its action mask leaves no legal action"):
        play_to_the_end(env)
    script[31] = {**both, "infos": info(1, 1)}
    with pytest.raises(RunError, match="'x_1': expected an action mask of 4 entries"):
        play_to_the_end(build([ScriptedEnv(["x_0", "x_1"], script)]))


def test_copies_that_share_one_buffer_do_not_mix_up():
    shared = {"x_0": np.zeros(3, np.float32)}

    class Shares(ScriptedEnv):
        def __init__(self, mark):
            super().__init__(["x_0"], [{"listed": ["x_0"], "obs": ["x_0"]}] * 40)
            self.mark = mark

        def _observations(self, said):
            shared["x_0"][:] = self.mark
            return shared

    env = build([Shares(1), Shares(2), Shares(3)])
    rows, outcome = poisoned(env.spec, 3)
    env.reset([0, 1, 2], rows)
    env.step([np.zeros((3, 1), np.int32)], np.ones(3, bool), rows, outcome)
    assert rows[0].obs[:, 0, 0].tolist() == [1, 2, 3]


def test_who_is_observed_but_no_longer_listed_is_dead():
    """Even if another, who is not observed, is listed instead, so that every count stays the same."""
    two_of_three = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
    swapped = {**two_of_three, "listed": ["x_0", "x_2"]}
    env = build([ScriptedEnv(["x_0", "x_1", "x_2"], [two_of_three] * 30 + [swapped])])
    rows, outcome = poisoned(env.spec, 1)
    env.reset([0], rows)
    for _ in range(30):
        env.step([np.zeros((1, 3), np.int32)], np.ones(1, bool), rows, outcome)
    assert rows[0].active.tolist() == [[True, False, False]]
    assert outcome[0].terminated.tolist() == [[False, True, False]]


def test_rows_need_not_be_contiguous():
    env = build([ChaosEnv(agents=("a_0", "a_1"), chaos=0.0) for _ in range(3)])
    rows, outcome = poisoned(env.spec, 3)
    wide = np.full((3, 2, 2 * rows[0].obs.shape[2]), POISON, np.float32)
    rows[0].obs = wide[:, :, ::2]
    env.reset(range(3), rows)
    env.step([np.zeros((3, 2), np.int32)], np.ones(3, bool), rows, outcome)
    for e, copy in enumerate(env._envs):
        for i, agent in enumerate(("a_0", "a_1")):
            np.testing.assert_array_equal(wide[e, i, ::2], copy.log[-1]["obs"][agent])
    assert (wide[:, :, 1::2] == POISON).all()


def test_continuous_actions_are_clipped_and_never_alias_the_slot():
    box = spaces.Box(np.array([[-1.0, 0.0]]), np.array([[1.0, 0.5]]), dtype=np.float64)
    both = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
    env = build([ScriptedEnv(["x_0", "x_1"], [both] * 40, action_space=box)])
    rows, outcome = poisoned(env.spec, 1)
    env.reset([0], rows)
    stored = np.array([[[3.0, 0.25], [-0.5, -9.0]]], np.float32)
    env.step([stored], np.ones(1, bool), rows, outcome)
    got = env._envs[0].received[-1]
    assert got["x_0"].tolist() == [[1.0, 0.25]]
    assert got["x_1"].tolist() == [[-0.5, 0.0]]
    assert got["x_0"].dtype == np.float64
    assert not np.shares_memory(got["x_0"], stored)


def test_the_state_of_what_is_over_is_not_asked_for():
    class Falls(ScriptedEnv):
        def state(self):
            return np.full(2, {1: 1.0}[len(self.agents)])

    one = {"listed": ["x_0"], "obs": ["x_0"]}
    end = {"listed": [], "obs": ["x_0"], "term": {"x_0": True}}
    env = build([Falls(["x_0"], [one] * 12 + [end]) for _ in range(2)])
    assert env.spec.state_shape == (2,)
    rows, outcome = poisoned(env.spec, 2)
    env.reset([0, 1], rows)
    running = np.array([True, True])
    for _ in range(12):
        ended = env.step([np.zeros((2, 1), np.int32)], running, rows, outcome)
    assert ended.all() and not rows[0].state.any()


def test_close_closes_every_copy_and_reports_the_first_failure():
    closed = []

    class Closes(ScriptedEnv):
        def close(self):
            closed.append(self)
            raise OSError("window gone")

    env = build([Closes(["x_0"], [{"listed": ["x_0"], "obs": ["x_0"]}] * 40) for _ in range(3)])
    with pytest.raises(RunError, match="copy 0"):
        env.close()
    assert len(closed) == 3
