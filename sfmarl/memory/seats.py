"""Scratch rows: where seats live whose player does not learn. One row per env, no time axis, read by no learner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfmarl.envs.vector import ObsRows
from sfmarl.memory.segment import Layout, Segment
from sfmarl.specs import TeamSpec


@dataclass(frozen=True)
class ScratchSpec:
    """Shape of the scratch rows of one seat of one split."""

    worker: int
    """Rollout worker that writes them."""
    split: int
    """Split of that worker."""
    seat: int
    """The seat, a team index."""
    team: TeamSpec
    """Observation and action of each agent."""
    envs: int
    """E."""

    @property
    def name(self) -> str:
        """Prefix of the arrays in the segment."""
        return f"scratch.{self.worker}.{self.split}.{self.seat}"

    def plan(self, layout: Layout) -> None:
        """Add the rows to `layout`."""
        rows = (self.envs, len(self.team.agents))
        layout.add(f"{self.name}.obs", (*rows, *self.team.obs.shape), self.team.obs.dtype)
        layout.add(f"{self.name}.action", (*rows, *self.team.action.shape), self.team.action.dtype)
        layout.add(f"{self.name}.active", rows, np.bool_)
        layout.add(f"{self.name}.is_first", rows, np.bool_)
        layout.add(f"{self.name}.player", (self.envs,), np.int64)
        if self.team.has_mask:
            layout.add(f"{self.name}.action_mask", (*rows, self.team.action.mask_size), np.bool_)


class Scratch:
    """The scratch rows of one seat, opened in this process."""

    def __init__(self, spec: ScratchSpec, segment: Segment) -> None:
        self.spec = spec
        self.obs = segment.array(f"{spec.name}.obs")
        """[E, A, *obs]."""
        self.action = segment.array(f"{spec.name}.action")
        """[E, A, *action]: written by whoever acts for the player."""
        self.active = segment.array(f"{spec.name}.active")
        """[E, A] bool."""
        self.is_first = segment.array(f"{spec.name}.is_first")
        """[E, A] bool."""
        self.player = segment.array(f"{spec.name}.player")
        """[E] int64: the frozen player in this seat, or -1 when a learning player sits there."""
        self.action_mask = segment.array(f"{spec.name}.action_mask") if spec.team.has_mask else None
        """[E, A, n] bool, or None."""

    def rows(self, state: np.ndarray | None) -> ObsRows:
        """Return the rows as an environment writes them; `state` [E, *state] is the caller's own."""
        return ObsRows(self.obs, self.action_mask, state, self.active, self.is_first)
