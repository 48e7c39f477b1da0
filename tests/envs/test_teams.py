"""Agents into teams."""

from __future__ import annotations

import pytest
from gymnasium import spaces

from sfmarl.envs.teams import name_prefix, split_teams
from sfmarl.errors import UsageError

ONE, TWO = spaces.Box(0, 1, (1,)), spaces.Box(0, 1, (2,))
ACT = spaces.Discrete(2)


def split(agents, teams="auto", obs=None):
    return split_teams(agents, obs or dict.fromkeys(agents, ONE), dict.fromkeys(agents, ACT), teams)


@pytest.mark.parametrize(
    ("agent", "prefix"),
    [
        ("adversary_10", "adversary"),
        ("agent1", "agent"),
        ("red-2", "red"),
        (3, "agent"),
        ("a_1_0", "a_1"),
        ("bob", "bob"),
    ],
)
def test_name_prefix(agent, prefix):
    assert name_prefix(agent) == prefix


def test_auto_needs_equal_names_and_equal_spaces():
    agents = ["adversary_0", "agent_0", "adversary_1", "agent_1", "agent_2"]
    obs = dict.fromkeys(agents, ONE) | {"agent_1": TWO, "agent_2": TWO}
    assert split(agents, obs=obs) == {
        "adversary": ("adversary_0", "adversary_1"),
        "agent": ("agent_0",),
        "agent_1": ("agent_1", "agent_2"),
    }
    assert split([0, 1, 2]) == {"agent": (0, 1, 2)}
    assert split(["first_0", "second_0"]) == {"first": ("first_0",), "second": ("second_0",)}


def test_auto_names_stay_unique():
    agents = ["x_0", "x_1", "x_1_0"]
    obs = {"x_0": ONE, "x_1": TWO, "x_1_0": ONE}
    teams = split(agents, obs=obs)
    assert len(teams) == 3
    assert sorted(teams.values()) == [("x_0",), ("x_1",), ("x_1_0",)]


def test_each_and_all():
    assert split(["a_0", 1], "each") == {"a_0": ("a_0",), "1": (1,)}
    assert split(["a_0", 1], "all") == {"all": ("a_0", 1)}
    with pytest.raises(UsageError, match=r"'all' cannot act with one policy: observation space of 'a_0'"):
        split(["a_0", "a_1"], "all", {"a_0": ONE, "a_1": TWO})


def test_json_keeps_its_order_and_takes_integer_ids():
    assert split(["a", 0, 1], '{"x": [1, "a"], "y": ["0"]}') == {"x": (1, "a"), "y": (0,)}


@pytest.mark.parametrize(
    ("teams", "words"),
    [
        ("eech", ["auto", "'each'"]),
        ('{"x": ', ["JSON"]),
        ("[1]", ["JSON object"]),
        ("{}", ["JSON object"]),
        ('{"x": []}', ["at least one agent"]),
        ('{"x": "a_0"}', ["JSON object"]),
        ('{"x": ["a_0", "a_7"]}', ["'a_7'", "a_0, a_1, b_0", "Did you mean"]),
        ('{"x": ["a_0"], "y": ["a_0", "a_1", "b_0"]}', ["'a_0'", "twice", "'x'", "'y'"]),
        ('{"x": ["a_0", "b_0"]}', ["leave out 'a_1'"]),
        ('{"x": ["a_0", "a_1", "b_0"]}', ["'x'", "'b_0'", "one policy"]),
    ],
)
def test_mistakes_are_explained(teams, words):
    agents = ["a_0", "a_1", "b_0"]
    with pytest.raises(UsageError) as caught:
        split(agents, teams, dict.fromkeys(agents, ONE) | {"b_0": TWO})
    for word in words:
        assert word in str(caught.value)


def test_action_spaces_count_too():
    actions = {"a_0": ACT, "a_1": spaces.Discrete(3)}
    assert len(split_teams(["a_0", "a_1"], dict.fromkeys(actions, ONE), actions)) == 2
    with pytest.raises(UsageError, match="action space"):
        split_teams(["a_0", "a_1"], dict.fromkeys(actions, ONE), actions, "all")
