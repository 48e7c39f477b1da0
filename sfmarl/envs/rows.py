"""Rows outside a trajectory slot: private arrays for one time step, and a random policy that acts on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.specs import ActionSpec, EnvSpec


def new_obs_rows(spec: EnvSpec, num_envs: int) -> list[ObsRows]:
    """Return prepared rows of every team: zero observations, full masks, nobody active."""
    rows = []
    for team in spec.teams:
        lead = (num_envs, len(team.agents))
        rows.append(
            ObsRows(
                obs=np.zeros((*lead, *team.obs.shape), team.obs.dtype),
                action_mask=np.ones((*lead, team.action.mask_size), bool) if team.has_mask else None,
                state=None if spec.state_shape is None else np.zeros((num_envs, *spec.state_shape), np.float32),
                active=np.zeros(lead, bool),
                is_first=np.zeros(lead, bool),
            )
        )
    return rows


def new_outcome_rows(spec: EnvSpec, num_envs: int) -> list[OutcomeRows]:
    """Return prepared rows of every team: zero rewards, nothing ended."""
    shapes = [(num_envs, len(team.agents)) for team in spec.teams]
    return [OutcomeRows(np.zeros(s, np.float32), np.zeros(s, bool), np.zeros(s, bool)) for s in shapes]


def random_actions(
    spec: ActionSpec, shape: Sequence[int], rng: np.random.Generator, mask: np.ndarray | None = None
) -> np.ndarray:
    """Draw stored actions [*shape, *action] uniformly over the legal ones.

    `mask` [*shape, n] bool, True = legal. Continuous: uniform between the bounds, standard normal where unbounded.
    """
    if spec.kind == "continuous":
        low, high = spec.low, spec.high
        bounded = np.isfinite(low) & np.isfinite(high)
        span = np.where(bounded, high, 1.0) - np.where(bounded, low, 0.0)
        uniform = np.where(bounded, low, 0.0) + span * rng.random((*shape, len(low)))
        return np.where(bounded, uniform, rng.standard_normal((*shape, len(low)))).astype(np.float32)
    keys = rng.random((*shape, spec.mask_size))
    if mask is not None:
        keys = np.where(mask, keys, -1.0)
    if spec.kind == "discrete":
        return keys.argmax(-1).astype(np.int32)
    splits = np.cumsum(spec.nvec)[:-1]
    return np.stack([part.argmax(-1) for part in np.split(keys, splits, axis=-1)], axis=-1).astype(np.int32)
