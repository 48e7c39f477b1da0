"""The vector protocol: what the data plane asks of a batch of environments, and the views it hands them.

A `VectorEnv` steps E copies of one environment at once and writes into the views it is given, which are rows of
trajectory slots in shared memory. Nothing is returned but which episodes ended. PettingZoo environments are driven
through one implementation (`parallel.py`); a fast simulator implements the protocol itself (`mpe/env.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sfmarl.envs.infos import EpisodeInfos
from sfmarl.specs import EnvSpec


class ObsRows:
    """Views one team's next observations are written into, for all envs of a split at one time step."""

    __slots__ = ("action_mask", "active", "is_first", "obs", "state")

    def __init__(self, obs, action_mask, state, active, is_first) -> None:
        self.obs: np.ndarray = obs
        """[E, A, *obs] in the stored dtype. Rows of agents that are not alive are zero."""
        self.action_mask: np.ndarray | None = action_mask
        """[E, A, n] bool, True = legal; None when the team has no mask. All True for agents that are not alive."""
        self.state: np.ndarray | None = state
        """[E, *state] float32; None when nobody reads it, or when the spec has no `state_shape`."""
        self.active: np.ndarray = active
        """[E, A] bool: the agent is alive and will act on this observation."""
        self.is_first: np.ndarray = is_first
        """[E, A] bool: first observation of the agent's life (episode start or birth)."""


class OutcomeRows:
    """Views the outcome of one step of one team is written into."""

    __slots__ = ("reward", "terminated", "truncated")

    def __init__(self, reward, terminated, truncated) -> None:
        self.reward: np.ndarray = reward
        """[E, A] float32, zero for agents that did not act."""
        self.terminated: np.ndarray = terminated
        """[E, A] bool: the agent acted and this step ended its life; its return ends here."""
        self.truncated: np.ndarray = truncated
        """[E, A] bool: the agent acted and was cut off; its return is bootstrapped from its final observation."""


@runtime_checkable
class VectorEnv(Protocol):
    """E copies of one environment in lock-step.

    The caller prepares the rows before each call: `active` and `is_first` False, rewards zero, masks True, and it
    owns auto-reset (an env that ended is reset before it is stepped again, or is not `running`).
    """

    spec: EnvSpec
    """What the envs look like; equal for every copy."""
    num_envs: int
    """E."""

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """Start a new episode in each env of `envs` and write its first observation into row `out[team].X[env]`.

        Sets `active` and `is_first` for every agent alive at the start. Other rows stay untouched.
        """
        ...

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """Step every env e with `running[e]` (at least one) and write what follows.

        Stored actions are `actions[team][e, a]`.

        `out` takes the observations after the step: for an agent that terminated or was truncated its final
        observation, with `active` False. Rows of envs that are not running stay untouched.

        Returns `ended` bool [E]: the episode is over (no agent is alive any more).
        """
        ...

    def close(self) -> None:
        """Release whatever the envs hold."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """What a `VectorEnv` may offer so that a resumed serial run draws the random numbers the interrupted one would."""

    def generator_states(self) -> list[dict[str, Any] | None]:
        """Return each env's `seeding.generator_state`; None for an env whose generator is not known."""
        ...

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """Have each env begin its first episode from such a state; None leaves it to its seed."""
        ...


@runtime_checkable
class Rebuilt(Protocol):
    """What a `VectorEnv` offers that replaces environments which fail (envs/rebuild.py) and goes on."""

    failed: list[int]
    """After `step`: the envs among those running that were replaced; they have to be reset, they have not `ended`, and
    what was written of them means nothing. After `reset`: envs that were not to be reset and yet were replaced."""


@runtime_checkable
class Informative(Protocol):
    """What a `VectorEnv` offers whose environments answer with infos (`info_metrics`)."""

    infos: EpisodeInfos | None
    """Aggregates the infos of running episodes; None when none were asked for."""


@runtime_checkable
class Reporting(Informative, Protocol):
    """What a native environment offers that has infos to report: whoever builds it sets `infos`, which it tells.

    One whose returns do not say who won has `outcome` among its infos (`envs/infos.py`), for leagues.
    """

    info_keys: tuple[str, ...]
    """Entries that it knows."""
