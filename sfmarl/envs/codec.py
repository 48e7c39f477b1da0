"""Spaces to stored arrays and back: how an environment's observations, masks and actions look in a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.errors import UsageError
from sfmarl.specs import ActionSpec, ObsSpec

KEPT_DTYPES = frozenset(map(np.dtype, (np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32)))
"""Box dtypes stored as they are; every other one (float64, uint16, bool, ...) is stored as float32."""

LARGE_ROW_BYTES = 4096
"""From this size on an observation is copied alone; smaller ones are stacked first, which saves a NumPy call each."""

MASK_KEY = "action_mask"


class CodecError(ValueError):
    """An observation or mask that does not fit its space; the message says what was expected and what came."""


class ObsCodec:
    """Writes raw observations of one space into rows of the stored shape and dtype.

    A Box keeps its shape and, where torch has it, its dtype. `Dict{..., "action_mask"}` is split into observation and
    mask. Everything else gymnasium can flatten (Discrete becomes one-hot) is stored flat as float32.
    """

    def __init__(self, space: spaces.Space, action: ActionSpec) -> None:
        """Raises UsageError for a space that has no fixed-size array form or a mask that does not fit `action`."""
        inner, mask = _split_mask(space)
        self.has_mask: bool = mask is not None
        """Whether the mask lies in the observation."""
        if mask is not None and _mask_entries(mask) != action.mask_size:
            raise UsageError(
                f"the observation's {MASK_KEY!r} {mask} must have one entry per action, {action.mask_size} in all"
            )
        self._keys = tuple(inner.spaces) if mask is not None and isinstance(inner, spaces.Dict) else None
        if self._keys is not None and len(self._keys) == 1:
            inner = inner[self._keys[0]]
        self._flattened = None if isinstance(inner, spaces.Box) else inner
        if isinstance(inner, spaces.Box):
            dtype = inner.dtype if inner.dtype in KEPT_DTYPES else np.dtype(np.float32)
            self.spec = ObsSpec(tuple(inner.shape), np.dtype(dtype))
        elif inner.is_np_flattenable:
            self.spec = ObsSpec((int(spaces.flatdim(inner)),), np.dtype(np.float32))
        else:
            raise UsageError(f"observation space {inner} has no fixed size; use Box, Discrete, Dict or Tuple spaces")
        self._large = self.spec.dtype.itemsize * int(np.prod(self.spec.shape)) >= LARGE_ROW_BYTES

    def write(self, raws: Sequence[Any], out: np.ndarray) -> None:
        """Write `raws` in order into `out` [..., *shape], which has len(raws) rows.

        Raises CodecError when shape or kind of number differ from the space; nothing is promised of `out` then.
        """
        if self._keys is not None or self._flattened is not None:
            raws = [self._plain(raw) for raw in raws]
        if self._large:
            rows = out.shape[: out.ndim - len(self.spec.shape)]
            for index, raw in zip(np.ndindex(rows), raws, strict=True):
                self._check(raw := np.asarray(raw), self.spec.shape)
                out[index] = raw
            return
        try:
            stacked = np.array(raws)
        except (TypeError, ValueError) as error:
            raise CodecError(f"observations of unequal shapes: {error}") from error
        self._check(stacked, (len(raws), *self.spec.shape))
        out[...] = stacked.reshape(out.shape)

    def write_one(self, raw: Any, out: np.ndarray) -> None:
        """Write one observation into `out` [*shape], a row of its own. Raises CodecError like `write`."""
        if self._keys is not None or self._flattened is not None:
            raw = self._plain(raw)
        array = raw if isinstance(raw, np.ndarray) else np.asarray(raw)
        self._check(array, self.spec.shape)
        out[...] = array

    def one(self, raw: Any) -> np.ndarray:
        """Return one observation as it is stored, [*shape]. Raises CodecError."""
        out = np.empty((1, *self.spec.shape), self.spec.dtype)
        self.write([raw], out)
        return out[0]

    def _plain(self, raw: Any) -> Any:
        """Return the observation without its mask, flattened where the space is."""
        try:
            if self._keys is not None:
                raw = raw[self._keys[0]] if len(self._keys) == 1 else {key: raw[key] for key in self._keys}
            return raw if self._flattened is None else spaces.flatten(self._flattened, raw).astype(np.float32)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError) as error:
            what = self._flattened or f"a dict with {self._keys}"
            raise CodecError(f"expected a value of {what}, got {raw!r:.200} ({error!r})") from error

    def _check(self, array: np.ndarray, shape: tuple[int, ...]) -> None:
        dtype = self.spec.dtype
        if array.shape != shape:
            actual = array.shape[len(shape) - len(self.spec.shape) :]
            raise CodecError(f"expected shape {self.spec.shape}, got {actual}")
        if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
            raise CodecError(f"expected dtype {dtype}, got {array.dtype}")


class ActionCodec:
    """Turns stored actions into what the environment expects."""

    def __init__(self, space: spaces.Space) -> None:
        """Raises UsageError for spaces other than Discrete, MultiDiscrete, MultiBinary and Box."""
        array = {"env_shape": tuple(space.shape or ()), "env_dtype": space.dtype}
        if isinstance(space, spaces.Discrete):
            self.spec = ActionSpec("discrete", nvec=(int(space.n),), start=(int(space.start),))
        elif isinstance(space, spaces.MultiDiscrete):
            nvec, start = (tuple(map(int, x.ravel())) for x in (space.nvec, space.start))
            self.spec = ActionSpec("multi_discrete", nvec=nvec, start=start, **array)
        elif isinstance(space, spaces.MultiBinary):
            size = int(np.prod(space.shape))
            self.spec = ActionSpec("multi_discrete", nvec=(2,) * size, start=(0,) * size, **array)
        elif isinstance(space, spaces.Box):
            self.spec = ActionSpec("continuous", low=space.low.ravel(), high=space.high.ravel(), **array)
        else:
            raise UsageError(f"action space {space} is not supported; use Discrete, MultiDiscrete, MultiBinary or Box")

    def decode(self, stored: np.ndarray) -> Sequence[Sequence[Any]]:
        """Return `decode_actions` of the space."""
        return decode_actions(self.spec, stored)

    def decode_one(self, stored: np.ndarray) -> Any:
        """Return one stored action [*action] as the environment takes it."""
        if self.spec.kind == "discrete":
            return int(stored) + self.spec.start[0]
        return decode_actions(self.spec, stored[None, None])[0][0]


def decode_actions(spec: ActionSpec, stored: np.ndarray) -> Sequence[Sequence[Any]]:
    """Return `actions[e][a]` as the environment takes them for stored actions [E, A, *action].

    Discrete: Python ints. Others: arrays of the space's shape and dtype, continuous ones clipped to the bounds.
    The result never shares memory with `stored`.
    """
    if spec.kind == "discrete":
        return (stored + spec.start[0] if spec.start[0] else stored).tolist()
    dtype = spec.env_dtype or spec.dtype
    if spec.kind == "multi_discrete":
        shape = (*stored.shape[:2], *(spec.env_shape or spec.shape))
        return (stored + np.array(spec.start)).astype(dtype).reshape(shape)
    wide = stored.astype(np.float64)
    if np.issubdtype(dtype, np.integer):
        wide = np.rint(wide)
    return np.clip(wide, spec.low, spec.high).astype(dtype).reshape(*stored.shape[:2], *spec.env_shape)


def write_masks(raws: Sequence[Any], out: np.ndarray) -> None:
    """Write action masks in order into `out` [..., n] bool, which has len(raws) rows.

    A mask is a flat array of n entries or, for MultiDiscrete, a tuple of one array per component; None means that
    everything is legal. Raises CodecError for another size.
    """
    size = out.shape[-1]
    flat = [_flat_mask(raw, size) for raw in raws]
    for mask in flat:
        if mask.shape != (size,):
            raise CodecError(f"expected an action mask of {size} entries, got shape {mask.shape}")
    out[...] = np.array(flat, bool).reshape(out.shape)


def write_mask(raw: Any, out: np.ndarray, nvec: Sequence[int]) -> bool:
    """Write one action mask into `out` [n]; return whether every component has a legal choice. Raises CodecError."""
    if isinstance(raw, np.ndarray) and raw.shape == out.shape:
        out[...] = raw
    else:
        write_masks([raw], out[None])
    return bool(np.count_nonzero(out)) if len(nvec) == 1 else not illegal_rows(out, nvec)


def illegal_rows(masks: np.ndarray, nvec: Sequence[int]) -> np.ndarray:
    """Return bool [...]: rows of `masks` [..., n] that leave some action component without a legal choice."""
    if len(nvec) == 1:
        return ~masks.any(axis=-1)
    firsts = np.concatenate([[0], np.cumsum(nvec)[:-1]])
    return ~np.logical_or.reduceat(masks, firsts, axis=-1).all(axis=-1)


def _flat_mask(raw: Any, size: int) -> np.ndarray:
    if raw is None:
        return np.ones(size, bool)
    if isinstance(raw, tuple | list) and raw and np.ndim(raw[0]) > 0:
        return np.concatenate([np.asarray(part).ravel() for part in raw])
    return np.asarray(raw).ravel()


def _split_mask(space: spaces.Space) -> tuple[spaces.Space, spaces.Space | None]:
    """Return (observation, mask) spaces; the mask is None when the space has none."""
    if not isinstance(space, spaces.Dict) or MASK_KEY not in space.spaces:
        return space, None
    rest = {key: value for key, value in space.spaces.items() if key != MASK_KEY}
    if not rest:
        raise UsageError(f"observation space {space} holds a mask and no observation")
    return spaces.Dict(rest), space[MASK_KEY]


def _mask_entries(space: spaces.Space) -> int:
    if isinstance(space, spaces.Tuple):
        return sum(_mask_entries(part) for part in space.spaces)
    return int(np.prod(space.shape)) if space.shape is not None else -1
