"""What the data plane costs above the bare work, piece by piece, against the budgets of ARCHITECTURE.md.

Each figure is CPU time in one process, so that it does not depend on what else the machine does:

    bookkeeping  a whole split-step (adapter, slots, episodes) minus the environment's own step, per agent-step
    transport    request, ticket, gather, scatter, answer, ticket of one split-step, with a free forward and a free step
    learning     `PPO.update` over forward + backward + clipping + Adam on the same batch
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from bare_env import env_work
from bare_product import bare_learning, random_batch
from timing import cpu_seconds, medians

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.envs.registry import is_native, load_spec, make_vector_env
from sfmarl.memory.block import Block
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import SharedQueue
from sfmarl.run.plan import RunPlan, make_plan
from sfmarl.workers.episodes import EpisodeLog
from sfmarl.workers.inference import InferenceWorker, PolicySlot
from sfmarl.workers.lockstep import ALL, LockstepSplit
from sfmarl.workers.rollout import RolloutWorker
from sfmarl.workers.routing import HomeRoute

STEPS = 320
"""Split-steps of one round: ten slots."""


@dataclass(frozen=True)
class Budget:
    """One measured figure and its ceiling."""

    name: str
    """What was measured."""
    value: float
    """The figure."""
    limit: float
    """What it may be."""
    unit: str
    """Unit of both."""


def measure(envs: Sequence[Config], learning: Config, batch_lanes: int, rounds: int) -> list[Budget]:
    """Return every budget: bookkeeping of each of `envs`, transport and learning of `learning`'s settings."""
    torch.set_num_threads(1)
    found: list[Budget] = []
    for config in envs:
        limit = 0.05 if is_native(config.env) else 0.5
        value = bookkeeping_microseconds(config, rounds)
        found.append(Budget(f"rollout bookkeeping above the environment, {config.env}", value, limit, "us/agent-step"))
    found.append(
        Budget("transport without forward", transport_microseconds(learning, rounds), 60.0, "us of CPU/split-step")
    )
    ratio = learning_ratio(learning, batch_lanes, rounds)
    found.append(Budget(f"learning, {learning.algo} over bare forward + backward", ratio, 1.1, "ratio"))
    return found


def bookkeeping_microseconds(config: Config, rounds: int) -> float:
    """Return CPU time per agent-step of a split-step minus that of the same number of environments alone."""
    plan = _plan(config)
    plane = DataPlane.create(plan.plane)
    num_envs = plan.plane.envs_per_split
    blocks = plane.blocks(worker=0, split=0)
    env = make_vector_env(config, num_envs, range(num_envs))
    split = LockstepSplit(env, blocks, HomeRoute(blocks), generation=1)
    bare = env_work(config, num_envs, seed=0)
    for block in blocks:
        block.action.fill(0)

    def split_steps() -> float:
        before, start = split.agent_steps, time.process_time()
        for _ in range(STEPS):
            if not split.advance():
                _learn_for_free(blocks)
                split.advance()
            split.step()
        return (time.process_time() - start) / (split.agent_steps - before)

    def env_steps() -> float:
        start = time.process_time()
        done = sum(bare() for _ in range(STEPS))
        return (time.process_time() - start) / done

    whole, alone = medians([split_steps, env_steps], rounds)
    return 1e6 * (whole - alone)


def _learn_for_free(blocks: Sequence[Block]) -> None:
    for block in blocks:
        for ring in np.unique(block.slots.ready()[0]):
            block.slots.take(ring, ALL)
            block.slots.release(ring, ALL)


def transport_microseconds(config: Config, rounds: int) -> float:
    """Return CPU time of one split-step's way to the inference worker and back."""
    plan = _plan(config)
    plane = DataPlane.create(plan.plane)
    words = plane.words()
    plane.weights(0).publish(np.zeros(plan.plane.weight_sizes[0], np.float32), 1)
    requests, answers = SharedQueue(), SharedQueue()
    splits = [_FreeSplit(plan) for _ in range(plan.plane.splits)]
    rollout = RolloutWorker(0, 0, splits, words, answers, requests, lambda kind, payload: None)
    policy = PolicySlot(_FreeActing(plan), plane.weights(0))
    inference = InferenceWorker(0, plane.blocks(worker=0), [policy], words, [0], requests, {0: answers})

    def steps() -> None:
        for _ in range(STEPS):
            rollout.run_once(timeout=0)
            inference.run_once(timeout=0)
            requests.get_many(0)
            answers.get_many(0)

    return 1e6 * medians([partial(cpu_seconds, steps)], rounds)[0] / (STEPS * len(splits))


def learning_ratio(config: Config, batch_lanes: int, rounds: int) -> float:
    """Return the time of an update over that of the bare work on the same batch."""
    spec = _plan(config).policies[0]
    learner = get_algorithm(config.algo).cls(spec, config.hp, torch.device("cpu"), seed=1)
    batch = random_batch(config.rollout, batch_lanes, spec)
    bare = bare_learning(learner, batch, config.hp.epochs, config.hp.minibatches)
    works = (lambda: learner.update(batch, 0.0), bare)
    update, alone = medians([partial(cpu_seconds, work) for work in works], rounds)
    return update / alone


def _plan(config: Config) -> RunPlan:
    return make_plan(replace(config, num_workers=1), load_spec(config))


class _FreeActing:
    """An actor that costs nothing."""

    def __init__(self, plan: RunPlan) -> None:
        spec = plan.policies[0]
        rows = (plan.plane.splits * plan.plane.envs_per_split, spec.num_agents)
        self._answer = np.zeros((*rows, *spec.action.shape), spec.action.dtype), np.zeros(rows, np.float32)

    state_size = 0
    takes_parts = False

    def load(self, flat: np.ndarray) -> None:
        """See Acting."""

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool = False,
        rnn_state: None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Acting."""
        return self._answer


class _FreeSplit:
    """A split whose environments cost nothing; its cursor stays where it is."""

    def __init__(self, plan: RunPlan) -> None:
        self.episodes = EpisodeLog(plan.plane.envs_per_split, plan.env.num_agents)
        self.env_steps = self.agent_steps = 0
        self.env_seconds = 0.0

    def advance(self) -> bool:
        """See Split."""
        return True

    def step(self) -> None:
        """See Split."""

    def close(self) -> None:
        """See Split."""
