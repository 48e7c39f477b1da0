"""How each component is put together from the plan; the same for processes and for the serial mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import sleep
from typing import Any

import numpy as np
import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.envs.registry import make_envs
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.envs.turns import TurnEnv
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import RunError
from sfmarl.league.snapshot import address_of
from sfmarl.memory.block import Block
from sfmarl.memory.device_weights import DeviceWeightsReader, DeviceWeightsWriter
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import LocalQueue, TicketQueue
from sfmarl.models.acting import flat_size, flatten_into, make_acting
from sfmarl.models.bank import WeightBank
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.storage.kept_batch import keep_batch
from sfmarl.workers.faults import EnvFaults, SplitFaults
from sfmarl.workers.inference import InferenceWorker
from sfmarl.workers.learner import LearnerWorker
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.match_seating import MatchSeating
from sfmarl.workers.not_finite import NotFinite
from sfmarl.workers.policy_slots import BankSlot, PolicySlot
from sfmarl.workers.rollout import REPORT_SECONDS, RolloutWorker, Split
from sfmarl.workers.routing import Bystander, HomeRoute, SeatRoute
from sfmarl.workers.seating import HomeSeating, Seating, frozen
from sfmarl.workers.shaping import Shaping
from sfmarl.workers.turns import TurnSplit
from sfmarl.workers.vector_turns import VectorTurnSplit

Report = Callable[[str, Any], None]
"""Sends (kind, payload) to the main process."""


def build_rollout(
    plan: RunPlan,
    plane: DataPlane,
    index: int,
    inbox: TicketQueue,
    inference: TicketQueue,
    report: Report,
    act: Callable[[], None] | None = None,
) -> RolloutWorker:
    """Build rollout worker `index` in its present generation, once nobody writes for its past ones any more.

    `act` answers its requests in its own process (local inference).
    """
    words, spec, config = plane.words(), plan.plane, plan.config
    generation = int(words.generation[index])
    while words.acknowledged[index] != generation and not words.stopping:
        sleep(0.001)
    splits: list[Split] = []
    faults = EnvFaults(
        index, config.max_env_faults, words.counts["rollout"][index], partial(report, "warning"), config.run_dir
    )
    for split in range(spec.splits):
        path = (plan.start_env_steps, index, split)
        seeds = [seed_for(config.seed, "env", *path, e, generation) for e in range(spec.envs_per_split)]
        blocks = plane.blocks(worker=index, split=split)
        _tidy(blocks, plan.sync)
        rebuilder = SplitFaults(faults, config.seed, *path, generation)
        envs = make_envs(config, spec.envs_per_split, seeds, rebuilder=rebuilder)
        scripts = _scripts(plan, index, split)
        seating = _seating(plan, plane, blocks, seeds[0])
        shaping = [Shaping(config.reward, block) for block in blocks] if config.reward else []
        if isinstance(envs, list | TurnVectorEnv):
            splits.append(_turns(plan, plane, envs, blocks, seating, scripts, shaping, generation, seeds))
        else:
            if isinstance(seating, MatchSeating):
                route = SeatRoute(blocks, plane.scratch(index, split), seating, scripts)
            else:
                route = HomeRoute(_seats(plan, plane, blocks, scripts))
            splits.append(LockstepSplit(envs, blocks, route, generation, plan.sync, config.team_reward, shaping))
    # a serial league decides by results: the clock must not say when they are known
    seconds = math.inf if config.mode == "serial" and spec.table is not None else REPORT_SECONDS
    return RolloutWorker(index, generation, splits, words, inbox, inference, report, act, seconds)


def build_acting_rollout(plan: RunPlan, plane: DataPlane, index: int, report: Report) -> RolloutWorker:
    """Build rollout worker `index` with an inference worker of its own inside (local inference)."""
    answers, requests = LocalQueue(), LocalQueue()
    inference = build_inference(plan, plane, index, requests, {index: answers})
    inference.run_once(timeout=0)  # takes note of this life; its past ones ended with the process that wrote for them
    return build_rollout(plan, plane, index, answers, requests, report, act=partial(inference.run_once, timeout=0))


def _scripts(plan: RunPlan, worker: int, split: int) -> dict[tuple[int, int], ScriptedPlayer]:
    """Return who acts inside this split, by (number among the players that do not learn, seat).

    One script may play several teams, which need not be alike; in a league it may take any seat.
    """
    found = {}

    def add(player: int, seat: int, call: str) -> None:
        team = plan.env.teams[seat]
        seed = seed_for(plan.config.seed, "script", plan.start_env_steps, worker, split, team.name, player)
        found[player, seat] = ScriptedPlayer(call, team, seed)

    for script, call in enumerate(plan.scripts):
        for seat in range(len(plan.env.teams)):
            add(plan.plane.table.column_of_script(script), seat, call)
    for seat, policy in enumerate(plan.plane.policy_of_team):
        if policy < 0 and (call := plan.bystanders[frozen(policy)].script):
            add(frozen(policy), seat, call)
    return found


def _seating(plan: RunPlan, plane: DataPlane, blocks: Sequence[Block], seed: int) -> Seating:
    """Return who fills the seats of a split's envs, whose first episode begins with `seed`."""
    spec = plan.plane
    if spec.table is not None:
        at = blocks[0].spec
        seats, seed = len(plan.env.teams), seed_for(seed, "matches")
        return MatchSeating(plane.match_table(), at.worker, at.policy, spec.envs_per_split, seats, seed)
    block_of_seat = {block.spec.seat: index for index, block in enumerate(blocks)}
    return HomeSeating([block_of_seat.get(seat, policy) for seat, policy in enumerate(spec.policy_of_team)])


def _seats(
    plan: RunPlan, plane: DataPlane, blocks: Sequence[Block], scripts: Mapping[tuple[int, int], ScriptedPlayer]
) -> list[Block | Bystander]:
    """Return what each team's rows lie in, in seat order: a block, or scratch rows where the player does not learn."""
    seats: dict[int, Block | Bystander] = {block.spec.seat: block for block in blocks}
    state = blocks[0].state
    for scratch in plane.scratch(blocks[0].spec.worker, blocks[0].spec.split):
        player = frozen(plan.plane.policy_of_team[scratch.spec.seat])
        own_state = None if state is None else np.zeros(state.shape[2:], np.float32)
        seats[scratch.spec.seat] = Bystander(scratch, player, own_state, scripts.get((player, scratch.spec.seat)))
    return [seats[seat] for seat in sorted(seats)]


def _turns(
    plan: RunPlan,
    plane: DataPlane,
    envs: list[TurnEnv] | TurnVectorEnv,
    blocks: Sequence[Block],
    seating: Seating,
    scripts: Mapping[tuple[int, int], ScriptedPlayer],
    shaping: Sequence[Shaping],
    generation: int,
    seeds: Sequence[int],
) -> TurnSplit | VectorTurnSplit:
    # a game that is stepped together was given its seeds when it was built
    build = VectorTurnSplit if isinstance(envs, TurnVectorEnv) else partial(TurnSplit, seeds=seeds)
    return build(
        envs,
        blocks,
        generation,
        weights=[plane.weights(policy) for policy in range(plan.plane.policies)],
        max_policy_lag=plan.config.max_policy_lag,
        sync=plan.sync,
        seating=seating,
        scratch=plane.scratch(blocks[0].spec.worker, blocks[0].spec.split),
        scripts=scripts,
        shaping=shaping,
    )


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
