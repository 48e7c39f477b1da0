"""What a learner's update costs beyond the networks themselves.

    python benchmarks/learner_overhead.py --lanes 128 --epochs 1

Prints the CPU time of `PPO.update` beside that of the bare work on the same rows: forward, backward, gradient clipping
and Adam, as many times, without the passes an algorithm needs to make its targets. The two take turns, so that both
meet the same machine; each is the median of several rounds. One torch thread by default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.registry import get_algorithm
from sfmarl.models import distributions
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec


def random_batch(steps: int, lanes: int, agents: int, features: int, actions: int) -> Batch:
    """Return a batch whose every row is active."""
    generator = torch.Generator().manual_seed(0)
    lead = (steps, lanes, agents)
    done = torch.zeros(lead, dtype=torch.bool)
    done[24::25] = True
    return Batch(
        obs=torch.randn((steps + 1, lanes, agents, features), generator=generator),
        active=torch.ones((steps + 1, lanes, agents), dtype=torch.bool),
        is_first=torch.zeros((steps + 1, lanes, agents), dtype=torch.bool),
        action=torch.randint(actions, lead, generator=generator),
        log_prob=torch.full(lead, -float(np.log(actions))),
        reward=torch.randn(lead, generator=generator),
        terminated=torch.zeros(lead, dtype=torch.bool),
        truncated=done,
        policy_version=torch.zeros((steps, lanes), dtype=torch.int64),
    )


def bare_work(algorithm: PPO, batch: Batch, passes: int, minibatches: int) -> Callable[[], None]:
    """Return a function that does the networks' part of an update and nothing else."""
    actor, critic = algorithm.actor, algorithm.critic
    spec = algorithm.spec.action
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


def median_seconds(works: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return each work's median CPU time over `rounds` turns, after one that warms up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, spent in zip(works, times, strict=True):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
    return [float(np.median(spent[1:])) for spent in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=32, help="time steps of a slot")
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--features", type=int, default=18, help="observation size")
    parser.add_argument("--actions", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--minibatches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--presets", nargs="+", default=["ippo", "mappo", "appo", "a2c"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batch = random_batch(args.steps, args.lanes, args.agents, args.features, args.actions)
    samples = args.steps * args.lanes * args.agents
    print(f"{samples} agent-steps per update, {args.threads} thread(s), torch {torch.__version__}")
    print(
        f"{'preset':8}{'epochs':>8}{'minibatches':>13}{'bare ms':>10}{'update ms':>11}{'ratio':>8}{'us/agent-step':>15}"
    )
    for preset in args.presets:
        for epochs in args.epochs:
            for minibatches in args.minibatches:
                entry = get_algorithm(preset)
                hp = entry.hyperparameters()
                hp.epochs, hp.minibatches, hp.target_kl, hp.lr = epochs, minibatches, 0.0, 1e-6
                spec = PolicySpec(
                    name="benchmark",
                    obs=ObsSpec((args.features,), np.dtype(np.float32)),
                    action=ActionSpec("discrete", (args.actions,), (0,)),
                    has_mask=False,
                    agents=tuple(range(args.agents)),
                    parameter_set=(0,) * args.agents,
                    state_source="joint" if hp.critic == "state" else "own",
                )
                algorithm = PPO(spec, hp, torch.device("cpu"), seed=1)
                works = [bare_work(algorithm, batch, epochs, minibatches), lambda a=algorithm: a.update(batch, 0.0)]
                bare, update = median_seconds(works, args.rounds)
                print(
                    f"{preset:8}{epochs:8}{minibatches:13}{1e3 * bare:10.2f}{1e3 * update:11.2f}"
                    f"{update / bare:8.3f}{1e6 * update / samples:15.2f}"
                )


if __name__ == "__main__":
    main()
