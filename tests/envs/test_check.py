"""What `sfmarl check-env` says."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from scripted_aec import ChaosTurns
from scripted_envs import ChaosEnv, ScriptedEnv

from sfmarl.config import Config
from sfmarl.envs.check import check_env
from sfmarl.envs.checks.describe import memory_facts
from sfmarl.envs.registry import register_env
from sfmarl.errors import UsageError
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


def report(factory, name, **kwargs):
    register_env(f"test/{name}", factory, "for a test")
    return check_env(Config(f"test/{name}", **kwargs), max_seconds=2.0, max_episodes=12)


def text(found):
    return "\n".join(found.lines())


def test_a_real_environment():
    found = check_env(Config("mpe2.simple_spread_v3"), max_seconds=20.0, max_episodes=8)
    assert found.ok
    said = text(found)
    for words in [
        "mpe2.simple_spread_v3 can be trained on",
        "3 agents (agent_0, agent_1, agent_2)",
        "(18,) stored as float32; actions 5 discrete",
        "rebuilt and never stored",
        "equal seeds and actions give equal episodes",
        "8 played, length 25.0 (25 to 25)",
        "0 terminated",
        "24 truncated",
        "env-steps/s",
    ]:
        assert words in said
    assert not found.warnings
    assert "another seed gives the same episode" not in said


def test_native_environments_and_deterministic_ones():
    said = text(check_env(Config("native/simple_spread", env_kwargs={"continuous_actions": True}), max_episodes=8))
    assert "native vector environment" in said
    assert "5 continuous actions, clipped to their bounds" in said
    # as many copies as in a split, all of which end at once
    assert "episodes: 16 played" in said
    assert "another seed gives the same episode" in text(check_env(Config("games/climbing"), max_episodes=8))


def test_deaths_births_and_masks_are_reported():
    found = report(lambda: ChaosEnv(masks="info"), "chaos")
    assert found.ok
    assert "masked when acting and when learning" in text(found)
    assert "agents come and go within episodes" in text(found)


BOTH = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
END = {"listed": [], "obs": ["x_0", "x_1"], "trunc": {"x_0": True, "x_1": True}}


def scripted(cls=ScriptedEnv, **changes):
    return lambda: cls(["x_0", "x_1"], [BOTH, *[{**BOTH, **changes}] * 8, END])


def test_unseeded_randomness_is_a_warning():
    class Unseeded(ScriptedEnv):
        rng = np.random.default_rng()

        def _observations(self, said):
            return {agent: self.rng.normal(size=3).astype(np.float32) for agent in said["obs"]}

    found = report(scripted(Unseeded), "unseeded")
    assert found.ok
    assert any("cannot be reproduced" in warning for warning in found.warnings)


def test_rewards_that_cancel_out_are_a_warning():
    found = report(scripted(rewards={"x_0": 1.0, "x_1": -1.0}), "opposed")
    assert any("opponents need policies of their own" in warning for warning in found.warnings)
    assert "opponents" not in text(report(scripted(rewards={"x_0": 1.0, "x_1": 0.5}), "unequal"))
    assert "opponents" not in text(report(scripted(rewards={"x_0": 1.0, "x_1": -1.0}), "split", teams="each"))


def test_a_wrong_dtype_and_a_value_outside_the_space_are_warnings():
    class Wide(ScriptedEnv):
        def _observations(self, said):
            return {agent: np.zeros(3, np.float64) for agent in said["obs"]}

    found = report(scripted(Wide), "wide")
    assert found.ok
    assert "observations are float64, declared float32: converted" in text(found)

    def outside():
        env = scripted()()
        env.obs_space = spaces.Box(5, 6, (3,), np.float32)
        return env

    assert "outside its declared space" in text(report(outside, "outside"))


def test_what_is_not_finite_is_a_problem():
    found = report(scripted(rewards={"x_0": np.nan, "x_1": 0.0}), "bad rewards")
    assert not found.ok
    assert "cannot be trained on" in found.lines()[0]
    assert "agent 'x_0': reward: expected a finite number, got nan" in found.lines()[-1]
    blind = {"x_0": np.zeros(3, np.float32), "x_1": np.full(3, np.inf, np.float32)}
    with pytest.raises(UsageError, match=r"agent 'x_1': inf at 0: observations must be finite.*Clip"):
        report(scripted(obs=blind), "bad observations")


def test_an_environment_that_breaks_while_it_is_played_is_a_problem():
    def breaks():
        return ScriptedEnv(["x_0", "x_1"], [BOTH] * 20)

    found = report(breaks, "breaks")
    assert not found.ok
    assert "step 20: step() raised IndexError" in found.problems[0]


def test_one_that_cannot_be_built_is_a_usage_error():
    with pytest.raises(UsageError):
        check_env(Config("mpe2.simple_sprad_v3"))


def test_endless_episodes_are_a_warning():
    class Endless(ScriptedEnv):
        def step(self, actions):
            self.t = 0
            return super().step(actions)

    register_env("test/endless", scripted(Endless), "never ends")
    found = check_env(Config("test/endless"), max_seconds=0.2)
    assert any("no episode ended" in warning for warning in found.warnings)


def test_a_turn_based_environment():
    found = check_env(Config("pettingzoo.classic.tictactoe_v3"), max_seconds=20.0, max_episodes=30)
    assert found.ok and not found.warnings
    said = text(found)
    for words in [
        "team 'player_2': 1 agent (player_2)",
        "(3, 3, 2) stored as int8; actions 9 discrete; illegal actions are masked",
        "turn-based: agents act one after the other",
        "mappo cannot be trained; ippo and appo can",
        "equal seeds and actions give equal episodes",
        "another seed gives the same episode",
        "30 played, length",
        "60 terminated",
        "0 truncated",
        "env-steps/s",
    ]:
        assert words in said
    assert "agents come and go" not in said


def test_deaths_births_and_silent_agents_of_a_turn_based_environment_are_reported():
    found = check_env(Config("scripted_aec:chaos_turns", env_kwargs={"masks": "info"}), max_episodes=60)
    assert found.ok
    said = text(found)
    assert "agents come and go within episodes" in said
    assert "had no turn in" in said
    with_state = check_env(Config("scripted_aec:chaos_turns", env_kwargs={"state": True}), max_episodes=5)
    assert "state(): 2 numbers" in text(with_state)


def test_what_is_wrong_with_a_turn_based_environment_is_a_problem():
    class Unpaid(ChaosTurns):
        def _pay(self):
            for agent in self.agents:
                self._cumulative_rewards[agent] = float("nan")

    class Breaks(ChaosTurns):
        def step(self, action):
            if self.episode == 9:
                raise ValueError("the dice fell off")
            super().step(action)

    assert "agent 'b_0': reward: expected a finite number, got nan" in text(report(Unpaid, "unpaid"))
    found = report(Breaks, "breaks-in-turn")
    assert not found.ok and "the dice fell off" in found.problems[0]


def test_rewards_that_cancel_out_in_a_team_that_takes_turns():
    kwargs = {"max_cycles": 3}
    found = check_env(Config("pettingzoo.classic.rps_v2:env", env_kwargs=kwargs, teams="all"), max_episodes=20)
    assert any("opponents need policies of their own" in warning for warning in found.warnings)


def test_spaces_are_told_in_words():
    found = text(check_env(Config("space_envs:Seeing", frame_stack=2), max_seconds=0.2))
    assert "a vector of 12 numbers and image 'camera' (8, 9, 6); each image has convolutions of its own" in found
    assert "images of bytes take four times their size" in found
    assert "its action of parts (0, 1) is learned as one multi-discrete action" in found
    assert "the last 2 frames are seen side by side" in found
    found = text(check_env(Config("space_envs:Echo", env_kwargs={"actions": "boxes"}), max_seconds=0.2))
    assert "(go, turn) is learned as one continuous action" in found
    assert "drawn from a Gaussian, stored as drawn, and clipped to the bounds only for the environment" in found


def test_the_memory_of_large_observations_is_told():
    spec = EnvSpec(
        "big",
        (
            TeamSpec("small", (0,), ObsSpec((9,), np.dtype(np.float32)), ActionSpec("discrete", (2,), (0,))),
            TeamSpec("big", (1, 2), ObsSpec((84, 84, 12), np.dtype(np.uint8)), ActionSpec("discrete", (2,), (0,))),
        ),
        state_shape=(1_000_000,),
    )
    facts, warnings = memory_facts(Config("big", rollout=31, ring=2, num_envs_per_worker=10), spec)
    # 2 x 32 x 2 x 84672 and 2 x 32 x 2 x 4000000 bytes
    expected = "10.8 MB of slots per environment (ring 2 x 32 steps x 2 x 84.7 kB), 108.4 MB per worker of 10"
    assert facts == [f"observations of team 'big': {expected} environments"]
    assert len(warnings) == 1 and "512.0 MB" in warnings[0] and "--state-source joint" in warnings[0]
    assert memory_facts(Config("big", rollout=31, num_envs_per_worker=400), spec)[1][0].endswith("--rollout")
