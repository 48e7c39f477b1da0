"""Which snapshots are live when the pool is larger than the room for them: a sample that changes a little at a time."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

import numpy as np

SWAPPED = 4
"""Of the live snapshots one in so many may be replaced at a time."""

Key = TypeVar("Key", bound=Hashable)


def choose_live(weights: Mapping[Key, float], here: Collection[Key], room: int, rng: np.random.Generator) -> list[Key]:
    """Return whom to have live, the most important first; all of positive weight, if there is room for them.

    `weights` say how often each should be met. Else they are a sample without replacement by weight (Gumbel-top-k, so
    that over time each has its share) followed by what it left out; of those `here`, live already, at least
    1 / SWAPPED of `room` give way. Whoever has room for `room` takes the first ones.
    """
    chosen = [key for key, weight in weights.items() if weight > 0]
    if len(chosen) <= room:
        return chosen
    logits = np.log([weights[key] for key in chosen])
    drawn = [chosen[place] for place in np.argsort(-(logits + rng.gumbel(size=len(chosen))))]
    stay = [key for key in drawn if key in here][: max(0, room - max(1, room // SWAPPED))]
    return [*stay, *(key for key in drawn if key not in stay)]
