"""Names to environments, and every way a name can be wrong."""

from __future__ import annotations

import importlib.util
import sys

import gymnasium
import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.mpe import SCENARIOS
from sfmarl.envs.mpe.spread import SimpleSpread
from sfmarl.envs.parallel import ParallelVectorEnv
from sfmarl.envs.registry import (
    is_native,
    list_envs,
    load_spec,
    make_env,
    make_turn_envs,
    make_vector_env,
    register_env,
)
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows
from sfmarl.envs.turns import Turn
from sfmarl.errors import RunError, UsageError
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


@pytest.mark.parametrize(
    ("name", "kwargs", "agents"),
    [
        ("mpe2.simple_spread_v3", {"N": 2}, 2),
        ("mpe2.simple_tag_v3:parallel_env", {"num_good": 2}, 5),
        ("sisl/pursuit-v5", {"n_pursuers": 4}, 4),
        ("sisl/pursuit_v5", {"n_pursuers": 4}, 4),
        ("native/simple_spread", {"N": 5}, 5),
        ("sfmarl.envs.mpe.spread:SimpleSpread", {"N": 5}, 5),
        ("games/dict", {"num_agents": 3}, 3),
        ("games/climbing", {}, 2),
        ("scripted_envs:chaos_env", {"chaos": 0.1}, 5),
        ("CartPole-v1", {}, 1),
        ("gymnasium:CartPole-v1", {"max_episode_steps": 7}, 1),
        ("gymnasium.envs.classic_control.cartpole:CartPoleEnv", {}, 1),
    ],
)
def test_names_of_every_kind(name, kwargs, agents):
    config = Config(name, env_kwargs=kwargs)
    spec = load_spec(config)
    assert (spec.env, spec.num_agents, spec.turn_based) == (name, agents, False)
    env = make_vector_env(config, 3, [1, 2, 3])
    assert repr(env.spec) == repr(spec)
    assert env.num_envs == 3
    rows = new_obs_rows(spec, 3)
    env.reset(range(3), rows)
    assert all(sum(row.active[e].sum() for row in rows) > 0 for e in range(3))
    env.close()


@pytest.mark.parametrize(
    ("name", "kwargs", "teams"),
    [
        ("pettingzoo.classic.tictactoe_v3", {}, ("player_1", "player_2")),
        ("classic/connect_four-v3", {}, ("player_0", "player_1")),
        ("classic/tictactoe_v3", {}, ("player_1", "player_2")),
        ("pettingzoo.classic.rps_v2:env", {"max_cycles": 3}, ("player_0", "player_1")),
        ("mpe2.simple_tag_v3:env", {"num_good": 1}, ("adversary_0", "adversary_1", "adversary_2", "agent_0")),
        ("scripted_aec:chaos_turns", {"chaos": 0.5}, ("a_0", "a_1", "b_0", "7")),
        ("scripted_aec:ChaosTurns", {"agents": [0, 1]}, ("0", "1")),
        ("test/native_turns", {"agents": 3}, ("counter",)),
    ],
)
def test_names_of_turn_based_environments(name, kwargs, teams):
    """Every agent is a team of its own, unless a native environment says otherwise."""
    register_env("test/native_turns", NativeTurns, "writes its own rows")
    config = Config(name, env_kwargs=kwargs)
    spec = load_spec(config)
    assert spec.turn_based and tuple(team.name for team in spec.teams) == teams
    envs = make_turn_envs(config, 2)
    assert all(repr(env.spec) == repr(spec) for env in envs)
    for env in envs:
        env.reset(3)
        assert env.turn() is not None
        env.close()
    with pytest.raises(UsageError, match="do not act at once"):
        make_vector_env(config, 1, [0])


def test_where_both_apis_are_offered_all_agents_act_at_once():
    for name in ("pettingzoo.classic.rps_v2", "classic/rps-v2", "mpe2.simple_tag_v3"):
        assert not load_spec(Config(name)).turn_based
    with pytest.raises(UsageError, match="is not turn-based"):
        make_turn_envs(Config("classic/rps-v2"), 1)


def test_teams_of_agents_that_take_turns():
    pairs = '{"left": ["a_0", "b_0"], "right": ["a_1", "c_1"]}'
    kwargs = {"agents": ["a_0", "a_1", "b_0", "c_1"]}
    spec = load_spec(Config("scripted_aec:chaos_turns", env_kwargs=kwargs, teams=pairs))
    assert [team.agents for team in spec.teams] == [("a_0", "b_0"), ("a_1", "c_1")]
    spec = load_spec(Config("scripted_aec:chaos_turns", env_kwargs=kwargs, teams="all"))
    assert [team.agents for team in spec.teams] == [("a_0", "a_1", "b_0", "c_1")]
    with pytest.raises(UsageError, match="cannot act with one policy"):
        load_spec(Config("scripted_aec:chaos_turns", teams="all"))
    register_env("test/native_turns", NativeTurns, "writes its own rows")
    with pytest.raises(UsageError, match="fixed teams"):
        load_spec(Config("test/native_turns", teams="each"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scripted_aec:Redraws", ["redraws its spaces at reset"]),
        ("scripted_aec:Renames", ["changes `possible_agents` at reset"]),
        ("scripted_aec:SaysLittle", ["last() must return"]),
        ("scripted_aec:Breaks", ["failed in one of its first calls of step()", "the dice fell off"]),
    ],
)
def test_turn_based_environments_that_cannot_be_trained_on(name, words):
    with pytest.raises(UsageError) as caught:
        load_spec(Config(name))
    for word in words:
        assert word in str(caught.value)


class NativeTurns:
    """A TurnEnv without PettingZoo: agents count to four in turn, then it is over."""

    def __init__(self, agents: int = 2) -> None:
        obs, action = ObsSpec((1,), np.dtype(np.float32)), ActionSpec("discrete", nvec=(2,), start=(0,))
        team = TeamSpec("counter", tuple(range(agents)), obs, action)
        self.spec = EnvSpec("native", (team,), turn_based=True)
        self.count = 0

    def reset(self, seed=None) -> None:
        self.count = 0

    def turn(self) -> Turn | None:
        return None if self.count == 4 else Turn(0, self.count % self.spec.num_agents, 1.0, False, False)

    def observe(self, obs, action_mask, state) -> None:
        obs[...] = self.count

    def act(self, action) -> None:
        self.count += 1

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mpe2.simple_sprad_v3", ["mpe2 has no module", "'mpe2.simple_spread_v3'"]),
        ("mpe2.simple_spread_v3.parallel_env", ["Did you mean 'mpe2.simple_spread_v3:parallel_env'"]),
        ("mpe2", ["It holds", "mpe2.simple_spread_v3"]),
        ("mpe3.simple_spread_v3", ["no package 'mpe3' is installed", "'mpe2'"]),
        ("mpe2.simple_spread_v3:paralel_env", ["has no 'paralel_env'", "'parallel_env'"]),
        ("math:pi", ["float", "not a callable"]),
        ("json.decoder", ["no parallel_env and no env"]),
        ("CartPol-v1", ["'CartPole-v1'"]),
        ("gymnasium:CartPol-v1", ["gymnasium has no environment", "'CartPole-v1'"]),
        ("native/simple_spred", ["'native/simple_spread'"]),
        ("what is this", ["there is no environment", "module:callable"]),
        ("", ["there is no environment"]),
        ("pettingzoo.classic.tictactoe_v3:envs", ["has no 'envs'", "'env'"]),
        ("classic/conect_four-v3", ["'classic/connect_four-v3'"]),
        ("collections:OrderedDict", ["built a OrderedDict", "ParallelEnv"]),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(name, words):
    with pytest.raises(UsageError) as caught:
        load_spec(Config(name))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_dependency_is_named(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import surely_not_installed\n")
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="needs the package 'surely_not_installed', which is not installed"):
        load_spec(Config("needs_more:make"))
    (tmp_path / "wraps.py").write_text("def make():\n    import supersuit\n")
    monkeypatch.setitem(sys.modules, "supersuit", None)
    with pytest.raises(UsageError, match=r"'supersuit', which is not installed: pip install 'sfmarl\[supersuit\]'"):
        load_spec(Config("wraps:make"))
    if importlib.util.find_spec("magent2") is None:
        with pytest.raises(UsageError, match=r"'magent2', which is not installed: pip install 'sfmarl\[magent2\]'"):
            load_spec(Config("magent2.environments.battle_v4"))
    if importlib.util.find_spec("pymunk") is None:
        with pytest.raises(UsageError, match=r"is not installed: pip install 'sfmarl\[butterfly\]'"):
            load_spec(Config("pettingzoo.butterfly.pistonball_v6"))
    (tmp_path / "plays.py").write_text("def make():\n    from pettingzoo.butterfly import pistonball_v6\n")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pymunk", None)
        for name in [name for name in sys.modules if name.startswith("pettingzoo.butterfly.")]:
            without.delitem(sys.modules, name)
        with pytest.raises(UsageError, match=r"'pymunk', which is not installed: pip install 'sfmarl\[butterfly\]'"):
            load_spec(Config("plays:make"))
    with pytest.raises(UsageError, match=r"importing breaks raised ZeroDivisionError") as caught:
        load_spec(Config("breaks:make"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("mpe2.simple_spread_v3", {"max_cycle": 9}, ["'max_cycle'", "It takes N, local_ratio", "'max_cycles'"]),
        ("native/simple_spread", {"num_envs": 9}, ["'num_envs'", "N, local_ratio", "max_cycles, continuous_actions"]),
        ("native/simple_spread", {"N": 0}, ["N >= 1"]),
        ("CartPole-v1", {"sutton": 1}, ["'sutton'", "sutton_barto_reward"]),
        ("sisl/pursuit-v5", {"pursuers": 1}, ["'pursuers'"]),
        ("pettingzoo.classic.tictactoe_v3", {"size": 4}, ["'size'", "It takes render_mode, screen_height"]),
        ("scripted_envs:chaos_env", {"mask": 1}, ["'mask'"]),
        ("scripted_envs:raising_env", {"at_construction": True}, ["at_construction=True", "ValueError: no such map"]),
        ("mpe2.simple_spread_v3", {"local_ratio": 3}, ["local_ratio=3", "AssertionError", "between 0 and 1"]),
        ("scripted_envs:raising_env", {"at_step": 2}, ["step()", "the physics exploded"]),
    ],
)
def test_wrong_kwargs_and_raising_constructors(name, kwargs, words):
    with pytest.raises(UsageError) as caught:
        load_spec(Config(name, env_kwargs=kwargs))
    for word in [name, *words] if name != "native/simple_spread" or "N" not in kwargs else words:
        assert word in str(caught.value)
    if "takes no keyword" not in str(caught.value) and "native" not in name:
        assert caught.value.__cause__ is not None


def test_an_env_that_raises_later_is_a_failed_run():
    env = make_vector_env(Config("scripted_envs:raising_env", env_kwargs={"at_step": 100}), 1, [5])
    rows, outcome = new_obs_rows(env.spec, 1), new_outcome_rows(env.spec, 1)
    env.reset([0], rows)

    def step():
        env.step([np.zeros((1, 2), np.int32)], np.ones(1, bool), rows, outcome)

    for _ in range(99):
        step()
    with pytest.raises(RunError, match=r"copy 0 \(seed 5\), episode 1, step 100: .*the physics exploded"):
        step()


def test_a_copy_that_cannot_be_built_is_a_failed_run_and_closes_the_others():
    built = []

    class Scarce(gymnasium.envs.classic_control.CartPoleEnv):
        def __init__(self):
            if len(built) == 3:
                raise OSError("no more handles")
            super().__init__()
            built.append(self)
            self.closed = False

        def close(self):
            self.closed = True

    register_env("test/scarce", Scarce, "three at most")
    with pytest.raises(RunError, match=r"test/scarce could not be built.*OSError: no more handles"):
        make_vector_env(Config("test/scarce"), 5, range(5))
    assert all(env.closed for env in built)


def test_registering():
    register_env("test/mine", SimpleSpread, "again")
    register_env("test/mine", SimpleSpread, "again")
    assert ("test/mine", "again") in list_envs()
    assert load_spec(Config("test/mine")).env == "test/mine"
    with pytest.raises(UsageError, match="registered already"):
        register_env("test/mine", ParallelVectorEnv, "other")


def test_the_list_names_what_can_be_built():
    names = [name for name, _ in list_envs()]
    for name in ("native/simple_spread", "games/dict", "mpe2.simple_spread_v3", "sisl/pursuit-v5", "classic/chess-v6"):
        assert name in names
    assert len(names) == len(set(names))
    native = [name for name in names if name.startswith(("mpe2.", "games/", "native/")) and is_native(name)]
    assert native == [name for name in names if name.startswith("native/")]
    assert sum(name.startswith("native/simple_") for name in native) == len(SCENARIOS)


def test_the_list_says_what_to_install():
    about = dict(list_envs())
    assert "'sfmarl[classic]'" in about["classic/chess-v6"] and "'sfmarl[sisl]'" in about["sisl/pursuit-v5"]
    assert "'sfmarl[classic,openspiel]'" in about["classic/hanabi-v5"]
    assert "'pettingzoo[atari]'" in about["atari/pong-v3"]


def test_native_envs_have_fixed_teams_and_no_frames():
    with pytest.raises(UsageError, match=r"fixed teams \(agent\): use teams=auto"):
        load_spec(Config("native/simple_spread", teams="each"))
    with pytest.raises(UsageError, match="cannot render"):
        make_vector_env(Config("native/simple_spread"), 1, [0], render_mode="rgb_array")
    with pytest.raises(UsageError, match="no single environment"):
        make_env(Config("native/simple_spread"))


def test_teams_reach_the_spec():
    spec = load_spec(Config("mpe2.simple_spread_v3", teams='{"solo": ["agent_2"], "pair": ["agent_0", "agent_1"]}'))
    assert [(team.name, team.agents) for team in spec.teams] == [
        ("solo", ("agent_2",)),
        ("pair", ("agent_0", "agent_1")),
    ]
    assert spec.state_shape == (54,)


def test_frames():
    env = make_vector_env(Config("mpe2.simple_spread_v3"), 1, [0], render_mode="rgb_array")
    env.reset([0], new_obs_rows(env.spec, 1))
    frame = env.render(0)
    assert frame.dtype == np.uint8
    assert frame.shape == (700, 700, 3)
    env.close()
    with pytest.raises(UsageError, match="'render_mode'"):
        make_vector_env(Config("games/dict"), 1, [0], render_mode="rgb_array")


def test_equal_seeds_give_equal_episodes_and_others_do_not():
    def first(name, seed):
        env = make_vector_env(Config(name), 2, [seed, 9])
        rows = new_obs_rows(env.spec, 2)
        env.reset([0, 1], rows)
        return rows[0].obs

    for name in ("mpe2.simple_spread_v3", "native/simple_spread", "games/dict", "CartPole-v1"):
        one, again, other = first(name, 3), first(name, 3), first(name, 4)
        np.testing.assert_array_equal(one, again)
        assert (one[0] != other[0]).any()
        np.testing.assert_array_equal(one[1], other[1])


def test_pictures_are_drawn_for_those_who_see_them():
    """Pistonball shows its agents the screen, and draws the ball on it only when it is to render."""
    pytest.importorskip("pymunk")
    from pettingzoo.butterfly import pistonball_v6

    settings = {"n_pistons": 3, "max_cycles": 8}
    ours = make_env(Config("butterfly/pistonball-v6", env_kwargs=settings))
    theirs = pistonball_v6.parallel_env(**settings, render_mode="rgb_array")
    blank = make_env(Config("butterfly/pistonball-v6", env_kwargs={**settings, "render_mode": None}))
    found = []
    for env in (ours, theirs, blank):
        env.reset(seed=1)
        found.append(env.step(dict.fromkeys(env.agents, np.zeros(1, np.float32)))[0])
        env.close()
    assert all(np.array_equal(found[0][agent], found[1][agent]) for agent in found[1])
    assert not any(np.array_equal(found[0][agent], found[2][agent]) for agent in found[2])
