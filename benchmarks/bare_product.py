"""Acting and learning with sfmarl's own networks and nothing around them: the roofline nobody can call a straw man."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bare_eager import FORWARD_ROWS, random_masks, random_obs
from bare_env import Bare
from torch import nn

from sfmarl.algorithms import get_algorithm
from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.ppo import PPO
from sfmarl.models.acting import Acting, make_acting
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec


def forward_product_work(
    spec: PolicySpec,
    algo: str,
    hp: Any,
    agents: int,
    turn_based: bool = False,
    make: Callable[..., Acting] = make_acting,
) -> Bare:
    """Return one pass of the inference worker's own actor on `FORWARD_ROWS` rows, normalisation and ids included.

    `agents` are those of a lane; where turns alternate its rows say whose they are. `make` has the signature of
    `make_acting`.
    """
    acting = make(get_algorithm(algo).cls.build_actor(spec, hp), spec, torch.device("cpu"), 0)
    joint = -(-FORWARD_ROWS // agents)
    obs = random_obs(spec, (joint, agents)).numpy().astype(spec.obs.dtype)
    mask = random_masks(spec, (joint, agents))
    mask = None if mask is None else mask.numpy()
    index = np.arange(joint)[:, None] % spec.num_agents if turn_based else None
    state = acting.new_state(joint, agents)
    is_first = None if state is None else np.zeros((joint, agents), bool)

    def work() -> int:
        acting.act(obs, mask, index, rnn_state=state, is_first=is_first)
        return joint * agents

    return work


def learn_product_work(
    spec: PolicySpec, algo: str, hp: Any, steps: int, lanes: int, agents: int, turn_based: bool = False
) -> Bare:
    """Return one bare pass of the algorithm's networks on a random batch of `lanes` slots."""
    batch = random_batch(steps, lanes, spec, agents, turn_based)
    learner = get_algorithm(algo).cls(spec, hp, torch.device("cpu"), seed=1)
    bare = bare_learning(learner, batch, passes=1, minibatches=1)

    def work() -> int:
        bare()
        return batch.reward.numel()

    return work


def random_batch(steps: int, lanes: int, spec: PolicySpec, agents: int = 0, turn_based: bool = False) -> Batch:
    """Return a batch of a discrete policy whose every row is active; every 25th step is truncated.

    `agents` are those of a lane; 0 = the policy's.
    """
    generator = torch.Generator().manual_seed(0)
    lead = (steps, lanes, agents or spec.num_agents)
    more = (steps + 1, *lead[1:])
    actions = spec.action.nvec[0]
    done = torch.zeros(lead, dtype=torch.bool)
    done[24::25] = True
    is_first = torch.zeros(more, dtype=torch.bool)
    is_first[25::25] = True
    mask = random_masks(spec, more)
    action = torch.randint(actions, lead, generator=generator)
    if mask is not None:
        mask[:steps].scatter_(-1, action[..., None], True)
    obs = random_obs(spec, more)
    return Batch(
        obs=obs.to(torch.from_numpy(np.empty(0, spec.obs.dtype)).dtype),
        active=torch.ones(more, dtype=torch.bool),
        is_first=is_first,
        action=action,
        log_prob=torch.full(lead, -float(np.log(actions))),
        reward=torch.randn(lead, generator=generator),
        terminated=torch.zeros(lead, dtype=torch.bool),
        truncated=done,
        policy_version=torch.zeros((steps, lanes), dtype=torch.int64),
        action_mask=mask,
        state=torch.randn((*more[:2], *spec.state_shape)) if spec.state_source == "env" else None,
        agent_index=torch.arange(lanes)[:, None] % spec.num_agents if turn_based else None,
    )


def bare_learning(learner: PPO, batch: Batch, passes: int, minibatches: int) -> Callable[[], None]:
    """Return a function that does the networks' part of an update and nothing else.

    Minibatches are whole lanes where there is a memory, else steps.
    """
    actor, critic = learner.actor, learner.critic
    adam = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-6, fused=True)
    steps, lanes = batch.reward.shape[:2]
    remembers = bool(actor.state_size or critic.state_size)
    obs = actor.prepare(batch.obs[:steps])
    rows = critic.gather(obs, None if batch.state is None else batch.state[:steps])
    masks = None if batch.action_mask is None else batch.action_mask[:steps]
    whole = (obs, rows, batch.action, masks, batch.is_first[:steps])
    count = lanes if remembers else steps * lanes
    parts = []
    for index in torch.arange(count).chunk(minibatches):
        if minibatches == 1:
            tensors = [x if x is None or remembers else x.flatten(0, 1) for x in whole]
        else:
            tensors = [x if x is None else x[:, index] if remembers else x.flatten(0, 1)[index] for x in whole]
        agents = batch.agent_index
        if agents is not None:
            agents = agents[index] if remembers else agents[index % lanes]
        parts.append((*tensors, agents))

    def memory(state_size: int, like: torch.Tensor, is_first: torch.Tensor) -> Memory:
        return Memory(torch.zeros(*like.shape[1:], state_size), is_first)

    def work() -> None:
        for _ in range(passes):
            for seen, critic_rows, action, mask, is_first, agents in parts:
                remembered = memory(actor.state_size, is_first, is_first) if actor.state_size else None
                log_prob, entropy = actor.evaluate(seen, action, mask, agents, remembered)
                if critic.state_size:
                    begins = is_first if critic.source == "own" else is_first.any(-1)
                    value, _ = critic.unroll(critic_rows, memory(critic.state_size, begins, begins), agents)
                else:
                    value = critic(critic_rows, agents)
                loss = log_prob.mean() + entropy.mean() + value.square().mean()
                adam.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(actor.parameters(), 10.0)
                nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
                adam.step()

    return work
