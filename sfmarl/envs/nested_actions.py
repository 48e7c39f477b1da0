"""Tuple and Dict actions: one stored action of all leaves side by side, and back to what the environment takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.envs.leaves import Path
from sfmarl.errors import UsageError
from sfmarl.specs import ActionPart, ActionSpec

SUPPORTED = "use Discrete, MultiDiscrete, MultiBinary or Box, or a Tuple or Dict of these"


def join_specs(space: spaces.Tuple | spaces.Dict, flat: Sequence[tuple[Path, spaces.Space, ActionSpec]]) -> ActionSpec:
    """Return the spec of a nested `space` with the leaves `flat`.

    Discrete leaves of every kind become one multi_discrete action, Boxes one continuous action. Raises UsageError for
    a mixture of both: no policy here draws discrete and continuous numbers at once.
    """
    if not flat:
        raise UsageError(f"action space {space} is empty; {SUPPORTED}")
    kinds = {"continuous" if spec.kind == "continuous" else "discrete" for _, _, spec in flat}
    if len(kinds) > 1:
        raise UsageError(
            f"action space {space} mixes discrete and continuous parts, which no policy acts with: all parts must be "
            "discrete, or all be Boxes. Wrap the environment and make the Boxes discrete (a few levels each)"
        )
    parts = tuple(ActionPart(path, spec.env_shape, spec.env_dtype) for path, _, spec in flat)
    specs = [spec for _, _, spec in flat]
    if kinds == {"discrete"}:
        nvec = tuple(n for spec in specs for n in spec.nvec)
        start = tuple(n for spec in specs for n in spec.start)
        return ActionSpec("multi_discrete", nvec, start, env_shape=(len(nvec),), parts=parts)
    # float64 holds the bounds of every dtype
    low, high = (np.concatenate([getattr(s, side).astype(np.float64) for s in specs]) for side in ("low", "high"))
    return ActionSpec("continuous", low=low, high=high, env_shape=low.shape, env_dtype=low.dtype, parts=parts)


def nest(parts: Sequence[ActionPart], arrays: np.ndarray) -> list[list[Any]]:
    """Return `actions[e][a]` as Tuples and Dicts for decoded rows [E, A, n]."""
    columns, start = [], 0
    for part in parts:
        columns.append(_leaf_values(part, arrays[..., start : start + part.size]))
        start += part.size
    lead = arrays.shape[:2]
    return [[_nested(parts, [column[e][a] for column in columns]) for a in range(lead[1])] for e in range(lead[0])]


def _leaf_values(part: ActionPart, rows: np.ndarray) -> Sequence[Sequence[Any]]:
    if part.dtype is None:
        return rows[..., 0].tolist()
    if np.issubdtype(part.dtype, np.integer):
        rows = np.rint(rows)
    return rows.astype(part.dtype).reshape(*rows.shape[:2], *part.shape)


def _nested(parts: Sequence[ActionPart], values: Sequence[Any]) -> Any:
    """Build one action of its leaves' values."""
    tree: dict[str | int, Any] = {}
    for part, value in zip(parts, values, strict=True):
        branch = tree
        for key in part.path[:-1]:
            branch = branch.setdefault(key, {})
        branch[part.path[-1]] = value
    return _as_containers(tree)


def _as_containers(tree: Any) -> Any:
    """Turn branches with integer keys into tuples; leaves are never dicts."""
    if not isinstance(tree, dict):
        return tree
    if all(isinstance(key, int) for key in tree):
        return tuple(_as_containers(value) for value in tree.values())
    return {key: _as_containers(value) for key, value in tree.items()}


def flat_mask(raw: Any, parts: Sequence[ActionPart]) -> Any:
    """Return a mask given as a dict by the action's keys as one array per leaf, in the action's order.

    Raises KeyError or TypeError where a part has no mask.
    """
    if not isinstance(raw, Mapping):
        return raw
    if not parts:
        raise TypeError("a dict of masks is for Dict actions only")
    masks = []
    for part in parts:
        mask = raw
        for key in part.path:
            mask = mask[key]
        masks.append(mask)
    return masks
