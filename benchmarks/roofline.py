"""What the machine could do: the bare work of training, each piece alone and on all cores at the same time.

A trained sample has to be stepped, acted on and learned from. If nothing else cost anything and no core ever waited,

    roofline = cores / (1/env + 1/forward + 1/learn)        agent-steps per second, rates per core

`env` is the environment alone with prepared random legal actions, `forward` a bare actor that acts and samples on 256
rows, `learn` forward, backward, gradient clipping and Adam of actor and critic on one batch. The last two are measured
twice: in plain eager torch (`bare_eager.py`), and with sfmarl's own networks (`bare_product.py`). Several policies
share the agent-steps as their teams share the agents; each acts and learns with networks of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from bare_eager import forward_torch_work, learn_torch_work
from bare_env import Bare, env_work
from bare_product import forward_product_work, learn_product_work

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import RunPlan, make_plan


@dataclass(frozen=True)
class Pieces:
    """Agent-steps per second and core."""

    env: float
    """The environments alone."""
    forward_torch: float
    """Acting and sampling in eager torch on 256 rows."""
    forward_product: float
    """The same through `make_acting`: plain NumPy for a small categorical policy on the CPU."""
    learn: float
    """Forward, backward, clipping and Adam of actor and critic on one batch, in eager torch."""
    learn_product: float
    """The same with the networks of the algorithm."""

    def roofline(self, forward: float, cores: int, learn: float | None = None) -> float:
        """Return agent-steps per second of the whole machine; `learn` is the eager one if it is not given."""
        return cores / (1 / self.env + 1 / forward + 1 / (learn or self.learn))

    def eager(self, cores: int) -> float:
        """Return the roofline of eager torch."""
        return self.roofline(self.forward_torch, cores)

    def product(self, cores: int) -> float:
        """Return the roofline of sfmarl's own networks."""
        return self.roofline(self.forward_product, cores, self.learn_product)


def measure(config: Config, batch_lanes: Sequence[int], rounds: int, seconds: float) -> list[Pieces]:
    """Return one measurement per round, each piece running `seconds` on all cores at once.

    `batch_lanes` slots of `config.rollout` steps are a learner's batch, per policy.
    """
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    barrier, results = context.Barrier(cores), context.SimpleQueue()
    children = [
        context.Process(target=_child, args=(config, batch_lanes, rounds, seconds, core, barrier, results))
        for core in range(cores)
    ]
    with _one_blas_thread():
        for child in children:
            child.start()
    per_core = [results.get() for _ in children]
    for child in children:
        child.join()
    for outcome in per_core:
        if isinstance(outcome, str):
            raise RuntimeError(f"{config.env}: no roofline: {outcome}")
    names = Pieces.__dataclass_fields__
    return [
        Pieces(*(statistics.mean(rates[piece] for rates in of_round) for piece in range(len(names))))
        for of_round in zip(*per_core, strict=True)
    ]


def median(measurements: Sequence[Pieces]) -> Pieces:
    """Return the median of each piece."""
    names = Pieces.__dataclass_fields__
    return Pieces(**{name: statistics.median(getattr(pieces, name) for pieces in measurements) for name in names})


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Let NumPy start with one thread in the processes started meanwhile: every core has a process of its own."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OPENBLAS_NUM_THREADS"]
        if before is not None:
            os.environ["OPENBLAS_NUM_THREADS"] = before


def _child(
    config: Config, batch_lanes: Sequence[int], rounds: int, seconds: float, core: int, barrier: Any, results: Any
) -> None:
    try:
        results.put(_measured(config, batch_lanes, rounds, seconds, core, barrier))
    except Exception as error:
        # the others wait for this one
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")


def _measured(
    config: Config, batch_lanes: Sequence[int], rounds: int, seconds: float, core: int, barrier: Any
) -> list[list[float]]:
    torch.set_num_threads(1)
    pieces = bare_works(config, batch_lanes, core)
    for parts in pieces:
        for _, work in parts:
            work()  # allocations and caches
    measured = []
    for _ in range(rounds):
        rates = []
        for parts in pieces:
            taken = 0.0
            for share, work in parts:
                barrier.wait()
                taken += share / rate(work, seconds / len(parts))
            rates.append(1 / taken)
        measured.append(rates)
    return measured


def bare_works(config: Config, batch_lanes: Sequence[int], core: int) -> list[list[tuple[float, Bare]]]:
    """Return, for each field of Pieces, (share of the agent-steps, work) of every policy."""
    plan = make_plan(config, load_spec(config))
    pieces: list[list[tuple[float, Bare]]] = [
        [(1.0, env_work(config, config.num_envs_per_worker // config.num_splits, seed=core))],
        *([] for _ in range(4)),
    ]
    turns = plan.env.turn_based
    for spec, learns, lanes, share in zip(plan.policies, plan.learning, batch_lanes, policy_shares(plan), strict=True):
        agents = 1 if turns else spec.num_agents
        own = (spec, learns.algo, learns.hp)
        works = (
            forward_torch_work(spec, learns.hp),
            forward_product_work(*own, agents, turns),
            learn_torch_work(spec, learns.hp, config.rollout, lanes, agents),
            learn_product_work(*own, config.rollout, lanes, agents, turns),
        )
        for parts, work in zip(pieces[1:], works, strict=True):
            parts.append((share, work))
    return pieces


def policy_shares(plan: RunPlan) -> list[float]:
    """Return each policy's share of the agents that learn."""
    agents = [0] * len(plan.policies)
    for team, policy in zip(plan.env.teams, plan.plane.policy_of_team, strict=True):
        if policy >= 0:
            agents[policy] += len(team.agents)
    return [count / sum(agents) for count in agents]


def rate(work: Bare, seconds: float) -> float:
    """Return agent-steps per second of repeating `work` for `seconds`."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += work()
    return done / spent
