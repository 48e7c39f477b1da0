"""What error messages say of the actions an environment was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sfmarl.specs import AgentId, EnvSpec

LONGEST_ACTIONS = 400
"""Characters of the actions that an error message shows."""


def say_sent(chosen: Mapping[AgentId, Any], spec: EnvSpec) -> str:
    """Return, to follow a message, which actions an env was sent that failed on them."""
    actions = ", ".join(f"{agent!r}: {_short(action)}" for agent, action in chosen.items())
    hint = (
        ""
        if any(team.has_mask for team in spec.teams)
        else (". If it rejected one of them: actions that are illegal at times need an `action_mask`")
    )
    return f". It was sent {{{_shortened(actions)}}}{hint}"


def _short(action: Any) -> str:
    return str(action.tolist() if isinstance(action, np.ndarray) else action)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_ACTIONS else f"{text[:LONGEST_ACTIONS]}..."
