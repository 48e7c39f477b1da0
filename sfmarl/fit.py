"""Whether a policy can play a team: what one observes and does beside what the other was trained for, or plays too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sfmarl.errors import UsageError, nearest
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, PolicySpec, TeamSpec

Part = Literal["observation", "action", "agents", "action mask"]
"""What can differ between a team and a policy."""


def differences(
    team: TeamSpec | PolicySpec,
    policy: PolicySpec,
    parts: tuple[Part, ...] = ("observation", "action", "agents", "action mask"),
) -> list[str]:
    """Return in words where `team` is not what `policy` was trained for, one entry per part; empty when it fits.

    Names of agents do not count, their number does.
    """
    described: dict[Part, tuple[str, str]] = {
        "observation": (_observation(team.obs), _observation(policy.obs)),
        "action": (_action(team.action), _action(policy.action)),
        "agents": (str(len(team.agents)), str(len(policy.agents))),
        "action mask": (_mask(team.has_mask), _mask(policy.has_mask)),
    }
    return [
        f"{part}: {here}, the policy was trained with {there}"
        for part, (here, there) in described.items()
        if part in parts and here != there
    ]


def teams_by_policy(policies: Mapping[str, str], spec: EnvSpec) -> dict[str, list[TeamSpec]]:
    """Return policy -> the teams it plays; `policies` is team -> policy, and a team that it leaves out has its own.

    Raises UsageError for unknown teams, and where a team that was left out would slip into another one's policy.
    """
    names = [team.name for team in spec.teams]
    for unknown in sorted(policies.keys() - set(names)):
        raise UsageError(
            f"policies names the team {unknown!r}, but the teams of {spec.env} are {', '.join(names)}."
            f"{nearest(unknown, names)}"
        )
    for team, policy in policies.items():
        if not policy.strip():
            raise UsageError(f"policies gives team {team!r} no policy: write {team}=NAME.")
        if policy != team and policy in names and policy not in policies:
            raise UsageError(
                f"policies gives team {team!r} the policy {policy!r}, and leaves out team {policy!r}, whose own policy "
                f"would have that name, too. Name both ({team}={policy} {policy}={policy} shares one), or choose "
                "another name."
            )
    players: dict[str, list[TeamSpec]] = {}
    for team in spec.teams:
        players.setdefault(policies.get(team.name, team.name), []).append(team)
    return players


def require_same_spaces(policy: str, teams: Sequence[TeamSpec]) -> None:
    """Raise UsageError when the teams that one policy plays observe or act differently."""
    first, *others = teams
    for other in others:
        if _interface(first) != _interface(other):
            raise UsageError(
                f"policy {policy!r} cannot play both {first.name!r} and {other.name!r}: their sizes, observations or "
                "actions differ. Give each team a policy of its own."
            )


def _interface(team: TeamSpec) -> tuple:
    act = team.action
    bounds = tuple(None if bound is None else bound.tobytes() for bound in (act.low, act.high))
    return len(team.agents), team.obs, team.has_mask, act.kind, act.nvec, act.start, act.env_shape, act.parts, bounds


def _observation(obs: ObsSpec) -> str:
    parts = ", ".join(f"{part.name} {part.shape}" for part in obs.parts)
    return f"shape {obs.shape} of {obs.dtype}" + (f" ({parts})" if parts else "")


def _action(action: ActionSpec) -> str:
    parts = f" in {len(action.parts)} parts" if action.parts else ""
    if action.kind == "continuous":
        return f"continuous of shape {action.env_shape}{parts}"
    return f"{action.kind} with {' x '.join(map(str, action.nvec))} choices{parts}"


def _mask(has_mask: bool) -> str:
    return "yes" if has_mask else "none"
