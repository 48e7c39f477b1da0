"""Frame stacking of parallel and turn-based environments."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import AECEnv
from pettingzoo.utils.conversions import parallel_to_aec
from scripted_envs import ScriptedEnv

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env, register_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows
from sfmarl.envs.stacking import stack_frames
from sfmarl.errors import UsageError

BOTH = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
TOLD = {**BOTH, "infos": {"x_0": {}, "x_1": {}}}
ONE = {"listed": ["x_0"], "obs": ["x_0", "x_1"], "term": {"x_0": False, "x_1": True}}
LONE = {"listed": ["x_0"], "obs": ["x_0"]}
END = {"listed": [], "obs": ["x_0", "x_1"], "trunc": {"x_0": True, "x_1": True}}


def times(stacked):
    """The steps whose frames a stacked observation holds; frames are [t, agent, 0]."""
    return stacked.reshape(-1, 3)[:, 0].tolist()


def test_a_life_begins_with_its_first_frame_and_every_life_anew():
    env = stack_frames(ScriptedEnv(["x_0", "x_1"], [BOTH, BOTH, ONE, LONE, BOTH, END]), 3)
    assert env.observation_space("x_0").shape == (9,)
    seen = [env.reset(seed=1)[0]] + [env.step(dict.fromkeys(env.agents, 0))[0] for _ in range(5)]
    assert [times(said["x_0"]) for said in seen] == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    # x_1 died in step 2 with a last observation, and is born again in step 4
    assert [times(said["x_1"]) for said in seen if "x_1" in said] == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 2],
        [4, 4, 4],
        [4, 4, 5],
    ]
    assert times(env.reset()[0]["x_0"]) == [0, 0, 0]


def test_frames_survive_an_environment_that_reuses_its_buffers():
    class Reuses(ScriptedEnv):
        buffer = np.zeros(3, np.float32)

        def _observations(self, said):
            self.buffer[0] = self.t
            return dict.fromkeys(said["obs"], self.buffer)

    env = stack_frames(Reuses(["x_0", "x_1"], [BOTH] * 4), 3)
    env.reset()
    for _ in range(3):
        observations = env.step({})[0]
    assert times(observations["x_0"]) == [1, 2, 3]


NESTED = spaces.Dict(
    {
        "observation": spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (8, 9, 2), np.uint8),
                "grey": spaces.Box(0, 255, (8, 8), np.uint8),
                "first": spaces.Box(0, 255, (3, 9, 9), np.uint8),
                "pose": spaces.Box(-1, 1, (2,), np.float32),
                "level": spaces.Box(-1, 1, (), np.float32),
                "turn": spaces.Discrete(3, start=1),
                "flags": spaces.MultiBinary(2),
                "picks": spaces.MultiDiscrete([2, 5]),
                "pair": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (4, 3)))),
            }
        ),
        "action_mask": spaces.MultiBinary(4),
    }
)


class Sampled(ScriptedEnv):
    def _observations(self, said):
        self.said = {agent: self.obs_space.sample() for agent in said["obs"]}
        for seen in self.said.values():
            seen["action_mask"][0] = 1
        return self.said


def test_every_part_of_nested_observations_is_stacked_but_the_mask():
    inner = Sampled(["x_0"], [{"listed": ["x_0"], "obs": ["x_0"]}] * 3, NESTED)
    inner.obs_space.seed(0)
    env = stack_frames(inner, 2)
    space = env.observation_space("x_0")
    env.reset()
    first = inner.said["x_0"]["observation"]
    stacked = env.step({})[0]["x_0"]
    assert space.contains(stacked)
    assert stacked["action_mask"] is inner.said["x_0"]["action_mask"]
    second, both = inner.said["x_0"]["observation"], stacked["observation"]
    np.testing.assert_array_equal(both["camera"], np.concatenate([first["camera"], second["camera"]], 2))
    np.testing.assert_array_equal(both["grey"], np.stack([first["grey"], second["grey"]], 2))
    np.testing.assert_array_equal(both["first"], np.concatenate([first["first"], second["first"]]).transpose(1, 2, 0))
    np.testing.assert_array_equal(both["pair"][1], np.concatenate([first["pair"][1], second["pair"][1]], 1))
    for key in ("pose", "level", "turn", "flags", "picks"):
        np.testing.assert_array_equal(both[key], np.concatenate([np.ravel(first[key]), np.ravel(second[key])]))
    assert both["pair"][0].tolist() == [first["pair"][0], second["pair"][0]]


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(UsageError, match=r"frame_stack.*Text"):
        stack_frames(ScriptedEnv(["x_0"], [LONE], spaces.Text(4)), 2)
    with pytest.raises(UsageError, match="native vector environment"):
        make_vector_env(Config("native/simple_spread", frame_stack=2), 1, [0])


class Counting(AECEnv):
    """Two agents take turns; each observes how many turns were taken so far."""

    metadata = {"name": "counting", "is_parallelizable": False}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.possible_agents = ["p_0", "p_1"]
        self.render_mode = None

    def observation_space(self, agent):
        return spaces.Box(-1, 99, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.turns = 0
        self.agent_selection = "p_0"
        self.rewards = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}

    def observe(self, agent):
        return np.array([self.turns], np.float32)

    def step(self, action):
        if self.terminations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self.turns += 1
        if self.turns == 6:
            self.terminations = dict.fromkeys(self.agents, True)
        self.agent_selection = self.agents[self.turns % 2]


def test_in_turn_based_games_the_past_are_the_frames_acted_on():
    env = stack_frames(Counting(), 3)
    for _ in range(2):
        env.reset(seed=0)
        seen = {"p_0": [], "p_1": []}
        for agent in env.agent_iter():
            observation, _, terminated, truncated, _ = env.last()
            # asking again changes nothing
            np.testing.assert_array_equal(env.observe(agent), observation)
            assert env.observation_space(agent).contains(observation)
            seen[agent].append(observation.tolist())
            env.step(None if terminated or truncated else 0)
        assert seen["p_0"] == [[0, 0, 0], [0, 0, 2], [0, 2, 4], [2, 4, 6]]
        assert seen["p_1"] == [[1, 1, 1], [1, 1, 3], [1, 3, 5], [3, 5, 6]]


def test_a_parallel_env_turned_into_turns_shows_the_same_frames():
    def frames(env):
        env.reset(seed=3)
        for agent in env.agent_iter(max_iter=12):
            yield agent, env.last()[0]
            env.step(0)

    one = frames(stack_frames(parallel_to_aec(ScriptedEnv(["x_0", "x_1"], [TOLD] * 20)), 3))
    for turn, (agent, stacked) in enumerate(one):
        t = turn // 2
        assert (agent, times(stacked)) == (f"x_{turn % 2}", [max(0, t - 2), max(0, t - 1), t])


def test_a_run_stores_stacked_frames_with_masks():
    register_env("test/sampled", lambda: Sampled(["x_0"], [LONE] * 30, NESTED), "sampled")
    env = make_vector_env(Config("test/sampled", frame_stack=4), 2, [0, 1])
    team = env.spec.teams[0]
    assert team.has_mask
    shapes = {part.name: part.shape for part in team.obs.parts}
    assert (shapes["camera"], shapes["grey"]) == ((8, 9, 8), (8, 8, 4))
    assert shapes["first"] == (9, 9, 12)
    rows, outcome = new_obs_rows(env.spec, 2), new_outcome_rows(env.spec, 2)
    for row in rows:
        row.obs[...] = np.nan
    env.reset([0, 1], rows)
    env.step([np.zeros((2, 1), np.int32)], np.ones(2, bool), rows, outcome)
    assert np.isfinite(rows[0].obs).all()
