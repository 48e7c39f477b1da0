"""What the machine could do: the bare work of training, each piece alone and on all cores at the same time.

A trained sample has to be stepped, acted on and learned from. If nothing else cost anything and no core ever waited,

    roofline = cores / (1/env + 1/forward + 1/learn)        agent-steps per second, rates per core

`env` is the environment alone with prepared random actions, `forward` a bare actor that acts and samples on 256 rows,
`learn` forward, backward, gradient clipping and Adam of actor and critic on one batch.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from sfmarl.algorithms import get_algorithm
from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.ppo import PPO
from sfmarl.config import Config
from sfmarl.envs.registry import is_native, load_spec, make_env, make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.models import distributions
from sfmarl.models.acting import make_acting
from sfmarl.run.plan import make_plan
from sfmarl.specs import PolicySpec

FORWARD_ROWS = 256
"""Rows of one bare forward pass."""
PREPARED = 64
"""Joint actions drawn beforehand, so that drawing costs the environment nothing."""

Work = Callable[[], int]
"""Does a piece of work once and returns how many agent-steps that was."""


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
    """Forward, backward, clipping and Adam of actor and critic on one batch."""

    def roofline(self, forward: float, cores: int) -> float:
        """Return agent-steps per second of the whole machine."""
        return cores / (1 / self.env + 1 / forward + 1 / self.learn)


def measure(config: Config, batch_lanes: int, rounds: int, seconds: float) -> list[Pieces]:
    """Return one measurement per round, each piece running `seconds` on all cores at once.

    `batch_lanes` slots of `config.rollout` steps are the learner's batch.
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
    return [
        Pieces(*(statistics.mean(rates[piece] for rates in of_round) for piece in range(4)))
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
    config: Config, batch_lanes: int, rounds: int, seconds: float, core: int, barrier: Any, results: Any
) -> None:
    torch.set_num_threads(1)
    spec = make_plan(config, load_spec(config)).policies[0]
    works = (
        env_work(config, config.num_envs_per_worker // config.num_splits, seed=core),
        forward_torch_work(spec, config.hp.hidden),
        forward_product_work(spec, config),
        learn_work(spec, config, batch_lanes),
    )
    for work in works:
        work()  # allocations and caches
    measured = []
    for _ in range(rounds):
        rates = []
        for work in works:
            barrier.wait()
            rates.append(rate(work, seconds))
        measured.append(rates)
    results.put(measured)


def rate(work: Work, seconds: float) -> float:
    """Return agent-steps per second of repeating `work` for `seconds`."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += work()
    return done / spent


def env_work(config: Config, num_envs: int, seed: int) -> Work:
    """Return one step of `num_envs` environments with prepared random actions, resets included, nothing recorded."""
    rng = np.random.default_rng(seed)
    seeds = [seed * num_envs + e for e in range(num_envs)]
    return _native_work(config, seeds, rng) if is_native(config.env) else _dict_work(config, seeds, rng)


def _dict_work(config: Config, seeds: Sequence[int], rng: np.random.Generator) -> Work:
    envs = [make_env(config) for _ in seeds]
    for env, seed in zip(envs, seeds, strict=True):
        env.reset(seed=seed)
    agents = envs[0].possible_agents
    prepared = [{agent: int(rng.integers(envs[0].action_space(agent).n)) for agent in agents} for _ in range(PREPARED)]
    step = 0

    def work() -> int:
        nonlocal step
        for e, env in enumerate(envs):
            env.step(prepared[(step + e) % PREPARED])
            if not env.agents:
                env.reset()
        step += 1
        return len(envs) * len(agents)

    return work


def _native_work(config: Config, seeds: Sequence[int], rng: np.random.Generator) -> Work:
    env = make_vector_env(config, len(seeds), seeds)
    spec, running = env.spec, np.ones(len(seeds), bool)
    rows, outcome = new_obs_rows(spec, len(seeds)), new_outcome_rows(spec, len(seeds))
    prepared = [
        [random_actions(team.action, (len(seeds), len(team.agents)), rng) for team in spec.teams]
        for _ in range(PREPARED)
    ]
    env.reset(range(len(seeds)), rows)
    step = 0

    def work() -> int:
        nonlocal step
        ended = env.step(prepared[step % PREPARED], running, rows, outcome)
        if ended.any():
            env.reset(np.flatnonzero(ended).tolist(), rows)
        step += 1
        return len(seeds) * spec.num_agents

    return work


def forward_torch_work(spec: PolicySpec, hidden: Sequence[int]) -> Work:
    """Return one eager forward pass of an MLP on `FORWARD_ROWS` rows, with a sampled action and its log-probability."""
    sizes = (int(np.prod(spec.obs.shape)), *hidden)
    layers: list[nn.Module] = []
    for width, units in pairwise(sizes):
        layers += [nn.Linear(width, units), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(sizes[-1], spec.action.param_size))
    obs = torch.randn(FORWARD_ROWS, sizes[0])

    @torch.inference_mode()
    def work() -> int:
        log_probs = net(obs).log_softmax(-1)
        action = torch.multinomial(log_probs.exp(), 1)
        log_probs.gather(-1, action)
        return FORWARD_ROWS

    return work


def forward_product_work(spec: PolicySpec, config: Config) -> Work:
    """Return one pass of the inference worker's own actor on `FORWARD_ROWS` rows, normalisation and ids included."""
    agents = spec.num_agents
    acting = make_acting(PPO.build_actor(spec, config.hp), spec, torch.device("cpu"), seed=0)
    joint = -(-FORWARD_ROWS // agents)
    obs = np.random.default_rng(0).standard_normal((joint, agents, *spec.obs.shape)).astype(spec.obs.dtype)

    def work() -> int:
        acting.act(obs)
        return joint * agents

    return work


def learn_work(spec: PolicySpec, config: Config, batch_lanes: int) -> Work:
    """Return one bare pass of learning on a random batch of `batch_lanes` slots."""
    batch = random_batch(config.rollout, batch_lanes, spec)
    learner = get_algorithm(config.algo).cls(spec, config.hp, torch.device("cpu"), seed=1)
    bare = bare_learning(learner, batch, passes=1, minibatches=1)

    def work() -> int:
        bare()
        return batch.reward.numel()

    return work


def random_batch(steps: int, lanes: int, spec: PolicySpec) -> Batch:
    """Return a batch of a discrete policy whose every row is active; every 25th step is truncated."""
    generator = torch.Generator().manual_seed(0)
    lead = (steps, lanes, spec.num_agents)
    actions = spec.action.nvec[0]
    done = torch.zeros(lead, dtype=torch.bool)
    done[24::25] = True
    return Batch(
        obs=torch.randn((steps + 1, *lead[1:], *spec.obs.shape), generator=generator),
        active=torch.ones((steps + 1, *lead[1:]), dtype=torch.bool),
        is_first=torch.zeros((steps + 1, *lead[1:]), dtype=torch.bool),
        action=torch.randint(actions, lead, generator=generator),
        log_prob=torch.full(lead, -float(np.log(actions))),
        reward=torch.randn(lead, generator=generator),
        terminated=torch.zeros(lead, dtype=torch.bool),
        truncated=done,
        policy_version=torch.zeros((steps, lanes), dtype=torch.int64),
    )


def bare_learning(learner: PPO, batch: Batch, passes: int, minibatches: int) -> Callable[[], None]:
    """Return a function that does the networks' part of an update and nothing else."""
    actor, critic = learner.actor, learner.critic
    spec = learner.spec.action
    adam = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-6, fused=True)
    obs = actor.prepare(batch.obs[:-1])
    parts = [
        (rows, critic.gather(rows, None), action)
        for rows, action in zip(
            obs.flatten(0, 1).chunk(minibatches), batch.action.flatten(0, 1).chunk(minibatches), strict=True
        )
    ]

    def work() -> None:
        for _ in range(passes):
            for rows, critic_rows, action in parts:
                log_prob, entropy = distributions.evaluate(spec, actor.head(rows), action)
                loss = log_prob.mean() + entropy.mean() + critic(critic_rows).square().mean()
                adam.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(actor.parameters(), 10.0)
                nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
                adam.step()

    return work
