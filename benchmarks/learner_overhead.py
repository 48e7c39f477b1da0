"""What a learner's update costs beyond the networks themselves.

    python benchmarks/learner_overhead.py --lanes 128 --epochs 1

Prints the CPU time of `PPO.update` beside that of the bare work on the same rows: forward, backward, gradient clipping
and Adam, as many times, without the passes an algorithm needs to make its targets. The two take turns, so that both
meet the same machine; each is the median of several rounds. One torch thread by default.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from bare_product import bare_learning, random_batch
from timing import cpu_seconds, medians

from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.registry import get_algorithm
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec


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
                batch = random_batch(args.steps, args.lanes, spec)
                works = (bare_learning(algorithm, batch, epochs, minibatches), partial(algorithm.update, batch, 0.0))
                bare, update = medians([partial(cpu_seconds, work) for work in works], args.rounds)
                print(
                    f"{preset:8}{epochs:8}{minibatches:13}{1e3 * bare:10.2f}{1e3 * update:11.2f}"
                    f"{update / bare:8.3f}{1e6 * update / samples:15.2f}"
                )


if __name__ == "__main__":
    main()
