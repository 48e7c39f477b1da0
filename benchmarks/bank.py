"""Acting for many frozen policies: all at once against one after the other.

    python benchmarks/bank.py
    python benchmarks/bank.py --actions continuous        (in torch instead of NumPy)
    python benchmarks/bank.py --mix skewed --device cuda

Prints rows/s of a `WeightBank` for so many policies in use and so many rows: `together` is what sorts the rows and
takes all policies through each layer, `loop` acts for one policy after the other. 84 numbers are observed (connect
four's), of 7 actions about half are legal. In an even mix every row draws its policy; in a skewed one half of the rows
play the same, as when most matches are against the latest. The two take turns; medians of wall time, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from timing import medians

from sfmarl.models.acting import flat_size, flatten_into
from sfmarl.models.actor import Actor
from sfmarl.models.bank import WeightBank, bank_bytes
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from sfmarl.threads import use_threads

FEATURES, ACTIONS = 84, 7
IN_USE = (1, 2, 3, 4, 6, 8, 16, 32, 64)
ROWS = (64, 256, 1024, 2048)
CALLS = 3
"""Calls of one timing."""


def main() -> None:
    """Measure and print a table per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", choices=["discrete", "continuous"], default="discrete")
    parser.add_argument("--mix", choices=["even", "skewed"], default="even")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128], help="units of both hidden layers")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()

    use_threads(1)
    device = torch.device(args.device)
    spec = policy(args.actions)
    for units in args.hidden:
        bank = filled(spec, units, device)
        mib = bank_bytes(Actor(spec, NetConfig(hidden=(units, units))), spec, bank.capacity, device) / 2**20
        what = f"{args.actions}, hidden {units}-{units}, {args.mix} mix, {device}"
        print(f"\n{what}, {bank.capacity} policies: {mib:.1f} MiB\n")
        print("| policies in use | rows | loop, rows/s | together, rows/s | together : loop | chosen |")
        print("|---|---|---|---|---|---|")
        for rows in ROWS:
            for in_use in IN_USE:
                loop, together = rates(bank, spec, who_plays(args.mix, rows, in_use), args.rounds)
                chosen = "together" if bank.takes_at_once(in_use, rows) else "loop"
                print(
                    f"| {in_use} | {rows} | {loop:,.0f} | {together:,.0f} | {together / loop:.2f} | {chosen} |",
                    flush=True,
                )


def policy(kind: str) -> PolicySpec:
    """Return a policy of one agent."""
    action = ActionSpec("discrete", (ACTIONS,), (0,))
    if kind == "continuous":
        bounds = np.ones(ACTIONS, np.float32)
        action = ActionSpec("continuous", low=-bounds, high=bounds, env_shape=(ACTIONS,))
    obs = ObsSpec((FEATURES,), np.dtype(np.float32))
    return PolicySpec("p", obs, action, kind == "discrete", ("player",), (0,))


def filled(spec: PolicySpec, units: int, device: torch.device) -> WeightBank:
    """Return a bank with as many policies as are ever in use."""
    actor = Actor(spec, NetConfig(hidden=(units, units)))
    bank = WeightBank(actor, spec, max(IN_USE), device, seed=0)
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    for slot in range(bank.capacity):
        bank.load(slot, flat)
    return bank


def who_plays(mix: str, rows: int, in_use: int) -> np.ndarray:
    """Return the bank slot of each row: each policy at least once, if there are rows enough."""
    rng = np.random.default_rng(0)
    slot = np.concatenate([np.arange(in_use), rng.integers(in_use, size=rows)])[:rows]
    if mix == "skewed":
        slot[in_use:][rng.random(len(slot[in_use:])) < 0.5] = 0
    return rng.permutation(slot)


def rates(bank: WeightBank, spec: PolicySpec, slot: np.ndarray, rounds: int) -> list[float]:
    """Return rows/s (one by one, all at once)."""
    rng = np.random.default_rng(0)
    rows = len(slot)
    obs = rng.normal(size=(rows, 1, FEATURES)).astype(np.float32)
    mask = None
    if spec.has_mask:
        mask = rng.random((rows, 1, ACTIONS)) < 0.5
        mask[..., 0] = True
    ways = (bank.one_by_one, bank.batched.act)
    timings = [partial(seconds, partial(act, obs, slot, mask, None, False)) for act in ways]
    return [rows / taken for taken in medians(timings, rounds)]


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call; what acts has copied its answer to the host when it returns."""
    start = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - start) / CALLS


if __name__ == "__main__":
    main()
