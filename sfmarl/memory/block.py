"""A block: all trajectory slots of one (worker, split, team), time-major, and the cursors of its lanes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.slots import SlotWords
from sfmarl.specs import TeamSpec


@dataclass(frozen=True)
class BlockSpec:
    """Shape of one block."""

    worker: int
    """Rollout worker that writes it."""
    split: int
    """Split of that worker."""
    seat: int
    """Team of the environment that the block's player takes at home."""
    policy: int
    """Policy that acts on its rows and learns from its slots."""
    team: TeamSpec
    """Observation and action of each agent."""
    lanes: int
    """L: envs in lock-step, envs x agents when turns alternate."""
    agents: int
    """A: agents of a lane; 1 when turns alternate."""
    rollout: int
    """T."""
    ring: int
    """Slots of a lane."""
    lockstep: bool
    """All lanes share one cursor."""
    state_shape: tuple[int, ...] | None = None
    """Shape of the stored global state; None stores none."""
    in_return: bool = False
    """Store which dead agents' returns are still running (death = "masked")."""
    rnn_size: int = 0
    """Floats that a recurrent actor remembers of each agent (S); 0 stores none."""

    @property
    def name(self) -> str:
        """Prefix of the block's arrays in the segment."""
        return f"block.{self.worker}.{self.split}.{self.seat}"

    def fields(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Return field -> (shape, dtype) of the trajectory slots."""
        team, steps, rows = self.team, self.rollout, (self.lanes, self.agents)
        now, successor = (self.ring, steps, *rows), (self.ring, steps + 1, *rows)
        fields: dict[str, tuple[tuple[int, ...], type | np.dtype]] = {
            "obs": ((*successor, *team.obs.shape), team.obs.dtype),
            "active": (successor, np.bool_),
            "is_first": (successor, np.bool_),
            "action": ((*now, *team.action.shape), team.action.dtype),
            "log_prob": (now, np.float32),
            "reward": (now, np.float32),
            "terminated": (now, np.bool_),
            "truncated": (now, np.bool_),
            "policy_version": ((self.ring, steps, self.lanes), np.int64),
        }
        if team.has_mask:
            fields["action_mask"] = ((*successor, team.action.mask_size), np.bool_)
        if self.state_shape is not None:
            fields["state"] = ((self.ring, steps + 1, self.lanes, *self.state_shape), np.float32)
        if self.rnn_size:
            # no time axis: the learner recomputes what follows from the first step
            fields["actor_state"] = ((self.ring, *rows, self.rnn_size), np.float32)
        if self.in_return:
            fields["in_return"] = (successor, np.bool_)
        return {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in fields.items()}

    def plan(self, layout: Layout) -> None:
        """Add the block's arrays to `layout`."""
        for name, (shape, dtype) in self.fields().items():
            layout.add(f"{self.name}.{name}", shape, dtype)
        layout.add(f"{self.name}.slot_state", (self.ring, self.lanes), np.int32)
        layout.add(f"{self.name}.slot_generation", (self.ring, self.lanes), np.int64)
        layout.add(f"{self.name}.slot_number", (self.ring, self.lanes), np.int64)
        layout.add(f"{self.name}.cursor", (2, self.lanes), np.int64)
        layout.add(f"{self.name}.wants_action", (self.lanes,), np.bool_)


class Block:
    """A block opened in this process: NumPy views into the shared segment."""

    def __init__(self, spec: BlockSpec, segment: Segment) -> None:
        self.spec = spec

        def field(name: str) -> np.ndarray | None:
            key = f"{spec.name}.{name}"
            return segment.array(key) if key in segment.layout.entries else None

        self.obs: np.ndarray = field("obs")
        """[ring, T+1, L, A, *obs]."""
        self.active: np.ndarray = field("active")
        """[ring, T+1, L, A] bool."""
        self.is_first: np.ndarray = field("is_first")
        """[ring, T+1, L, A] bool."""
        self.action: np.ndarray = field("action")
        """[ring, T, L, A, *action]."""
        self.log_prob: np.ndarray = field("log_prob")
        """[ring, T, L, A] float32."""
        self.reward: np.ndarray = field("reward")
        """[ring, T, L, A] float32."""
        self.terminated: np.ndarray = field("terminated")
        """[ring, T, L, A] bool."""
        self.truncated: np.ndarray = field("truncated")
        """[ring, T, L, A] bool."""
        self.policy_version: np.ndarray = field("policy_version")
        """[ring, T, L] int64."""
        self.action_mask = field("action_mask")
        """[ring, T+1, L, A, n] bool, or None."""
        self.state = field("state")
        """[ring, T+1, L, *state] float32, or None."""
        self.in_return = field("in_return")
        """[ring, T+1, L, A] bool, or None."""
        self.actor_state = field("actor_state")
        """[ring, L, A, S] float32: what a recurrent actor remembered before step 0, or None."""
        self.slots = SlotWords(field("slot_state"), field("slot_generation"), field("slot_number"))
        """State words; they change in memory/slots.py only."""
        self.cursor: np.ndarray = field("cursor")
        """[2, L] int64: ring position and step of each lane's next action; lock-step blocks use lane 0 for all."""
        self.wants_action: np.ndarray = field("wants_action")
        """[L] bool: lanes that wait for an action; not used in lock-step, where all do."""
        if spec.lockstep:
            # the views of every (ring position, step) are made once: indexing a hot path anew costs more than the copy
            self.obs_rows = [[self._obs_rows(r, t) for t in range(spec.rollout + 1)] for r in range(spec.ring)]
            self.outcome_rows = [[self._outcome_rows(r, t) for t in range(spec.rollout)] for r in range(spec.ring)]

    def _obs_rows(self, ring: int, step: int) -> ObsRows:
        def row(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[ring, step]

        return ObsRows(row(self.obs), row(self.action_mask), row(self.state), row(self.active), row(self.is_first))

    def _outcome_rows(self, ring: int, step: int) -> OutcomeRows:
        return OutcomeRows(self.reward[ring, step], self.terminated[ring, step], self.truncated[ring, step])

    def poison(self) -> None:
        """Fill every slot with values no environment writes, so that reading an unwritten row is noticed."""
        for array in (self.obs, self.reward, self.log_prob, self.state, self.action, self.actor_state):
            if array is not None:
                array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max)
        self.policy_version.fill(-1)
