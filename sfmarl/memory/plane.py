"""The data plane of a run: which arrays exist, how large they are, and the handle every process opens them through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfmarl.memory.block import Block, BlockSpec
from sfmarl.memory.match_table import MatchTable, TableSpec
from sfmarl.memory.seats import Scratch, ScratchSpec
from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.weights import WeightStore, plan_weights
from sfmarl.memory.words import Words, plan_words
from sfmarl.specs import EnvSpec


@dataclass(frozen=True)
class PlaneSpec:
    """Everything that decides what lies in shared memory."""

    env: EnvSpec
    """The environment."""
    workers: int
    """Rollout workers."""
    splits: int
    """Splits of a worker."""
    envs_per_split: int
    """E."""
    inference_workers: int
    """Inference workers; worker w's splits always talk to inference worker w % inference_workers. With local inference
    one per rollout worker, inside it."""
    rollout: int
    """T."""
    ring: int
    """Slots of a lane."""
    policy_of_team: tuple[int, ...]
    """Policy index of each team at home; -1 - k for player k that does not learn: the seat then has scratch rows."""
    weight_sizes: tuple[int, ...]
    """Published floats of each policy that learns."""
    frozen_sizes: tuple[int, ...] = ()
    """Published floats of each policy that does not; they are published once, before the run begins."""
    stores_state: bool = False
    """Whether slots hold the environment's global state (a central critic reads it)."""
    masked_death: bool = False
    """Whether dead agents go on earning their team's reward."""
    rnn_sizes: tuple[int, ...] = ()
    """Floats each policy's recurrent actor remembers per agent; empty when every actor is feed-forward."""
    frozen_seats: bool = False
    """Whether any seat may be taken by players that do not learn; they act from scratch rows."""
    table: TableSpec | None = None
    """Of a league: seats are filled per match. The splits are home to its learning players in turn, each of which has a
    block for every seat; `frozen_sizes` are then those of the live snapshots."""

    @property
    def policies(self) -> int:
        """Trainable policies."""
        return len(self.weight_sizes)

    def policy_at(self, worker: int, split: int, seat: int) -> int:
        """Return who is at home in a seat of a split, as `policy_of_team` says it."""
        if self.table is None:
            return self.policy_of_team[seat]
        return (worker * self.splits + split) % self.table.learning

    def blocks(self) -> list[BlockSpec]:
        """Return every block, ordered by worker, split, seat: one for each team whose player learns."""
        specs = []
        for worker in range(self.workers):
            for split in range(self.splits):
                for seat, team in enumerate(self.env.teams):
                    policy = self.policy_at(worker, split, seat)
                    if policy < 0:
                        continue
                    agents = len(team.agents)
                    specs.append(
                        BlockSpec(
                            worker=worker,
                            split=split,
                            seat=seat,
                            policy=policy,
                            team=team,
                            lanes=self.envs_per_split * (agents if self.env.turn_based else 1),
                            agents=1 if self.env.turn_based else agents,
                            rollout=self.rollout,
                            ring=self.ring,
                            lockstep=not self.env.turn_based,
                            state_shape=self.env.state_shape if self.stores_state else None,
                            in_return=self.masked_death,
                            rnn_size=self.rnn_sizes[policy] if self.rnn_sizes else 0,
                        )
                    )
        return specs

    def scratch(self) -> list[ScratchSpec]:
        """Return the scratch rows of every (worker, split, seat) where a player may sit that does not learn."""
        return [
            ScratchSpec(worker, split, seat, team, self.envs_per_split)
            for worker in range(self.workers)
            for split in range(self.splits)
            for seat, team in enumerate(self.env.teams)
            if self.frozen_seats or self.table is not None or self.policy_of_team[seat] < 0
        ]

    def layout(self) -> Layout:
        """Return the plan of the whole segment; `.size` is what it will take."""
        layout = Layout()
        plan_words(layout, self.workers, self.splits, self.inference_workers, self.policies)
        for policy, size in enumerate((*self.weight_sizes, *self.frozen_sizes)):
            plan_weights(layout, policy, size)
        for spec in (*self.blocks(), *self.scratch()):
            spec.plan(layout)
        if self.table is not None:
            self.table.plan(layout, len(self.env.teams), self.workers)
        return layout

    def lanes_of_policy(self, policy: int) -> int:
        """Lanes that feed one policy."""
        return sum(block.lanes for block in self.blocks() if block.policy == policy)


@dataclass
class DataPlane:
    """What a process is handed: the specification and the segment. Opening is cheap; nothing is copied."""

    spec: PlaneSpec
    segment: Segment

    @classmethod
    def create(cls, spec: PlaneSpec) -> DataPlane:
        """Reserve the shared memory of a run and poison its slots. Raises RunError when there is too little."""
        plane = cls(spec, Segment(spec.layout()))
        for block in plane.blocks():
            block.poison()
        return plane

    def words(self) -> Words:
        """Open the control words."""
        return Words(self.segment)

    def match_table(self) -> MatchTable:
        """Open the match table of a league."""
        return MatchTable(self.spec.table, self.segment)

    def weights(self, policy: int) -> WeightStore:
        """Open one policy's published weights; those that do not learn come after those that do."""
        return WeightStore(self.segment, policy)

    def blocks(self, worker: int | None = None, split: int | None = None, policy: int | None = None) -> list[Block]:
        """Open the blocks of a worker, of one of its splits, or of a policy."""
        return [Block(spec, self.segment) for spec in select(self.spec.blocks(), worker, split, policy)]

    def scratch(self, worker: int, split: int) -> list[Scratch]:
        """Open the scratch rows of a split, in the order of their seats; empty when everybody always learns."""
        return [
            Scratch(spec, self.segment) for spec in self.spec.scratch() if (spec.worker, spec.split) == (worker, split)
        ]


def select(
    blocks: Sequence[BlockSpec], worker: int | None = None, split: int | None = None, policy: int | None = None
) -> list[BlockSpec]:
    """Return the blocks that match every argument that is not None."""
    return [
        block
        for block in blocks
        if worker in (None, block.worker) and split in (None, block.split) and policy in (None, block.policy)
    ]
