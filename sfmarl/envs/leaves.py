"""Leaves of an observation space: what a nested space is made of, and how a batch of one leaf becomes an array.

A leaf is a Box, Discrete, MultiDiscrete, MultiBinary, or whatever else gymnasium flattens to a fixed size. Boxes keep
their numbers, MultiBinary too; Discrete and MultiDiscrete become one-hot, as in `gymnasium.spaces.flatten`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.errors import UsageError
from sfmarl.specs import IMAGE_MIN_SIDE, is_image

Path = tuple[str | int, ...]
"""Keys of Dicts (str) and positions in Tuples (int) that lead to a leaf."""


class CodecError(ValueError):
    """An observation or mask that does not fit its space; the message says what was expected and what came."""


def leaves(space: spaces.Space, path: Path = ()) -> Iterator[tuple[Path, spaces.Space]]:
    """Yield (path, space) of every leaf in the order in which gymnasium flattens them. Raises UsageError."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            if not isinstance(key, str):
                raise UsageError(f"the key {key!r} of {space} is no string")
            yield from leaves(inner, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from leaves(inner, (*path, index))
    else:
        yield path, space


def pixel_axes(space: spaces.Space) -> tuple[int, ...] | None:
    """Return how an image's axes are moved to [H, W, C] (a transposition of the array with C = 1 appended if grey).

    None for what is no image. Images are three-dimensional Boxes; their channels come first where the first axis is the
    shortest and too short to be a height, or in bytes where it is at most a third of the others. A two-dimensional
    uint8 Box up to 255 is grey.
    """
    if not isinstance(space, spaces.Box):
        return None
    shape, is_bytes = space.shape, space.dtype == np.uint8
    if len(shape) == 2 and is_bytes and min(shape) >= IMAGE_MIN_SIDE and space.high.max() == 255:
        return (0, 1, 2)
    if len(shape) != 3:
        return None
    channels, side = shape[0], min(shape[1:])
    if side >= IMAGE_MIN_SIDE and (channels < min(side, IMAGE_MIN_SIDE) or (is_bytes and 3 * channels <= side)):
        return (1, 2, 0)
    return (0, 1, 2) if is_image(shape) else None


class Leaf:
    """One leaf as it is stored: an image [H, W, C], or a vector [n]."""

    def __init__(self, path: Path, space: spaces.Space) -> None:
        """Raises UsageError for a space that has no fixed-size array form."""
        if not space.is_np_flattenable:
            raise UsageError(f"observation space {space} has no fixed size; use Box, Discrete, Dict or Tuple spaces")
        self.path, self.space = path, space
        self.name = ".".join(map(str, path))
        """Where it lies, e.g. `camera` or `0.goal`; empty when the whole space is this leaf."""
        self.size = int(spaces.flatdim(space))
        """Numbers of the stored row it takes."""
        self._axes = pixel_axes(space)
        self.shape: tuple[int, ...] = (self.size,)
        """(H, W, C) of an image, else (n,)."""
        if self._axes is not None:
            self.shape = tuple((*space.shape, 1)[axis] for axis in self._axes)

    @property
    def is_image(self) -> bool:
        """Whether the image encoder reads it."""
        return self._axes is not None

    @property
    def dtype(self) -> np.dtype:
        """The narrowest kept dtype: a Box's own, uint8 for what is 0 or 1 (one-hot, binary), else float32."""
        if isinstance(self.space, spaces.Box):
            return self.space.dtype
        small = isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        return np.dtype(np.uint8 if small else np.float32)

    def pick(self, raw: Any) -> Any:
        """Return this leaf of a whole observation. Raises KeyError, IndexError or TypeError where it has none."""
        for key in self.path:
            raw = raw[key]
        return raw

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """Return values of the leaf as rows [B, n]. Raises CodecError."""
        try:
            if isinstance(self.space, spaces.Discrete):
                return self._one_hot(values, np.array([self.space.n]), np.array([self.space.start]))
            if isinstance(self.space, spaces.MultiDiscrete):
                return self._one_hot(values, self.space.nvec.ravel(), self.space.start.ravel())
            if isinstance(self.space, spaces.Box | spaces.MultiBinary):
                return self._numbers(values)
            return np.stack([spaces.flatten(self.space, value) for value in values])
        except CodecError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError) as error:
            raise CodecError(f"{self._where()}expected values of {self.space} ({error!r})") from error

    def _numbers(self, values: Sequence[Any]) -> np.ndarray:
        array = np.array(values)
        shape, dtype = self.space.shape, self.space.dtype
        if array.shape[1:] != shape:
            raise CodecError(f"{self._where()}expected shape {shape}, got {array.shape[1:]}")
        if not castable(array.dtype, dtype):
            raise CodecError(f"{self._where()}expected dtype {dtype}, got {array.dtype}")
        if array.dtype.kind == "f":
            require_finite(array, len(shape), self._where())
        return self.pixels(array).reshape(len(array), -1)

    def pixels(self, array: np.ndarray) -> np.ndarray:
        """Return raw images [B, *raw] as a view [B, H, W, C]; anything else as it is."""
        if self._axes is None:
            return array
        if len(self.space.shape) == 2:
            return array[..., None]
        return array.transpose(0, *(axis + 1 for axis in self._axes))

    def _one_hot(self, values: Sequence[Any], nvec: np.ndarray, start: np.ndarray) -> np.ndarray:
        array = np.array(values)
        if array.size != len(values) * len(nvec) or array.dtype.kind not in "iub":
            raise CodecError(f"{self._where()}expected a value of {self.space}, got {values[0]!r:.200}")
        index = array.reshape(len(values), len(nvec)) - start
        if (bad := ((index < 0) | (index >= nvec)).any(axis=1)).any():
            raise CodecError(f"{self._where()}expected a value of {self.space}, got {values[int(bad.argmax())]!r:.200}")
        rows = np.zeros((len(values), self.size), np.float32)
        rows[np.arange(len(values))[:, None], index + (np.cumsum(nvec) - nvec)] = 1.0
        return rows

    def _where(self) -> str:
        return f"part {self.name!r}: " if self.name else ""


def castable(actual: np.dtype, declared: np.dtype) -> bool:
    """Return whether numbers of `actual` may stand where `declared` was promised: of the same kind or a simpler one."""
    return actual == declared or bool(np.can_cast(actual, declared, "same_kind"))


def require_finite(rows: np.ndarray, dims: int, where: str = "") -> None:
    """Raise CodecError that names the first number in rows [..., *row] of `dims` dimensions that is NaN or infinite."""
    if all_finite(rows):
        return
    finite = np.isfinite(rows)
    place = tuple(int(axis[0]) for axis in np.nonzero(~finite))
    inside = place[len(place) - dims :]
    at = f" at {inside[0] if dims == 1 else inside}" if dims else ""
    raise CodecError(
        f"{where}{rows[place]}{at}: observations must be finite, or nothing can be learned from them. Clip them, or "
        "replace what the environment does not know"
    )


def all_finite(numbers: np.ndarray) -> bool:
    """Return whether every number of a float array is finite; several times faster than `np.isfinite(...).all()`."""
    flat = numbers.reshape(-1)
    # NaN and infinity stay what they are in a sum of squares; large numbers may overflow, so only "finite" is an answer
    with np.errstate(over="ignore", invalid="ignore"):
        square = flat.dot(flat)
    return math.isfinite(square) or bool(np.isfinite(flat).all())
