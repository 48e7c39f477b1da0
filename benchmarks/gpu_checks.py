"""What must be right on a GPU before its speed means anything. Every check also runs on the CPU, where it is easier.

Each takes the device and raises AssertionError with what is wrong.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from itertools import pairwise

import gpu_parts
import numpy as np
import torch

from sfmarl.algorithms.compiling import compiler_fault
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from sfmarl.memory.device_weights import DeviceWeightsReader, DeviceWeightsWriter, Sharing
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.registered import registered
from sfmarl.memory.segment import Layout, Segment
from sfmarl.memory.weights import WeightStore, plan_weights
from sfmarl.models.acting import flat_size, flatten_into
from sfmarl.models.acting_torch import TorchActing
from sfmarl.workers.gather import Chosen, Staging

BATCHES = (5, 32, 33, 200, 33, 5)
"""Rows of consecutive calls: buckets are entered, left and entered again."""


def acting(device: torch.device) -> None:
    """Captured graphs act as the learner evaluates, in every bucket, with memory, and after weights were replaced."""
    for name, (spec, settings) in gpu_parts.policies().items():
        hp = Hyperparameters(critic="own", **settings)
        first, second = (PPO.build_actor(spec, hp, seed).to(device) for seed in (1, 2))
        policy = TorchActing(first, spec, device, seed=0)
        rng = np.random.default_rng(0)
        for actor in (first, second):
            flat = np.empty(flat_size(actor), np.float32)
            flatten_into(actor, flat)
            policy.load(flat)
            for rows in BATCHES:
                obs, mask = gpu_parts.rows_of(spec, rows, rng)
                memory, state = {}, policy.new_state(rows, spec.num_agents)
                if state is not None:
                    state.normal_()
                    memory = {"rnn_state": state.clone(), "is_first": rng.random((rows, spec.num_agents)) < 0.3}
                # in three pieces, as splits that are answered together lie
                cuts = [0, rows // 5, rows // 2, rows]
                parts = [obs[a:b] for a, b in pairwise(cuts)]
                masks = None if mask is None else [mask[a:b] for a, b in pairwise(cuts)]
                action, log_prob = policy.act(parts, masks, **memory)
                wanted, after = gpu_parts.evaluated(actor, obs, action, mask, state, memory.get("is_first"))
                off = float(np.abs(wanted - log_prob).max())
                assert off < 2e-3, f"{name}: log-probabilities of {rows} rows are off by {off:.2g}"
                if state is not None:
                    moved = float((memory["rnn_state"] - after).abs().max())
                    assert moved < 1e-2, f"{name}: the rnn state of {rows} rows is off by {moved:.2g}"


def registered_slots(device: torch.device) -> None:
    """The segment can be page-locked, and what the learner gets from it is what lies in the slots."""
    plane = DataPlane.create(gpu_parts.plane_spec())
    blocks = plane.blocks(policy=0)
    rng = np.random.default_rng(0)
    for block in blocks:
        block.obs[...] = rng.normal(size=block.obs.shape)
        block.reward[...] = rng.normal(size=block.reward.shape)
        block.action[...] = rng.integers(5, size=block.action.shape)
    lanes = blocks[0].spec.lanes
    chosen = [Chosen(blocks[1], 1, slice(None), lanes, 1), Chosen(blocks[0], 0, np.array([1, 3]), 2, 1),
              Chosen(blocks[0], 1, slice(3), 3, 1)]  # fmt: skip
    refusals: list[str] = []
    with registered(plane.segment, device, refusals.append) as locked:
        assert not refusals, refusals
        assert locked == (device.type == "cuda")
        for direct_bytes in (0, 1 << 40):
            batch = Staging(blocks, lanes + 5, device, direct_bytes=direct_bytes).fill(chosen)
            wanted = Staging(blocks, lanes + 5, torch.device("cpu")).fill(chosen)
            for block in blocks:
                block.obs[...] += 1  # released slots are written again
            for field in ("obs", "reward", "action", "lane"):
                assert torch.equal(getattr(batch, field).cpu(), getattr(wanted, field)), f"{field} differs"


def resume(device: torch.device) -> None:
    """A state saved on the device goes on on the CPU."""
    there = gpu_parts.learner(device)
    there.update(gpu_parts.batch(there.spec, 4).to(device), 0.0)
    here = gpu_parts.learner(torch.device("cpu"))
    here.load_state_dict(there.state_dict())
    ours, theirs = here.state_dict()["tensors"], there.state_dict()["tensors"]
    assert all(torch.equal(ours[name], theirs[name].cpu()) for name in ours)


def bfloat16(device: torch.device) -> None:
    """At lag 0 the ratio is 1 within bfloat16, and the heads are float32."""
    for name, (spec, settings) in gpu_parts.policies().items():
        hp = Hyperparameters(critic="own", precision="bfloat16", **settings)
        actor = PPO.build_actor(spec, hp, 1).to(device)
        policy = TorchActing(actor, spec, device, seed=0)
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
        policy.load(flat)
        obs, mask = gpu_parts.rows_of(spec, 50, np.random.default_rng(0))
        state = policy.new_state(50, spec.num_agents)
        first = np.ones((50, spec.num_agents), bool)
        memory = {} if state is None else {"rnn_state": state.clone(), "is_first": first}
        action, log_prob = policy.act(obs, mask, **memory)
        wanted, _ = gpu_parts.evaluated(actor, obs, action, mask, state, first)
        off = float(np.abs(np.exp(wanted - log_prob) - 1.0).max())
        assert off < 2.0**-5, f"{name}: the ratio is off by {off:.2g}"


def compiled(device: torch.device) -> None:
    """The compiled step learns what the plain one does."""
    fault = compiler_fault(device.type)
    assert fault is None, fault
    found = []
    same = gpu_parts.batch(gpu_parts.learner(device).spec, 8).to(device)
    for compile_ in (False, True):
        algorithm = gpu_parts.learner(device, compile=compile_)
        algorithm.update(same, 0.0)
        found.append(torch.cat([p.detach().flatten() for p in algorithm.actor.parameters()]))
    off = float((found[0] - found[1]).abs().max())
    assert off < 1e-4, f"weights differ by {off:.2g}"


def device_weights(device: torch.device, sharing: Sharing | None = None) -> None:
    """Another process reads each version from the device; a replaced learner's successor is found."""
    layout = Layout()
    plan_weights(layout, 0, 1000)
    segment = Segment(layout)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read_versions, args=(segment, theirs, str(device), sharing))
    child.start()
    try:
        version = 0
        for _ in range(2):
            writer = DeviceWeightsWriter(WeightStore(segment, 0), device, sharing)
            assert writer.available, "the device shares no memory between processes"
            for _ in range(5):
                version += 1
                writer.write(torch.full((1000,), float(version), device=device), version)
                WeightStore(segment, 0).publish(np.full(1000, -1, np.float32), version)
                ours.send(version)
                assert ours.poll(60), "the reader does not answer"
                assert (answer := ours.recv()) == (version, float(version)), f"version {version} was read as {answer}"
    finally:
        ours.send(None)
        child.join(10)
        if child.is_alive():
            child.kill()


def _read_versions(segment: Segment, pipe, device: str, sharing: Sharing | None) -> None:
    where = torch.device(device)
    reader, out = DeviceWeightsReader(WeightStore(segment, 0), where, sharing), torch.empty(1000, device=where)
    while pipe.recv() is not None:
        version = reader.read(out)
        pipe.send((version, float(out[0]) if bool((out == out[0]).all()) else float("nan")))


CHECKS: dict[str, Callable[[torch.device], None]] = {
    "captured acting is the learner's policy": acting,
    "registered slots reach the learner": registered_slots,
    "resume from the GPU on the CPU": resume,
    "bfloat16 acts as it learns": bfloat16,
    "compiled step is the plain one": compiled,
    "weights handed over on the device": device_weights,
}


def run(device: torch.device, names: list[str] | None = None) -> dict[str, str]:
    """Return check -> "ok", or what went wrong."""
    found = {}
    for name in names or CHECKS:
        try:
            CHECKS[name](device)
            found[name] = "ok"
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            found[name] = f"{type(error).__name__}: {lines[0]}"
        print(f"{name:45}{found[name]}", flush=True)
    return found
