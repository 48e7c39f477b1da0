"""What the GPU benchmark works on: policies, rows, batches, a learner and a data plane, all small and random."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from bare_product import random_batch
from torch import Tensor

from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.ppo import PPO
from sfmarl.memory.plane import PlaneSpec
from sfmarl.models.actor import Actor
from sfmarl.models.recurrence import Memory
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, PolicySpec, TeamSpec

FLOATS, PIXELS = np.dtype(np.float32), np.dtype(np.uint8)


def policy_spec(obs: ObsSpec, kind: str = "discrete", masked: bool = False, agents: int = 3) -> PolicySpec:
    """Return a policy of one team, which shares its parameters."""
    actions = {
        "discrete": ActionSpec("discrete", (5,), (0,)),
        "multi_discrete": ActionSpec("multi_discrete", (3, 4), (0, 0)),
        "continuous": ActionSpec("continuous", (), (), np.full(2, -1, np.float32), np.full(2, 1, np.float32), (2,)),
    }
    names = tuple(f"agent_{i}" for i in range(agents))
    return PolicySpec("team", obs, actions[kind], masked, names, (0,) * agents, "own", ())


def policies() -> dict[str, tuple[PolicySpec, dict[str, Any]]]:
    """Return name -> (policy, settings of its networks)."""
    vector, image = ObsSpec((18,), FLOATS), ObsSpec((36, 36, 4), PIXELS)
    return {
        "mlp": (policy_spec(vector), {}),
        "masked": (policy_spec(vector, "multi_discrete", masked=True), {"layer_norm": True}),
        "continuous": (policy_spec(vector, "continuous"), {"activation": "relu"}),
        "gru": (policy_spec(vector), {"actor_rnn": "gru"}),
        "image": (policy_spec(image), {}),
    }


def rows_of(spec: PolicySpec, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """Return random (obs [rows, A, *obs], mask [rows, A, n] or None)."""
    shape = (rows, spec.num_agents, *spec.obs.shape)
    obs = rng.integers(256, size=shape) if spec.obs.dtype == PIXELS else rng.normal(size=shape)
    mask = None
    if spec.has_mask:
        mask = rng.random((*shape[:2], spec.action.mask_size)) < 0.7
        first = np.cumsum((0, *spec.action.nvec[:-1]))
        mask[..., first] = True  # every component has a legal choice
    return obs.astype(spec.obs.dtype), mask


@torch.no_grad()
def evaluated(
    actor: Actor,
    obs: np.ndarray,
    action: np.ndarray,
    mask: np.ndarray | None,
    state: Tensor | None,
    is_first: np.ndarray | None,
) -> tuple[np.ndarray, Tensor | None]:
    """Return (log-probability [B, A], rnn state after the rows) as the learner computes them."""
    device = next(actor.parameters()).device

    def tensor(x: np.ndarray | None) -> Tensor | None:
        return None if x is None else torch.from_numpy(x).to(device)

    prepared = actor.prepare(tensor(obs))
    if state is None:
        return actor.evaluate(prepared, tensor(action), tensor(mask))[0].cpu().numpy(), None
    memory = Memory(state, tensor(is_first)[None])
    masks = None if mask is None else tensor(mask)[None]
    log_prob, _ = actor.evaluate(prepared[None], tensor(action)[None], masks, None, memory)
    return log_prob[0].cpu().numpy(), actor.unroll(prepared[None], memory)[1]


def learner(device: torch.device, spec: PolicySpec | None = None, **settings: Any) -> PPO:
    """Return a PPO of one epoch."""
    hp = Hyperparameters(**{"critic": "own", "epochs": 1, "target_kl": 0.0, **settings})
    return PPO(spec or policies()["mlp"][0], hp, device, seed=1)


def batch(spec: PolicySpec, lanes: int, steps: int = 32) -> Batch:
    """Return a random batch [steps, lanes], on the CPU."""
    made = random_batch(steps, lanes, spec)
    if spec.obs.dtype == PIXELS:
        made.obs = torch.randint(256, made.obs.shape, dtype=torch.uint8)
    return made


def plane_spec(obs: ObsSpec | None = None, envs: int = 8, rollout: int = 32) -> PlaneSpec:
    """Return a data plane of one worker with two splits of `envs` and one team."""
    spec = policy_spec(obs or ObsSpec((18,), FLOATS))
    team = TeamSpec("team", spec.agents, spec.obs, spec.action, False)
    return PlaneSpec(
        EnvSpec("stand-in", (team,)),
        workers=1,
        splits=2,
        envs_per_split=envs,
        inference_workers=1,
        rollout=rollout,
        ring=2,
        policy_of_team=(0,),
        weight_sizes=(1,),
    )
