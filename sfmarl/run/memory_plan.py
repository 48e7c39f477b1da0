"""What a run will reserve: the shared segment's arrays by group, the queues, and an estimate of what comes on top."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import psutil
import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.memory.block import BlockSpec
from sfmarl.memory.queues import QUEUE_BYTES
from sfmarl.memory.segment import in_units
from sfmarl.run.plan import RunPlan, buildable
from sfmarl.seeding import seed_for


@dataclass(frozen=True)
class Allocation:
    """Some memory and what it is for."""

    what: str
    """Its name."""
    size: int
    """Bytes."""
    detail: str = ""
    """What it is made of."""

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.what} {in_units(self.size)}"


def shared_allocations(plan: RunPlan) -> list[Allocation]:
    """Return all that is reserved before anything runs: the groups of arrays of the segment, and the queues."""
    spec, layout, queues = plan.plane, plan.plane.layout(), queue_count(plan)
    blocks = spec.blocks()
    policy_of_block = {block.name: block.policy for block in blocks}
    starts = [offset for offset, _, _ in layout.entries.values()]
    sizes: Counter[str] = Counter()
    for name, start, end in zip(layout.entries, starts, [*starts[1:], layout.size], strict=True):
        sizes[_group(name, policy_of_block, spec.policies)] += end - start
    found = []
    for policy, about in enumerate(plan.policies):
        own = [block for block in blocks if block.policy == policy]
        agents = f", {own[0].agents} agents each" if own[0].agents > 1 else ""
        lanes = f"{sum(block.lanes for block in own):,} lanes{agents}"
        detail = f"{lanes}, {spec.ring} slots of {spec.rollout} steps a lane, {in_units(_slot_bytes(own[0]))} a slot"
        found.append(Allocation(f"slots of {about.name!r}", sizes[f"slots {policy}"], detail))
    for policy, (about, size) in enumerate(zip(plan.policies, spec.weight_sizes, strict=True)):
        detail = f"2 buffers of {size:,} floats"
        found.append(Allocation(f"weights of {about.name!r}", sizes[f"weights {policy}"], detail))
    others = "live snapshots" if spec.table else "frozen policies"
    frozen = f"{len(spec.frozen_sizes)}, 2 buffers each"
    found += [
        Allocation(f"weights of {others}", sizes["weights frozen"], frozen),
        Allocation("scratch rows", sizes["scratch"], "of seats whose player does not learn"),
        Allocation("match table", sizes["matches"], "whom the league's players meet"),
        Allocation("words", sizes["words"], "requests, generations, counters, times"),
        Allocation("queues", queues * QUEUE_BYTES, f"{queues} of {in_units(QUEUE_BYTES)}"),
    ]
    return [allocation for allocation in found if allocation.size]


def shared_bytes(plan: RunPlan) -> int:
    """Return the size of all of them."""
    return sum(allocation.size for allocation in shared_allocations(plan))


def private_estimates(plan: RunPlan) -> list[Allocation]:
    """Return what comes besides: what the learners and every process need, as far as it can be told."""
    found = []
    for policy, (about, learns) in enumerate(zip(plan.policies, plan.learning, strict=True)):
        block = next(block for block in plan.plane.blocks() if block.policy == policy)
        batch = plan.batch_lanes[policy] * _slot_bytes(block)
        found.append(
            Allocation(f"batch of {about.name!r}", batch, f"{plan.batch_lanes[policy]:,} slots, on {plan.device}")
        )
        seed = seed_for(plan.config.seed, "learner", policy)
        with buildable(about.name):
            algorithm = get_algorithm(learns.algo).cls(about, learns.hp, torch.device("cpu"), seed)
        tensors = sum(tensor.nbytes for tensor in algorithm.state_dict()["tensors"].values())
        detail = "parameters, statistics, optimiser state; activations of a minibatch come on top"
        found.append(Allocation(f"networks of {about.name!r}", tensors, detail))
    own = psutil.Process().memory_info().rss
    found.append(
        Allocation("each process", own, "at most, as this one now; libraries are shared; its environments on top")
    )
    return found


def queue_count(plan: RunPlan) -> int:
    """Return the number of queues: between processes one for each rollout worker and each inference worker."""
    if plan.config.mode == "serial":
        return 0
    return plan.plane.workers + (0 if plan.local_inference else plan.plane.inference_workers)


def _group(name: str, policy_of_block: dict[str, int], policies: int) -> str:
    """Return which group the array `name` of the layout belongs to."""
    kind, _, rest = name.partition(".")
    if kind == "block":
        return f"slots {policy_of_block[name.rpartition('.')[0]]}"
    if kind == "weights":
        policy = int(rest.partition(".")[0])
        return f"weights {policy}" if policy < policies else "weights frozen"
    return kind if kind in ("scratch", "matches") else "words"


def _slot_bytes(block: BlockSpec) -> int:
    """Return the bytes of one lane's slot."""
    whole = sum(prod(shape) * dtype.itemsize for shape, dtype in block.fields().values())
    return whole // (block.ring * block.lanes)
