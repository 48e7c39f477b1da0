"""How inference workers and learners are put together from the plan; the same for processes and for the serial mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.errors import RunError
from sfmarl.league.snapshot import address_of
from sfmarl.memory.device_weights import DeviceWeightsReader, DeviceWeightsWriter
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import TicketQueue
from sfmarl.models.acting import flat_size, flatten_into, make_acting
from sfmarl.models.bank import WeightBank
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.storage.kept_batch import keep_batch
from sfmarl.workers.inference import InferenceWorker
from sfmarl.workers.learner import LearnerWorker
from sfmarl.workers.not_finite import NotFinite
from sfmarl.workers.policy_slots import BankSlot, PolicySlot

Report = Callable[[str, Any], None]
"""Sends (kind, payload) to the main process."""


def build_inference(
    plan: RunPlan, plane: DataPlane, index: int, inbox: TicketQueue, outboxes: Mapping[int, TicketQueue]
) -> InferenceWorker:
    """Build inference worker `index`, which serves the rollout workers congruent to it."""
    words = plane.words()
    # a replacement draws another stream: its predecessor had made some progress
    born = (plan.start_env_steps, int(words.progress["inference"][index]))
    workers = range(index, plan.plane.workers, plan.plane.inference_workers)
    device = torch.device(plan.device)
    slots = []
    actors = [(spec, learns.algo, learns.hp) for spec, learns in zip(plan.policies, plan.learning, strict=True)]
    actors += [(player.state.spec, player.state.algo, player.hp) for player in plan.bystanders if player.state]
    seeds = [seed_for(plan.config.seed, "act", *born, index, policy) for policy in range(len(actors) + 1)]
    for policy, (spec, algo, hp) in enumerate(actors):
        actor = get_algorithm(algo).cls.build_actor(spec, hp)
        store = plane.weights(policy)
        shared = DeviceWeightsReader(store, device) if plan.shares_device_weights else None
        slots.append(PolicySlot(make_acting(actor, spec, device, seeds[policy]), store, shared))
    learning = len(plan.policies)
    unlearning = dict(enumerate(slots[learning:]))
    bank = None
    if (table := plan.plane.table) is not None:
        unlearning = {table.column_of_learning(player): slot for player, slot in enumerate(slots)}
        bank = _bank(plan, plane, device, seeds[-1])
    return InferenceWorker(
        index,
        [block for worker in workers for block in plane.blocks(worker=worker)],
        slots[:learning],
        words,
        list(workers),
        inbox,
        outboxes,
        scratch=[seat for w in workers for split in range(plan.plane.splits) for seat in plane.scratch(w, split)],
        frozen=unlearning,
        bank=bank,
        turn_based=plan.env.turn_based,
    )


def _bank(plan: RunPlan, plane: DataPlane, device: torch.device, seed: int) -> BankSlot:
    """Build what acts for a league's live snapshots, which are built like every learning player."""
    spec, learns, capacity = plan.policies[0], plan.learning[0], plan.plane.table.snapshots
    actor = get_algorithm(learns.algo).cls.build_actor(spec, learns.hp)
    stores = [plane.weights(len(plan.policies) + column) for column in range(capacity)]
    return BankSlot(WeightBank(actor, spec, capacity, device, seed), stores, partial(address_of, plan.architecture))


def publish_frozen(plan: RunPlan, plane: DataPlane) -> None:
    """Publish the weights of the policies that do not learn: once, before anybody asks for them.

    Raises RunError when a checkpoint's weights do not fit the actor it says they are of.
    """
    for number, player in enumerate(plan.bystanders):
        if player.state is None:
            continue
        actor = get_algorithm(player.state.algo).cls.build_actor(player.state.spec, player.hp)
        try:
            actor.load_state_dict(player.state.actor_tensors)
        except RuntimeError as error:
            raise RunError(f"The weights of the frozen policy {player.name!r} do not fit its actor: {error}") from error
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
        plane.weights(len(plan.policies) + number).publish(flat, 1)


def build_learner(
    plan: RunPlan, plane: DataPlane, policy: int, state: dict[str, Any] | None, version: int, report: Report
) -> LearnerWorker:
    """Build the learner of `policy`, from `state` (Algorithm.state_dict) and the `version` it was saved at, or anew.

    Raises RunError when the state is not this algorithm's.
    """
    config, device, learns = plan.config, torch.device(plan.device), plan.learning[policy]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        algorithm = get_algorithm(learns.algo).cls(
            plan.policies[policy], learns.hp, device, seed_for(config.seed, "learner", policy)
        )
    for warning in caught:
        report("warning", f"policy {plan.policies[policy].name!r}: {warning.message}")
    if state is not None:
        try:
            algorithm.load_state_dict(state)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = error.args[0] if error.args else type(error).__name__  # a KeyError's str has quotes
            raise RunError(
                f"policy {plan.policies[policy].name!r}: its checkpoint holds no state of {learns.algo}: {reason}. "
                "Move the checkpoint aside; resuming then takes the one before it."
            ) from error
    shared = None
    if plan.shares_device_weights:
        shared = DeviceWeightsWriter(plane.weights(policy), device)
        if not shared.available:
            report("warning", f"{device} shares no memory between processes: weights go through the host.")
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
        device_weights=shared,
        not_finite=NotFinite(
            plan.policies[policy].name,
            config.max_skipped_updates,
            partial(keep_batch, config.run_dir),
            partial(report, "warning"),
        ),
    )
