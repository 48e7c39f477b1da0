"""What `train` would do, in words: the same checks, the same plan, and nothing started or written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sfmarl.config import Config, default_run_dir
from sfmarl.memory.segment import available_bytes, require_available
from sfmarl.run.callbacks import Callbacks
from sfmarl.run.memory_plan import Allocation, in_units, private_estimates, shared_allocations, shared_bytes
from sfmarl.run.plan import RunPlan
from sfmarl.run.runner import check_run
from sfmarl.user_code import absolute, import_user_code


@dataclass(frozen=True)
class DryRun:
    """A run that was planned and not started."""

    plan: RunPlan
    """Its plan."""
    notes: tuple[str, ...]
    """What a run would warn of."""

    def lines(self) -> list[str]:
        """Return processes, rows, batches and memory, a line each."""
        return [*(f"warning: {note}" for note in self.notes), *_arrangement(self.plan), *_memory(self.plan)]

    def require_memory(self) -> None:
        """Raise RunError, as the run itself would, when the machine cannot give its shared memory."""
        require_available(shared_bytes(self.plan))


def dry_run(config: Config) -> DryRun:
    """Plan a run without starting it. Raises UsageError and RunError as `train` does before it starts anything."""
    config = replace(config, imports=absolute(config.imports))
    import_user_code(config.imports)
    notes: list[str] = []
    plan, _ = check_run(config, notes.append, starts=False)
    Callbacks(config.callbacks)
    return DryRun(
        replace(plan, config=replace(plan.config, run_dir=config.run_dir or default_run_dir(config))), tuple(notes)
    )


def _arrangement(plan: RunPlan) -> list[str]:
    config, spec = plan.config, plan.plane
    algos = " + ".join(dict.fromkeys(learns.algo for learns in plan.learning))
    told = [f"{algos} on {config.env}, seed {config.seed}, would be trained in {config.run_dir}"]
    told += [
        f"  team {team.name!r}: {len(team.agents)} agent{'s' * (len(team.agents) != 1)}, "
        f"observations {list(team.obs.shape)} {team.obs.dtype}, {team.action.kind} actions"
        for team in plan.env.teams
    ]
    rollout = f"{spec.workers} x {config.num_envs_per_worker} envs in {spec.splits} splits"
    if config.mode == "serial":
        told.append(f"  processes: this one alone; rollout {rollout}")
    else:
        roles = {"rollout": spec.workers, "inference": 0 if plan.local_inference else spec.inference_workers}
        roles |= {"learner": spec.policies, "evaluator": 1}
        counts = ", ".join(f"{count} {role}" for role, count in roles.items() if count)
        told.append(f"  processes ({config.mode}): {sum(roles.values())} beside this one and its fork server: {counts}")
        told.append(f"  rollout workers: {rollout}{'; each computes its own actions' if plan.local_inference else ''}")
    # where turns alternate one agent of each env waits for an action at a time
    split = spec.envs_per_split * (1 if spec.env.turn_based else sum(len(team.agents) for team in plan.env.teams))
    told.append(f"  rows: {split:,} of a split, {split * spec.splits * spec.workers:,} of all, for {plan.device}")
    agents = {block.policy: block.agents for block in spec.blocks()}
    for policy, lanes in enumerate(plan.batch_lanes):
        steps = lanes * spec.rollout * agents[policy]
        told.append(
            f"  batch of {plan.policies[policy].name!r}: {lanes:,} slots of {spec.rollout} steps, {steps:,} agent-steps"
        )
    return told


def _memory(plan: RunPlan) -> list[str]:
    size, available = shared_bytes(plan), available_bytes()
    told = [f"shared memory: {in_units(size)}, reserved before anything runs ({in_units(available)} available)"]
    told += _table(shared_allocations(plan))
    told.append("besides, estimated:")
    return told + _table(private_estimates(plan))


def _table(allocations: list[Allocation]) -> list[str]:
    what = max(len(allocation.what) for allocation in allocations)
    size = max(len(in_units(allocation.size)) for allocation in allocations)
    return [f"  {a.what:<{what}}  {in_units(a.size):>{size}}  {a.detail}".rstrip() for a in allocations]
