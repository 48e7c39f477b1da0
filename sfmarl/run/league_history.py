"""Whom the players of a league were to meet over time, as `league.jsonl` holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.monitor.league_pictures import compact

LOOKS = 200
"""Looks back that are kept; when there are more, every other one is left out."""


@dataclass(frozen=True)
class Look:
    """Whom players were to meet at a time."""

    env_steps: int
    taken: np.ndarray
    """[n] env-steps at which each was taken; -1 for who learns."""
    met: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Look:
        """Return what a line of the file says."""
        taken = [c["env_steps"] if c["kind"] == "snapshot" else -1 for c in line["contestants"]]
        return cls(line["env_steps"], np.array(taken), {name: np.array(x) for name, x in line["met"].items()})


def read_history(path: Path, until: int) -> list[Look]:
    """Return the looks of an earlier sitting, as far as the file can be read."""
    looks = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            look = Look.read(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if look.env_steps <= until:
            looks.append(look)
    return fewer(looks)


def fewer(looks: list[Look]) -> list[Look]:
    """Return at most LOOKS of them, the newest among them."""
    while len(looks) > LOOKS:
        looks = looks[::-1][::2][::-1]
    return looks


def over_time_of(
    looks: Sequence[Look], players: Sequence[str], bins: int
) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    """Return env-steps [t], names of groups [n] and, by player, shares [t, n].

    Groups are `bins` of the env-steps at which a snapshot was taken, and last all that learn.
    """
    edges = np.linspace(0, max(1, looks[-1].env_steps), bins + 1)
    found = {player: np.zeros((len(looks), bins + 1)) for player in players}
    for row, look in enumerate(looks):
        frozen = look.taken >= 0
        place = np.clip(np.searchsorted(edges, look.taken, side="left") - 1, 0, bins - 1)
        place[~frozen] = bins
        for player in players:
            if player in look.met:
                found[player][row] = np.bincount(place, look.met[player], bins + 1)
    names = [f"{compact(low)} - {compact(high)}" for low, high in pairwise(edges)]
    return np.array([look.env_steps for look in looks], float), [*names, "as it is now"], found
