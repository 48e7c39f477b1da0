"""Spaces to stored arrays and back: how an environment's observations, masks and actions look in a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.envs.leaves import CodecError, Leaf, castable, leaves, require_finite
from sfmarl.envs.nested_actions import SUPPORTED, flat_mask, join_specs, nest
from sfmarl.errors import UsageError
from sfmarl.specs import ActionSpec, ObsPart, ObsSpec

KEPT_DTYPES = frozenset(map(np.dtype, (np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32)))
"""Box dtypes stored as they are; every other one (float64, uint16, bool, ...) is stored as float32."""

LARGE_ROW_BYTES = 4096
"""From this size on an observation is copied alone; smaller ones are stacked first, which saves a NumPy call each."""

MASK_KEY = "action_mask"


class ObsCodec:
    """Writes raw observations of one space into rows of the stored shape and dtype.

    A Box keeps its shape and, where torch has it, its dtype; images are stored [H, W, C]. `Dict{..., "action_mask"}` is
    split into observation and mask. Every other space, and a Box of one number alone, is stored flat, in gymnasium's
    order, as float32. Where some of its leaves are images, the vectors come first (`ObsSpec.parts`), and the row is
    uint8 if all of it fits into bytes; else an image of bytes takes four times its size.
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
        # a single entry beside the mask is the observation
        self._key = next(iter(inner.spaces)) if mask is not None and len(inner.spaces) == 1 else None
        if self._key is not None:
            inner = inner[self._key]
        self._space = inner
        found = [Leaf(path, leaf) for path, leaf in leaves(inner)]
        self._leaves: list[Leaf] = []
        self._box: Leaf | None = None
        if isinstance(inner, spaces.Box) and inner.shape:
            self._box = found[0]
            dtype = inner.dtype if inner.dtype in KEPT_DTYPES else np.dtype(np.float32)
            self.spec = ObsSpec(self._box.shape if self._box.is_image else tuple(inner.shape), np.dtype(dtype))
        else:
            # a stable sort: the vectors keep their order
            self._leaves = sorted(found, key=lambda leaf: leaf.is_image)
            self.spec = _flat_spec(self._leaves)
        self._large = self.spec.dtype.itemsize * int(np.prod(self.spec.shape)) >= LARGE_ROW_BYTES

    def write(self, raws: Sequence[Any], out: np.ndarray) -> None:
        """Write `raws` in order into `out` [..., *shape], which has len(raws) rows.

        Raises CodecError when shape or kind of number differ from the space, or a number is NaN or infinite; nothing is
        promised of `out` then. Finite numbers beyond the bounds of a Box are stored as they are.
        """
        if self._key is not None:
            raws = self._inside(raws)
        if self._box is None:
            self._write_leaves(raws, out)
        elif self._large:
            rows = out.shape[: out.ndim - len(self.spec.shape)]
            for index, raw in zip(np.ndindex(rows), raws, strict=True):
                self._check(raw := np.asarray(raw), self._box.space.shape)
                out[index] = self._box.pixels(raw[None])[0]
        else:
            try:
                stacked = _stack(raws, self._box.space.shape)
            except (TypeError, ValueError) as error:
                raise CodecError(f"observations of unequal shapes: {error}") from error
            self._check(stacked, (len(raws), *self._box.space.shape))
            out[...] = self._box.pixels(stacked).reshape(out.shape)
        if self._box is not None and out.dtype.kind == "f":
            require_finite(out, len(self.spec.shape))

    def _inside(self, raws: Sequence[Any]) -> list[Any]:
        try:
            return [raw[self._key] for raw in raws]
        except (TypeError, ValueError, KeyError, IndexError):
            return [self._pick(raw, self._key) for raw in raws]

    def write_one(self, raw: Any, out: np.ndarray) -> None:
        """Write one observation into `out` [*shape], a row of its own. Raises CodecError like `write`."""
        if self._box is None or self._box.is_image:
            self.write([raw], out[None])
            return
        if self._key is not None:
            raw = self._pick(raw, self._key)
        array = raw if isinstance(raw, np.ndarray) else np.asarray(raw)
        self._check(array, self.spec.shape)
        out[...] = array
        if out.dtype.kind == "f":
            require_finite(out, out.ndim)

    def one(self, raw: Any) -> np.ndarray:
        """Return one observation as it is stored, [*shape]. Raises CodecError."""
        out = np.empty((1, *self.spec.shape), self.spec.dtype)
        self.write([raw], out)
        return out[0]

    def _write_leaves(self, raws: Sequence[Any], out: np.ndarray) -> None:
        if isinstance(self._space, spaces.Tuple):
            for raw in raws:
                self._require_length(raw, len(self._space.spaces))
        rows = out.shape[:-1]
        start = 0
        for leaf in self._leaves:
            at = slice(start, start := start + leaf.size)
            values = [self._pick(raw, *leaf.path) for raw in raws]
            if leaf.size * out.itemsize >= LARGE_ROW_BYTES:
                for index, value in zip(np.ndindex(rows), values, strict=True):
                    out[(*index, at)] = leaf.encode([value])[0]
            else:
                out[..., at] = leaf.encode(values).reshape(*rows, leaf.size)

    def _pick(self, raw: Any, *path: str | int) -> Any:
        value = raw
        try:
            for key in path:
                value = value[key]
        except (TypeError, ValueError, KeyError, IndexError) as error:
            name = ".".join(map(str, path))
            raise CodecError(f"expected {name!r} in the observation, got {raw!r:.200} ({error!r})") from error
        return value

    def _require_length(self, raw: Any, length: int) -> None:
        try:
            actual = len(raw)
        except TypeError:
            actual = None
        if actual != length:
            raise CodecError(f"expected a tuple of {length}, got {raw!r:.200}")

    def _check(self, array: np.ndarray, shape: tuple[int, ...]) -> None:
        declared = self._box.space.shape
        if array.shape != shape:
            raise CodecError(f"expected shape {declared}, got {array.shape[len(shape) - len(declared) :]}")
        if not castable(array.dtype, self.spec.dtype):
            raise CodecError(f"expected dtype {self.spec.dtype}, got {array.dtype}")


def _flat_spec(found: Sequence[Leaf]) -> ObsSpec:
    """Return how leaves, the vectors first, are stored side by side."""
    images = [leaf for leaf in found if leaf.is_image]
    shape = (sum(leaf.size for leaf in found),)
    if not images:
        return ObsSpec(shape, np.dtype(np.float32))
    vector = shape[0] - sum(leaf.size for leaf in images)
    parts = [ObsPart("vector", (vector,))] if vector else []
    parts += [ObsPart(leaf.name, leaf.shape, leaf.dtype == np.uint8) for leaf in images]
    narrow = all(leaf.dtype == np.uint8 for leaf in found)
    return ObsSpec(shape, np.dtype(np.uint8 if narrow else np.float32), tuple(parts))


class ActionCodec:
    """Turns stored actions into what the environment expects."""

    def __init__(self, space: spaces.Space) -> None:
        """Raises UsageError for a space that is none of Discrete, MultiDiscrete, MultiBinary, Box, nor a Tuple or Dict
        of these, and for a Tuple or Dict that mixes discrete and continuous parts.
        """
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
        elif isinstance(space, spaces.Tuple | spaces.Dict):
            self.spec = join_specs(space, [(path, leaf, ActionCodec(leaf).spec) for path, leaf in leaves(space)])
        else:
            raise UsageError(f"action space {space} is not supported; {SUPPORTED}")

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

    Discrete: Python ints. Others: arrays of the space's shape and dtype, continuous ones clipped to the bounds; Tuples
    and Dicts of these. The result never shares memory with `stored`.
    """
    if spec.parts:
        return nest(spec.parts, _unnested(spec, stored))
    return _unnested(spec, stored)


def _unnested(spec: ActionSpec, stored: np.ndarray) -> Any:
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


def write_masks(raws: Sequence[Any], out: np.ndarray, action: ActionSpec | None = None) -> None:
    """Write action masks in order into `out` [..., n] bool, which has len(raws) rows.

    A mask is a flat array of n entries or, for MultiDiscrete and Tuple actions, a tuple of one mask per component; for
    Dict actions (of which `action` says the order) a dict of masks. None means that everything is legal. Raises
    CodecError for another size or kind.
    """
    size = out.shape[-1]
    parts = action.parts if action is not None else ()
    if not parts and (joined := _joined(raws, size)) is not None:
        out[...] = joined.reshape(out.shape)
        return
    try:
        flat = [np.ones(size, bool) if raw is None else _flat_mask(flat_mask(raw, parts)) for raw in raws]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise CodecError(f"expected an action mask of {size} entries, got {raws[0]!r:.200} ({error!r})") from error
    for mask in flat:
        if mask.shape != (size,):
            raise CodecError(f"expected an action mask of {size} entries, got shape {mask.shape}")
    out[...] = np.array(flat, bool).reshape(out.shape)


def _stack(raws: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return `np.array(raws)`, faster where they are vectors of `shape`."""
    if len(shape) == 1 and (joined := _joined(raws, shape[0])) is not None:
        return joined.reshape(len(raws), -1)
    return np.array(raws)


def _joined(vectors: Sequence[Any], size: int) -> np.ndarray | None:
    """Return the vectors one behind the other [n * size], or None if something else than vectors of `size` is there."""
    try:
        if set(map(len, vectors)) != {size}:
            return None
        joined = np.concatenate(vectors)
    except (TypeError, ValueError):
        return None
    return joined if joined.ndim == 1 else None


def write_mask(raw: Any, out: np.ndarray, action: ActionSpec) -> bool:
    """Write one action mask into `out` [n]; return whether every component has a legal choice. Raises CodecError."""
    if isinstance(raw, np.ndarray) and raw.shape == out.shape:
        out[...] = raw
    else:
        write_masks([raw], out[None], action)
    return bool(np.count_nonzero(out)) if len(action.nvec) == 1 else not illegal_rows(out, action.nvec)


def illegal_rows(masks: np.ndarray, nvec: Sequence[int]) -> np.ndarray:
    """Return bool [...]: rows of `masks` [..., n] that leave some action component without a legal choice."""
    if len(nvec) == 1:
        return ~masks.any(axis=-1)
    firsts = np.concatenate([[0], np.cumsum(nvec)[:-1]])
    return ~np.logical_or.reduceat(masks, firsts, axis=-1).all(axis=-1)


def _flat_mask(raw: Any) -> np.ndarray:
    if isinstance(raw, tuple | list) and raw and not np.isscalar(raw[0]):
        return np.concatenate([_flat_mask(part) for part in raw])
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
    if isinstance(space, spaces.Tuple | spaces.Dict):
        inner = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return sum(_mask_entries(part) for part in inner)
    return int(np.prod(space.shape)) if space.shape is not None else -1
