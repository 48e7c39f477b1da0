"""Batches made by really acting on random observations, so that log-probabilities are the actor's own."""

from __future__ import annotations

import numpy as np
import torch

from sfmarl.algorithms.base import Batch
from sfmarl.models.acting import make_acting
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec

ACTIONS = {
    "discrete": ActionSpec("discrete", (4,), (0,)),
    "multi_discrete": ActionSpec("multi_discrete", (3, 2), (0, 0)),
    "continuous": ActionSpec("continuous", (), (), np.full(2, -1, np.float32), np.full(2, 1, np.float32), (2,)),
}


def policy_spec(
    kind="discrete", agents=3, sets=None, masked=False, features=5, source="own", state_shape=()
) -> PolicySpec:
    return PolicySpec(
        name="team",
        obs=ObsSpec((features,), np.dtype(np.float32)),
        action=ACTIONS[kind],
        has_mask=masked,
        agents=tuple(f"agent_{i}" for i in range(agents)),
        parameter_set=sets or (0,) * agents,
        state_source=source,
        state_shape=state_shape,
    )


def random_mask(rng, shape, nvec) -> np.ndarray:
    """Masks [*shape, sum(nvec)] with at least one legal action in every component."""
    parts = []
    for n in nvec:
        part = rng.random((*shape, n)) < 0.5
        part[..., rng.integers(n)] = True
        parts.append(part)
    return np.concatenate(parts, -1)


def acted_batch(
    spec: PolicySpec, actor, steps=6, lanes=8, seed=0, cuts=True, deaths=False, lanes_of_one=False
) -> Batch:
    """A batch on random observations whose actions and log-probabilities `actor` produced."""
    rng = np.random.default_rng(seed)
    agents = 1 if lanes_of_one else spec.num_agents
    lead = (steps + 1, lanes, agents)
    obs = rng.normal(size=(*lead, *spec.obs.shape)).astype(np.float32)
    mask = random_mask(rng, lead, spec.action.nvec) if spec.has_mask else None
    index = rng.integers(spec.num_agents, size=(lanes, agents)) if lanes_of_one else None
    acting = make_acting(actor, spec, "cpu", seed)
    action = np.empty((steps, lanes, agents, *spec.action.shape), spec.action.dtype)
    log_prob = np.empty((steps, lanes, agents), np.float32)
    active = np.ones(lead, bool)
    if deaths:
        active &= rng.random(lead) < 0.7
    is_first, state = np.zeros(lead, bool), acting.new_state(lanes, agents)
    if state is not None:
        # whoever was dead begins a new life
        is_first[1:] = active[1:] & (~active[:-1] | (rng.random(active[1:].shape) < 0.2))
        state.copy_(torch.from_numpy(rng.normal(size=state.shape)))
    actor_state = None if state is None else state.clone()
    for t in range(steps):
        action[t], log_prob[t] = acting.act(
            obs[t], None if mask is None else mask[t], index, rnn_state=state, is_first=is_first[t]
        )
    ended = rng.random((steps, lanes, agents)) < (0.3 if cuts else 0.0)
    terminated = ended & (rng.random(ended.shape) < 0.5)
    batch = Batch(
        obs=torch.from_numpy(obs),
        active=torch.from_numpy(active),
        is_first=torch.from_numpy(is_first),
        action=torch.from_numpy(action if spec.action.kind == "continuous" else action.astype(np.int64)),
        log_prob=torch.from_numpy(log_prob),
        reward=torch.from_numpy(rng.normal(size=ended.shape).astype(np.float32)),
        terminated=torch.from_numpy(terminated & active[:-1]),
        truncated=torch.from_numpy(ended & ~terminated & active[:-1]),
        policy_version=torch.zeros((steps, lanes), dtype=torch.int64),
        action_mask=None if mask is None else torch.from_numpy(mask),
        agent_index=None if index is None else torch.from_numpy(index),
        actor_state=actor_state,
        lane=torch.arange(lanes),
        number=torch.zeros(lanes, dtype=torch.int64),
        generation=torch.zeros(lanes, dtype=torch.int64),
        num_lanes=lanes,
    )
    if spec.state_source == "env":
        batch.state = torch.from_numpy(rng.normal(size=(steps + 1, lanes, *spec.state_shape)).astype(np.float32))
    return batch
