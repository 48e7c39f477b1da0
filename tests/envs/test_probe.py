"""What a probe sees in a live environment."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_envs import Sound
from gymnasium import spaces
from scripted_envs import ChaosEnv, ScriptedEnv

from sfmarl.config import Config
from sfmarl.envs.probe import probe
from sfmarl.envs.registry import load_spec
from sfmarl.errors import UsageError

BOTH = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}


def scripted(cls=ScriptedEnv, **kwargs):
    return cls(["x_0", "x_1"], [BOTH] * 20, **kwargs)


@pytest.mark.parametrize(
    ("name", "teams", "joint", "state_shape"),
    [
        ("mpe2.simple_spread_v3", "auto", True, None),
        ("native/simple_spread", "auto", True, None),
        ("mpe2.simple_spread_v3", "each", False, (54,)),
        # the mapping reorders the team, so its observations side by side are not env.state()
        ("mpe2.simple_spread_v3", '{"t": ["agent_2", "agent_0", "agent_1"]}', False, (54,)),
        ("mpe2.simple_tag_v3", "auto", False, (62,)),
        ("games/climbing", "auto", False, None),
    ],
)
def test_state(name, teams, joint, state_shape):
    spec = load_spec(Config(name, teams=teams))
    assert (spec.state_is_joint, spec.state_shape) == (joint, state_shape)


def test_native_and_mpe2_specs_are_equal():
    native, original = (load_spec(Config(name)) for name in ("native/simple_spread", "mpe2.simple_spread_v3"))
    assert native.teams == original.teams
    assert native.state_is_joint == original.state_is_joint


@pytest.mark.parametrize("masks", [None, "obs", "info"])
def test_masks(masks):
    found = probe(ChaosEnv(masks=masks, chaos=0.2), "chaos")
    assert [team.name for team in found.spec.teams] == ["a", "b", "agent"]
    assert [team.has_mask for team in found.spec.teams] == [masks is not None] * 3
    assert [codec.mask_in_info for codec in found.codecs] == [masks == "info"] * 3
    assert [team.obs.shape for team in found.spec.teams] == [(3,), (4,), (3,)]
    assert found.spec.teams[2].action.start == (3,)


@pytest.mark.parametrize("agents", [[np.int64(0), np.int64(1)], [("x", 0), ("x", 1)], ["x_0", True]])
def test_agent_ids_that_json_cannot_record_are_refused(agents):
    everyone = {"listed": agents, "obs": agents}
    with pytest.raises(UsageError, match=r"must be str or int") as caught:
        probe(ScriptedEnv(agents, [everyone] * 20), "odd")
    assert type(agents[1]).__name__ in str(caught.value)


def test_a_state_that_changes_its_size_is_not_used_and_said_so():
    class Grows(ScriptedEnv):
        def state(self):
            return np.zeros(self.t + 1)

    found = probe(scripted(Grows), "grows")
    assert found.spec.state_shape is None
    assert not found.spec.state_is_joint
    assert "changes its size" in found.notes[0]


def test_a_state_that_only_starts_like_the_observations_is_stored():
    class Drifts(ScriptedEnv):
        def state(self):
            joint = np.concatenate([self._observations(BOTH)[agent] for agent in self.agents])
            return joint + (self.t > 5)

    assert probe(scripted(Drifts), "drifts").spec.state_shape == (6,)


def test_a_state_that_equals_one_of_several_teams_is_stored():
    class First(ScriptedEnv):
        def state(self):
            return self._observations(BOTH)["x_0"]

    spec = probe(scripted(First), "first", "each").spec
    assert (spec.state_shape, spec.state_is_joint) == ((3,), False)


def test_spaces_redrawn_at_reset_are_refused():
    class Redraws(ScriptedEnv):
        def reset(self, seed=None, options=None):
            self.act_space = spaces.Discrete(2 + (seed or 0))
            return super().reset(seed)

    with pytest.raises(UsageError, match=r"redraws its spaces at reset \('x_0': Discrete\(2\) became Discrete\(3\)\)"):
        probe(scripted(Redraws), "redraws")

    class Renames(ScriptedEnv):
        def reset(self, seed=None, options=None):
            self.possible_agents = ["x_0", "x_1"] if not seed else ["x_0", "x_1", "x_2"]
            return super().reset(seed)

    with pytest.raises(UsageError, match="changes `possible_agents`"):
        probe(scripted(Renames), "renames")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"possible_agents": [], "script": [{"listed": [], "obs": []}]}, ["possible_agents"]),
        ({"obs_space": spaces.Sequence(spaces.Discrete(2))}, ["'x_0'", "Sequence"]),
        (
            {"act_space": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)])},
            ["'x_0'", "mixes discrete and continuous"],
        ),
        ({"obs_space": spaces.Box(0, 1, (9,))}, ["'x_0'", "(9,)", "(3,)"]),
        ({"obs_space": None}, ["observation_space('x_0')", "None"]),
        ({"script": [BOTH, {**BOTH, "obs": None}]}, ["step()", "TypeError"]),
        ({"reset": lambda seed=None: {}}, ["reset() must return (observations, infos)"]),
        ({"step": lambda actions: ({}, {}, {}, {})}, ["step() must return", "truncations"]),
    ],
)
def test_what_cannot_be_trained_on_is_explained(change, words):
    env = scripted()
    for name, value in change.items():
        setattr(env, name, value)
    with pytest.raises(UsageError) as caught:
        probe(env, "odd.env")
    for word in ["odd.env", *words]:
        assert word in str(caught.value)


def broken(seen=None, told=None, ghost=False, missing=(), state=True):
    """Return a `Sound` environment that is broken from its first observation on."""

    class Broken(Sound):
        def observe(self, agent):
            return super().observe(agent) if seen is None or agent == "x_0" else seen

        def state(self):
            return super().state() if state else self.nothing

        def reset(self, seed=None, options=None):
            observations, infos = super().reset(seed, options)
            self.agents = [*self.agents, "y_7"] if ghost else self.agents
            return observations, infos if told is None else told[0]

        def step(self, actions):
            assert actions.keys() == set(self.agents)
            answer = super().step(actions)
            parts = [{a: x for a, x in part.items() if (i, a) not in missing} for i, part in enumerate(answer[:4])]
            return (*parts, answer[4])

    return Broken()


@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"seen": np.full(3, np.nan, np.float32)}, ["agent 'x_1'", "nan at 0"]),
        ({"seen": np.zeros(4, np.float32)}, ["agent 'x_1'", "expected shape (3,), got (4,)"]),
        ({"seen": np.full(3, "a")}, ["agent 'x_1'", "dtype"]),
        ({"ghost": True}, ["agent 'y_7' is not in possible_agents"]),
        ({"told": [None]}, ["reset() must return infos as a dict by agent, not NoneType"]),
    ],
)
def test_a_fault_of_the_first_observation_is_named(fault, words, state):
    with pytest.raises(UsageError) as caught:
        probe(broken(**fault, state=state), "broken")
    for word in ["broken", *words]:
        assert word in str(caught.value)


def test_who_is_listed_and_sees_nothing_is_given_the_action_zero():
    """As in a run: the environment may ask for everybody's action."""
    found = probe(broken(missing={(0, "x_1")}), "partly blind")
    assert found.spec.num_agents == 2


def test_one_number_is_a_vector_of_one():
    class Thermometer(Sound):
        space = spaces.Box(-40, 40, (), np.float32)

        def observe(self, agent):
            return np.float32(self.np_random.uniform(-40, 40))

    found = probe(Thermometer(), "thermometer")
    assert found.spec.teams[0].obs.shape == (1,)
    row = np.zeros((1, 1), np.float32)
    found.codecs[0].obs.write_one(np.float32(21.5), row[0])
    assert row.item() == 21.5
