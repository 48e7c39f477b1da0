"""What a row of acting costs on one core: plain eager torch, sfmarl's torch path, and what `make_acting` chooses.

    python benchmarks/acting.py
    python benchmarks/acting.py --env gru --rounds 50

Prints rows/s of acting on 256 rows, normalisation, ids, sampling and log-probability included (eager torch does without
the first two, see `bare_eager.py`). The three take turns; medians of CPU time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from bare_eager import forward_torch_work
from bare_env import Bare
from bare_product import forward_product_work
from timing import cpu_seconds, medians
from works import WORKS, configure

from sfmarl.envs.registry import load_spec
from sfmarl.models.acting import Acting, flat_size, flatten_into, make_acting
from sfmarl.models.acting_torch import TorchActing
from sfmarl.models.actor import Actor
from sfmarl.run.plan import make_plan
from sfmarl.specs import PolicySpec
from sfmarl.threads import use_threads

CALLS = 20
"""Calls of one timing."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["native", "dict", "masks", "gru"]
    parser.add_argument("--env", nargs="+", choices=list(WORKS), default=names, help="works, see works.py")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()

    use_threads(1)
    print("| work | eager torch, rows/s | torch path | chosen | chosen : eager |\n|---|---|---|---|---|")
    for name in args.env:
        eager, path, chosen = rates(name, args.rounds)
        print(f"| {name} | {eager:,.0f} | {path:,.0f} | {chosen:,.0f} | {chosen / eager:.2f} |", flush=True)


def rates(name: str, rounds: int) -> list[float]:
    """Return rows/s of eager torch, of `TorchActing` and of what `make_acting` chooses for the work's first policy."""
    config = configure(name, "appo", 2, 64)
    plan = make_plan(config, load_spec(config))
    spec, hp, turns = plan.policies[0], plan.learning[0].hp, plan.env.turn_based
    agents = 1 if turns else spec.num_agents

    def own(make: Callable[..., Acting]) -> Bare:
        return forward_product_work(spec, plan.learning[0].algo, hp, agents, turns, make)

    works = [forward_torch_work(spec, hp), own(torch_path), own(make_acting)]
    done = [CALLS * work() for work in works]
    timings = [partial(cpu_seconds, partial(repeat, work)) for work in works]
    return [count / seconds for count, seconds in zip(done, medians(timings, rounds), strict=True)]


def torch_path(actor: Actor, spec: PolicySpec, device: torch.device, seed: int) -> TorchActing:
    """Return the actor in torch, whatever `make_acting` would choose."""
    acting = TorchActing(actor, spec, device, seed)
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    acting.load(flat)
    return acting


def repeat(work: Bare) -> None:
    """Do `work` CALLS times."""
    for _ in range(CALLS):
        work()


if __name__ == "__main__":
    main()
