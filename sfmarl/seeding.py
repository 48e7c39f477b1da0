"""One seed in, an independent stream for every consumer out."""

from __future__ import annotations

import zlib

import numpy as np


def seed_for(seed: int, *path: str | int) -> int:
    """Derive a 32-bit seed for the consumer named by `path`, e.g. `seed_for(1, "env", worker, split, env)`.

    Equal arguments give equal seeds on every machine; different paths give statistically independent ones
    (NumPy's SeedSequence with the path as spawn key).
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])
