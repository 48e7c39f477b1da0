"""What the data plane asks of one turn-based environment, and who is asked to move."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sfmarl.errors import EnvFault
from sfmarl.specs import EnvSpec


class Turn(NamedTuple):
    """The agent whose turn it is, and what happened to it since it last acted."""

    seat: int
    """Its team."""
    agent: int
    """Its index in the team."""
    reward: float
    """Everything it earned since it last acted in this episode (or since the episode began)."""
    terminated: bool
    """Its life is over; it must be passed with `act(None)`."""
    truncated: bool
    """It was cut off; it must be passed with `act(None)`."""


@runtime_checkable
class TurnEnv(Protocol):
    """One environment in which agents act one after the other (PettingZoo's AEC semantics).

    `envs/aec.py` is the adapter of PettingZoo's AECEnv. A factory may also be registered that builds one directly.
    """

    spec: EnvSpec
    """What the environment looks like; `turn_based` is True."""

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode. The first one is given a seed; later ones continue the environment's random stream."""
        ...

    def turn(self) -> Turn | None:
        """Return whose turn it is, or None when the episode is over. Calling it again changes nothing."""
        ...

    def observe(self, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None) -> None:
        """Write the observation [*obs], mask [n] and state [*state] of the agent whose turn it is."""
        ...

    def act(self, action: np.ndarray | None) -> None:
        """Apply the stored action [*action] of the agent whose turn it is; None passes an agent whose life is over."""
        ...

    def close(self) -> None:
        """Release whatever the environment holds."""
        ...


@runtime_checkable
class RebuiltTurns(Protocol):
    """What a `TurnEnv` offers that can be replaced once one of its methods raised EnvFault (envs/rebuild.py)."""

    def rebuild(self, fault: EnvFault) -> int:
        """Put its successor in its place and return the seed of that one's first reset.

        Raises RunError when it must not be replaced.
        """
        ...


@runtime_checkable
class ResumableTurns(Protocol):
    """What a `TurnEnv` may offer so that a resumed serial run draws the random numbers the interrupted one would."""

    def generator_state(self) -> dict[str, Any] | None:
        """Return the environment's `seeding.generator_state`; None when its generator is not known."""
        ...

    def restore_generator(self, state: dict[str, Any] | None) -> None:
        """Have the environment begin its first episode from such a state; None leaves it to its seed."""
        ...
