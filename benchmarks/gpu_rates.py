"""How fast the pieces are on a device, each alone: gathering slots, acting, learning."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gpu_parts
import numpy as np
import torch
from gpu_parts import FLOATS, PIXELS

from sfmarl.memory.plane import DataPlane
from sfmarl.memory.registered import registered
from sfmarl.models.acting_torch import TorchActing
from sfmarl.specs import ObsSpec
from sfmarl.transfers import DIRECT_BYTES
from sfmarl.workers.gather import Chosen, Staging

VECTOR, IMAGE = ObsSpec((18,), FLOATS), ObsSpec((84, 84, 4), PIXELS)
NETWORKS = {"mlp": VECTOR, "image": IMAGE}
"""What the network's agents observe."""


def seconds_of(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median time of one call, everything on the device included."""

    def once() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for _ in range(3):
        once()
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        taken.append(once())
    return statistics.median(taken)


def gathering(device: torch.device, seconds: float = 1.0, envs: int = 64) -> dict[str, float]:
    """Return GB/s from two slots into a batch: each field on its own way, all alone, all gathered on the host."""
    rates = {}
    for name, obs in (("vectors", VECTOR), ("pictures", IMAGE)):
        plane = DataPlane.create(gpu_parts.plane_spec(obs, envs if obs is VECTOR else max(2, envs // 8)))
        blocks = plane.blocks(policy=0)
        lanes = blocks[0].spec.lanes
        chosen = [Chosen(block, 0, slice(None), lanes, 1) for block in blocks]
        size = sum(getattr(b, field)[0].nbytes for b in blocks for field in Staging.FIELDS
                   if getattr(b, field) is not None)  # fmt: skip
        with registered(plane.segment, device, print):
            for way, direct_bytes in (("as it is", DIRECT_BYTES), ("alone", 0), ("gathered", 1 << 60)):
                staging = Staging(blocks, 2 * lanes, device, direct_bytes=direct_bytes)
                taken = seconds_of(partial(staging.fill, chosen), device, seconds)
                rates[f"gather {name}, {way}, GB/s"] = size / taken / 1e9
    return rates


def acting(
    device: torch.device,
    seconds: float = 1.0,
    rows: tuple[int, ...] = (256, 4096),
    networks: tuple[str, ...] = ("mlp", "image"),
) -> dict[str, float]:
    """Return agent-rows/s of acting, by network, precision and joint rows of a call."""
    rates = {}
    for name in networks:
        obs = NETWORKS[name]
        for precision in ("float32", "bfloat16"):
            spec = gpu_parts.policy_spec(obs)
            actor = gpu_parts.learner(device, spec, precision=precision).actor
            policy = TorchActing(actor, spec, device, seed=0)
            for count in rows:
                count = count if obs is VECTOR else max(1, count // 16)
                inputs, _ = gpu_parts.rows_of(spec, count, np.random.default_rng(0))
                taken = seconds_of(partial(policy.act, inputs), device, seconds)
                rates[f"act {name}, {precision}, {count} rows, agent-steps/s"] = count * spec.num_agents / taken
    return rates


def learning(
    device: torch.device,
    seconds: float = 1.0,
    lanes: int = 1024,
    networks: tuple[str, ...] = ("mlp", "image"),
    variants: Sequence[dict[str, Any]] = ({}, {"precision": "bfloat16"}, {"compile": True}),
) -> dict[str, float]:
    """Return agent-steps/s of updates of one epoch, by network and what is not as by default."""
    rates = {}
    for name in networks:
        obs = NETWORKS[name]
        for settings in variants:
            spec = gpu_parts.policy_spec(obs)
            algorithm = gpu_parts.learner(device, spec, **settings)
            made = gpu_parts.batch(spec, lanes if obs is VECTOR else max(1, lanes // 64)).to(device)
            taken = seconds_of(partial(algorithm.update, made, 0.0), device, seconds)
            label = ", ".join([f"learn {name}", *(f"{key}={value}" for key, value in settings.items())])
            rates[f"{label}, agent-steps/s"] = made.reward.numel() / taken
    return rates
