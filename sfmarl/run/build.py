"""How each component is put together from the plan; the same for processes and for the serial mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import sleep
from typing import Any

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.envs.registry import make_vector_env
from sfmarl.memory.block import Block
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import TicketQueue
from sfmarl.models.acting import make_acting
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.workers.inference import InferenceWorker, PolicySlot
from sfmarl.workers.learner import LearnerWorker
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.rollout import RolloutWorker
from sfmarl.workers.routing import HomeRoute
from sfmarl.workers.shaping import Shaping

Report = Callable[[str, Any], None]
"""Sends (kind, payload) to the main process."""


def build_rollout(
    plan: RunPlan, plane: DataPlane, index: int, inbox: TicketQueue, inference: TicketQueue, report: Report
) -> RolloutWorker:
    """Build rollout worker `index` in its present generation, once nobody writes for its past ones any more."""
    words, spec, config = plane.words(), plan.plane, plan.config
    generation = int(words.generation[index])
    while words.acknowledged[index] != generation and not words.stopping:
        sleep(0.001)
    splits = []
    for split in range(spec.splits):
        path = (plan.start_env_steps, index, split)
        seeds = [seed_for(config.seed, "env", *path, e, generation) for e in range(spec.envs_per_split)]
        blocks = plane.blocks(worker=index, split=split)
        _tidy(blocks, plan.sync)
        env = make_vector_env(config, spec.envs_per_split, seeds)
        shaping = [Shaping(config.reward, block) for block in blocks] if config.reward else []
        splits.append(
            LockstepSplit(
                env,
                blocks,
                HomeRoute(blocks),
                generation,
                sync=plan.sync,
                team_reward=config.team_reward,
                shaping=shaping,
            )
        )
    return RolloutWorker(index, generation, splits, words, inbox, inference, report)


def _tidy(blocks: Sequence[Block], sync: bool) -> None:
    """Give back what a past life of the worker left behind in one of its splits.

    What it was filling is lost, what it had published stays. In sync mode an update takes one slot of every lane, so a
    split that was killed while it published gives its READY slots back, too: the learner cannot be at them.
    """
    for block in blocks:
        block.slots.discard_filling()
    for policy in {block.spec.policy for block in blocks} if sync else ():
        own = [block for block in blocks if block.spec.policy == policy]
        if not all(block.slots.every_lane_is_ready() for block in own):
            for block in own:
                block.slots.discard_ready()


def build_inference(
    plan: RunPlan, plane: DataPlane, index: int, inbox: TicketQueue, outboxes: Mapping[int, TicketQueue]
) -> InferenceWorker:
    """Build inference worker `index`, which serves the rollout workers congruent to it."""
    cls, hp = get_algorithm(plan.config.algo).cls, plan.config.hp
    words = plane.words()
    # a replacement draws another stream: its predecessor had made some progress
    born = (plan.start_env_steps, int(words.progress["inference"][index]))
    workers = range(index, plan.plane.workers, plan.plane.inference_workers)
    policies = []
    for policy, spec in enumerate(plan.policies):
        seed = seed_for(plan.config.seed, "act", *born, index, policy)
        acting = make_acting(cls.build_actor(spec, hp), spec, torch.device(plan.device), seed)
        policies.append(PolicySlot(acting, plane.weights(policy)))
    blocks = [block for worker in workers for block in plane.blocks(worker=worker)]
    return InferenceWorker(index, blocks, policies, words, list(workers), inbox, outboxes)


def build_learner(
    plan: RunPlan, plane: DataPlane, policy: int, state: dict[str, Any] | None, version: int, report: Report
) -> LearnerWorker:
    """Build the learner of `policy`, from `state` (Algorithm.state_dict) and the `version` it was saved at, or anew.

    Raises KeyError or ValueError when the state is not this algorithm's.
    """
    config, device = plan.config, torch.device(plan.device)
    algorithm = get_algorithm(config.algo).cls(
        plan.policies[policy], config.hp, device, seed_for(config.seed, "learner", policy)
    )
    if state is not None:
        algorithm.load_state_dict(state)
    return LearnerWorker(
        policy=policy,
        algorithm=algorithm,
        version=version,
        blocks=plane.blocks(policy=policy),
        weights=plane.weights(policy),
        words=plane.words(),
        batch_lanes=plan.batch_lanes[policy],
        env_steps=config.env_steps,
        device=device,
        report=report,
        max_policy_lag=config.max_policy_lag,
        sync=plan.sync,
    )
