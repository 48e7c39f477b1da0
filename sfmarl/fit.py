"""Whether a policy can play a team: what one observes and does beside what the other was trained for."""

from __future__ import annotations

from typing import Literal

from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec, TeamSpec

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
