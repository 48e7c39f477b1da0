"""How a rollout worker is put together from the plan; the same for processes and for the serial mode."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import sleep

import numpy as np

from sfmarl.envs.rebuild import RAISED
from sfmarl.envs.registry import make_envs
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.envs.turns import TurnEnv
from sfmarl.envs.vector import VectorEnv
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.memory.block import Block
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import LocalQueue, TicketQueue
from sfmarl.run.build import Report, build_inference
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.workers.faults import EnvFaults, SplitFaults
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.match_seating import MatchSeating
from sfmarl.workers.rollout import REPORT_SECONDS, RolloutWorker, Split
from sfmarl.workers.routing import Bystander, HomeRoute, SeatRoute
from sfmarl.workers.seating import HomeSeating, Seating, frozen
from sfmarl.workers.shaping import Shaping
from sfmarl.workers.turns import TurnSplit
from sfmarl.workers.vector_turns import VectorTurnSplit


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
    with contextlib.ExitStack() as unless_built:
        for split in range(spec.splits):
            path = (plan.start_env_steps, index, split)
            seeds = [seed_for(config.seed, "env", *path, e, generation) for e in range(spec.envs_per_split)]
            blocks = plane.blocks(worker=index, split=split)
            _tidy(blocks, plan.sync)
            rebuilder = SplitFaults(faults, config.seed, *path, generation)
            envs = make_envs(config, spec.envs_per_split, seeds, rebuilder=rebuilder)
            unless_built.callback(_close, envs)
            splits.append(_build_split(plan, plane, envs, blocks, seeds, generation))
        unless_built.pop_all()
    # a serial league decides by results: the clock must not say when they are known
    seconds = math.inf if config.mode == "serial" and spec.table is not None else REPORT_SECONDS
    return RolloutWorker(index, generation, splits, words, inbox, inference, report, act, seconds)


def build_acting_rollout(plan: RunPlan, plane: DataPlane, index: int, report: Report) -> RolloutWorker:
    """Build rollout worker `index` with an inference worker of its own inside (local inference)."""
    answers, requests = LocalQueue(), LocalQueue()
    inference = build_inference(plan, plane, index, requests, {index: answers})
    inference.run_once(timeout=0)  # takes note of this life; its past ones ended with the process that wrote for them
    return build_rollout(plan, plane, index, answers, requests, report, act=partial(inference.run_once, timeout=0))


def _close(envs: VectorEnv | TurnVectorEnv | list[TurnEnv]) -> None:
    """Close environments that will not be stepped: why not is what must be told."""
    for env in envs if isinstance(envs, list) else [envs]:
        with contextlib.suppress(*RAISED):
            env.close()


def _build_split(
    plan: RunPlan,
    plane: DataPlane,
    envs: VectorEnv | TurnVectorEnv | list[TurnEnv],
    blocks: Sequence[Block],
    seeds: Sequence[int],
    generation: int,
) -> Split:
    """Build what steps these environments."""
    config, index, split = plan.config, blocks[0].spec.worker, blocks[0].spec.split
    scripts = _scripts(plan, index, split)
    seating = _seating(plan, plane, blocks, seeds[0])
    shaping = [Shaping(config.reward, block) for block in blocks] if config.reward else []
    if isinstance(envs, list | TurnVectorEnv):
        return _turns(plan, plane, envs, blocks, seating, scripts, shaping, generation, seeds)
    if isinstance(seating, MatchSeating):
        route = SeatRoute(blocks, plane.scratch(index, split), seating, scripts)
    else:
        route = HomeRoute(_seats(plan, plane, blocks, scripts))
    return LockstepSplit(envs, blocks, route, generation, plan.sync, config.team_reward, shaping)


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
