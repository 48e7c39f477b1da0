"""Who acts with one policy: the split of an environment's agents into teams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces

from sfmarl.errors import UsageError, nearest
from sfmarl.specs import AgentId

MODES = ("auto", "each", "all")

Teams = dict[str, tuple[AgentId, ...]]


def split_teams(
    agents: Sequence[AgentId],
    observation_spaces: Mapping[AgentId, spaces.Space],
    action_spaces: Mapping[AgentId, spaces.Space],
    teams: str = "auto",
) -> Teams:
    """Return {team: agents} in seat order (by each team's first agent; a JSON mapping keeps its own order).

    `teams` is `auto` (equal spaces and equal name prefix: `adversary_0` and `adversary_1`), `each`, `all`, or a JSON
    object {team: [agents]} that names every agent exactly once. Raises UsageError for anything else and for a team
    whose agents differ in spaces.
    """
    if teams == "auto":
        return _by_name_and_spaces(agents, observation_spaces, action_spaces)
    if teams == "each":
        split: Teams = {}
        for agent in agents:
            split[_unused(str(agent), split)] = (agent,)
        return split
    split = {"all": tuple(agents)} if teams == "all" else _from_json(agents, teams)
    for team, members in split.items():
        _require_equal_spaces(team, members, observation_spaces, action_spaces)
    return split


def name_prefix(agent: AgentId) -> str:
    """Return the agent's name without its trailing number: `adversary_0` -> `adversary`; `agent` for bare numbers."""
    return re.sub(r"[_\-. ]*\d+$", "", str(agent)) or "agent"


def _by_name_and_spaces(
    agents: Sequence[AgentId],
    observation_spaces: Mapping[AgentId, spaces.Space],
    action_spaces: Mapping[AgentId, spaces.Space],
) -> Teams:
    groups: list[list[AgentId]] = []
    for agent in agents:
        for group in groups:
            same_name = name_prefix(group[0]) == name_prefix(agent)
            same_spaces = (
                observation_spaces[group[0]] == observation_spaces[agent]
                and action_spaces[group[0]] == action_spaces[agent]
            )
            if same_name and same_spaces:
                group.append(agent)
                break
        else:
            groups.append([agent])
    split: Teams = {}
    for group in groups:
        prefix = name_prefix(group[0])
        # a second group of the same prefix (other spaces) goes by its first agent's name
        split[_unused(str(group[0]) if prefix in split else prefix, split)] = tuple(group)
    return split


def _unused(name: str, taken: Teams) -> str:
    while name in taken:
        name += "_"
    return name


def _from_json(agents: Sequence[AgentId], teams: str) -> Teams:
    try:
        data: Any = json.loads(teams)
    except (ValueError, RecursionError) as error:
        hint = nearest(teams, MODES) if not teams.lstrip().startswith("{") else f" JSON: {error}."
        raise UsageError(
            f"teams must be auto, each, all or a JSON object {{team: [agents]}}, not {teams!r}.{hint}"
        ) from error
    if not isinstance(data, dict) or not data or not all(isinstance(names, list) and names for names in data.values()):
        raise UsageError(f"teams must be a JSON object {{team: [agents]}} with at least one agent each, not {teams}")
    by_name = {str(agent): agent for agent in agents}
    split: Teams = {}
    owner: dict[AgentId, str] = {}
    for team, names in data.items():
        for name in names:
            if str(name) not in by_name:
                known = ", ".join(by_name)
                raise UsageError(
                    f"team {team!r} names {name!r}, which is no agent of the environment ({known})."
                    f"{nearest(str(name), by_name)}"
                )
            agent = by_name[str(name)]
            if agent in owner:
                raise UsageError(f"agent {agent!r} is named twice, in teams {owner[agent]!r} and {team!r}")
            owner[agent] = team
        split[team] = tuple(by_name[str(name)] for name in names)
    missing = [agent for agent in agents if agent not in owner]
    if missing:
        raise UsageError(f"teams leave out {', '.join(map(repr, missing))}: every agent needs exactly one team")
    return split


def _require_equal_spaces(
    team: str,
    members: Sequence[AgentId],
    observation_spaces: Mapping[AgentId, spaces.Space],
    action_spaces: Mapping[AgentId, spaces.Space],
) -> None:
    for kind, of in (("observation", observation_spaces), ("action", action_spaces)):
        for agent in members[1:]:
            if of[agent] != of[members[0]]:
                raise UsageError(
                    f"team {team!r} cannot act with one policy: {kind} space of {members[0]!r} is {of[members[0]]}, of "
                    f"{agent!r} {of[agent]}. Use teams=auto, or put agents with equal spaces together."
                )
