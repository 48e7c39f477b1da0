"""One seed in, an independent stream for every consumer out; and streams that continue where they were interrupted."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch


def seed_for(seed: int, *path: str | int) -> int:
    """Derive a seed in [0, 2^31) for the consumer named by `path`, e.g. `seed_for(1, "env", worker, split, env)`.

    Equal arguments give equal seeds on every machine; different paths give statistically independent ones
    (NumPy's SeedSequence with the path as spawn key).
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    # environments hand it to C++ libraries whose seeds are signed ints (OpenSpiel's Hanabi)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)


def numpy_generator(env: Any) -> np.random.Generator | None:
    """Return the generator that gymnasium and PettingZoo environments keep in `np_random`; None without one."""
    generator = getattr(env.unwrapped, "np_random", None)
    return generator if isinstance(generator, np.random.Generator) else None


def generator_state(generator: np.random.Generator | torch.Generator) -> dict[str, Any]:
    """Return where a generator is in its stream, in plain JSON types."""
    if isinstance(generator, torch.Generator):
        return {"bit_generator": _kind(generator), "state": generator.get_state().numpy().tobytes().hex()}
    return _plain(generator.bit_generator.state)


def restore_generator(generator: np.random.Generator | torch.Generator, state: dict[str, Any] | None) -> bool:
    """Move a generator, in place, to `state` in its stream; False, and no move, when that is another kind's."""
    if state is None or state.get("bit_generator") != _kind(generator):
        return False
    if isinstance(generator, torch.Generator):
        generator.set_state(torch.frombuffer(bytearray.fromhex(state["state"]), dtype=torch.uint8))
    else:
        generator.bit_generator.state = _arrays(state)
    return True


def _kind(generator: np.random.Generator | torch.Generator) -> str:
    if isinstance(generator, torch.Generator):
        return f"torch {generator.device.type}"
    return type(generator.bit_generator).__name__


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return {"uint64": value.tolist()} if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if "uint64" in value:
            return np.array(value["uint64"], np.uint64)
        return {name: _arrays(part) for name, part in value.items()}
    return value
