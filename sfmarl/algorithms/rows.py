"""What an update computes on: a batch made safe, prepared once, and its minibatches.

Rows that no loss and no bootstrap reads (padding, dead agents) may hold anything, including NaN. They are cleared
once, before anything is computed, because a weight of zero does not stop NaN from reaching a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfmarl.algorithms.base import Batch
from sfmarl.models.recurrence import Memory


@dataclass
class Rows:
    """A batch without anything that must not be read."""

    obs: Tensor
    """[T+1, N, A, *obs] raw; zero where neither a return is running nor a value is bootstrapped from."""
    state: Tensor | None
    """[T+1, N, *state] raw, likewise."""
    action: Tensor
    """[T, N, A, *action]; zero where no action was chosen."""
    action_mask: Tensor | None
    """[T, N, A, n] bool."""
    behaviour_log_prob: Tensor
    """[T, N, A]: log-probability under the policy that acted; zero where no action was chosen."""
    reward: Tensor
    """[T, N, A]; zero where no return is running."""
    terminated: Tensor
    """[T, N, A] bool."""
    truncated: Tensor
    """[T, N, A] bool."""
    active: Tensor
    """[T, N, A] bool: an action was chosen; the policy learns here."""
    running: Tensor
    """[T, N, A] bool: a return is running; the critic learns here, so that what others bootstrap from is trained."""
    agent_index: Tensor | None
    """[N, A] int64 or None."""
    is_first: Tensor
    """[T+1, N, A] bool: a life begins here."""
    actor_state: Tensor | None
    """[N, A, S] or None; zero in lanes where nobody acted."""

    @classmethod
    def of(cls, batch: Batch) -> Rows:
        """Clear everything in `batch` that must not be read.

        Observations and states are not copied: rows that nothing reads are cleared in `batch` itself.
        """
        steps = len(batch.reward)
        active = batch.active[:steps]
        running_after = batch.active if batch.in_return is None else batch.active | batch.in_return
        running = running_after[:steps]
        needed = running_after.clone()
        needed[1:] |= running & ~batch.terminated
        state = batch.state
        if state is not None:
            state = _keep(state, needed.any(-1))
        mask, actor_state = batch.action_mask, batch.actor_state
        if actor_state is not None:
            actor_state = torch.where(active.any(0)[..., None], actor_state, 0.0)
        return cls(
            obs=_keep(batch.obs, needed),
            state=state,
            action=torch.where(_like(active, batch.action), batch.action, 0),
            action_mask=None if mask is None else mask[:steps],
            behaviour_log_prob=torch.where(active, batch.log_prob, 0.0),
            reward=torch.where(running, batch.reward, 0.0),
            terminated=batch.terminated,
            truncated=batch.truncated,
            active=active,
            running=running,
            agent_index=batch.agent_index,
            is_first=batch.is_first,
            actor_state=actor_state,
        )


@dataclass
class Inputs:
    """What the networks and losses read, joint rows [..., A]: the whole batch [T, N, A], or a minibatch [M, A]."""

    obs: Tensor
    """[..., A, *obs] prepared for the actor."""
    critic_rows: Tensor
    """[..., A, *obs] or [..., *state]: the critic's input; the same tensor as `obs` when it reads own observations."""
    action: Tensor
    """[..., A, *action]."""
    action_mask: Tensor | None
    """[..., A, n] bool."""
    active: Tensor
    """[..., A] float32, 0 or 1."""
    running: Tensor
    """[..., A] float32, 0 or 1."""
    agent_index: Tensor | None
    """[N, A] or [M, A] int64, or None."""
    actor_memory: Memory | None = None
    """Of a recurrent actor, whose rows are whole lanes: [T, N, A]."""
    critic_memory: Memory | None = None
    """Of a recurrent critic, likewise."""

    @classmethod
    def of(
        cls,
        rows: Rows,
        obs: Tensor,
        critic_rows: Tensor,
        actor_memory: Memory | None = None,
        critic_memory: Memory | None = None,
    ) -> Inputs:
        """Return the whole batch; `obs`, `critic_rows` and the memories are [T+1, ...], the first two prepared."""
        prepared = obs[:-1]
        return cls(
            obs=prepared,
            critic_rows=prepared if critic_rows is obs else critic_rows[:-1],
            action=rows.action,
            action_mask=rows.action_mask,
            active=rows.active.float(),
            running=rows.running.float(),
            agent_index=rows.agent_index,
            actor_memory=None if actor_memory is None else actor_memory.until(len(rows.reward)),
            critic_memory=None if critic_memory is None else critic_memory.until(len(rows.reward)),
        )

    def take_lanes(self, index: Tensor) -> Inputs:
        """Return the whole lanes `index` [M] as [T, M, A]: what has a memory cannot be torn apart in time."""

        def lanes(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.index_select(1, index)

        obs = lanes(self.obs)
        return Inputs(
            obs=obs,
            critic_rows=obs if self.critic_rows is self.obs else lanes(self.critic_rows),
            action=lanes(self.action),
            action_mask=lanes(self.action_mask),
            active=lanes(self.active),
            running=lanes(self.running),
            agent_index=None if self.agent_index is None else self.agent_index[index],
            actor_memory=None if self.actor_memory is None else self.actor_memory.lanes(index),
            critic_memory=None if self.critic_memory is None else self.critic_memory.lanes(index),
        )

    def take(self, index: Tensor) -> Inputs:
        """Return the rows `index` [M] of the flattened (time, lane) pairs, all agents of each."""
        obs = take(self.obs, index)
        return Inputs(
            obs=obs,
            critic_rows=obs if self.critic_rows is self.obs else take(self.critic_rows, index),
            action=take(self.action, index),
            action_mask=None if self.action_mask is None else take(self.action_mask, index),
            active=take(self.active, index),
            running=take(self.running, index),
            agent_index=None if self.agent_index is None else self.agent_index[index % len(self.agent_index)],
        )


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` [M] of x [T, N, ...] with its leading two dimensions flattened."""
    return x.flatten(0, 1).index_select(0, index)


def lane_is_first(batch: Batch) -> Tensor:
    """Return bool [T+1, N]: everybody who is alive begins a life, which is where an episode begins."""
    return batch.is_first.any(-1) & ~(batch.active & ~batch.is_first).any(-1)


def _keep(x: Tensor, needed: Tensor) -> Tensor:
    """Clear x [..., *row] where `needed` [...] is False, in place; of a part of a larger batch return a copy."""
    if not x.is_contiguous():
        return torch.where(_like(needed, x), x, 0)
    if x.device.type != "cpu":
        return x.masked_fill_(_like(~needed, x), 0)  # without a host synchronisation
    if not needed.all():  # which is rare: padding, and agents that are dead
        x[~needed] = 0
    return x


def _like(flags: Tensor, x: Tensor) -> Tensor:
    """Append dimensions of size 1 to `flags` until it broadcasts over `x`."""
    return flags.reshape(*flags.shape, *(1,) * (x.dim() - flags.dim()))
