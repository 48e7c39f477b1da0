"""An actor as other programs call it: rows of stored observations in, greedy actions out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfmarl.models import distributions
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec


class ExportedActor(nn.Module):
    """Everything between a stored observation and the action that the environment takes, normaliser included.

    obs          [B, *obs] in the stored dtype: one agent's observation per row
    agent_index  [B] int64, only if the team has several agents: which of them the row is of
    action_mask  [B, n] bool, only if the policy has masks: True = legal
    rnn_state    [B, S] float32, only of a recurrent actor: what it returned for the row's agent last time
    is_first     [B] bool, only of a recurrent actor: the agent's life begins, so `rnn_state` is forgotten

    Returns (action, logits): the most probable legal action as the environment takes it (counted from the space's
    `start`; MultiDiscrete [B, K]) and raw logits float32 [B, n] of all actions; or, for continuous actions, (action
    clipped to the bounds, mean float32 [B, D] before clipping). A recurrent actor also returns its new `rnn_state`.
    """

    def __init__(self, actor: nn.Module, spec: PolicySpec) -> None:
        super().__init__()
        self.actor, self.spec = actor, spec
        action = spec.action
        # the parts of a Tuple or Dict action stay side by side: a tensor has no such form
        nested = bool(getattr(action, "parts", ()))
        self._shape = () if nested or action.kind == "discrete" else tuple(action.env_shape)
        self._dtype = _torch_dtype(
            np.dtype(np.int64) if action.kind == "discrete" else action.env_dtype or action.dtype
        )
        for name in ("start", "low", "high"):
            values = getattr(action, name)
            kind = torch.int64 if name == "start" else torch.float64
            filled = torch.tensor(np.array(values), dtype=kind) if values is not None and len(values) else None
            self.register_buffer(f"_{name}", filled, persistent=False)

    def forward(
        self,
        obs: Tensor,
        agent_index: Tensor | None = None,
        action_mask: Tensor | None = None,
        rnn_state: Tensor | None = None,
        is_first: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """See the class."""
        actor, index = self.actor, None if agent_index is None else agent_index.unsqueeze(1)
        if rnn_state is None:
            params, state = actor(obs.unsqueeze(1), index).squeeze(1).float(), ()
        else:
            # rows are lanes of one agent, one step long
            memory = Memory(rnn_state.unsqueeze(1), is_first[None, :, None])
            params, after = actor.unroll(actor.prepare(obs.unsqueeze(1)).unsqueeze(0), memory, index)
            params, state = params[0, :, 0].float(), (after.squeeze(1),)
        chosen = distributions.mode(self.spec.action, params, action_mask)
        return self._as_taken(chosen), params, *state

    def _as_taken(self, chosen: Tensor) -> Tensor:
        """Return chosen actions [B, *action] as the environment takes them (`sfmarl.envs.codec.decode_actions`)."""
        kind = self.spec.action.kind
        if kind == "discrete":
            return chosen + self._start[0]
        if kind == "continuous":
            chosen = chosen.double()
            if not self._dtype.is_floating_point:
                chosen = chosen.round()
            chosen = torch.minimum(torch.maximum(chosen, self._low), self._high)
        else:
            chosen = chosen + self._start
        chosen = chosen.to(self._dtype)
        return chosen.reshape(-1, *self._shape) if len(self._shape) > 1 else chosen

    def output_names(self) -> list[str]:
        """Return ["action", "logits" or "mean"] and, of a recurrent actor, "new_rnn_state"."""
        names = ["action", "mean" if self.spec.action.kind == "continuous" else "logits"]
        return [*names, "new_rnn_state"] if self.actor.state_size else names


def example_inputs(spec: PolicySpec, actor: nn.Module, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Return random inputs of `ExportedActor`, by name and in order: observations as the normaliser expects them, masks
    with a legal action, states between -1 and 1 of which some are to be forgotten."""
    rng = np.random.default_rng(seed)
    shape, dtype = (rows, *spec.obs.shape), spec.obs.dtype
    if dtype.kind == "f":
        obs = rng.normal(size=shape)
        state: dict[str, Any] = actor.state_dict()
        if "normaliser.mean" in state and state["normaliser.mean"].shape == spec.obs.shape:
            obs = obs / state["normaliser.inv_std"].numpy() + state["normaliser.mean"].numpy()
    else:
        limits = np.iinfo(dtype)
        obs = rng.integers(max(limits.min, -255), min(limits.max, 255), shape, endpoint=True)
    inputs = {"obs": obs.astype(dtype)}
    if spec.num_agents > 1:
        inputs["agent_index"] = rng.integers(0, spec.num_agents, rows)
    if spec.has_mask:
        first = 0
        mask = rng.random((rows, spec.action.mask_size)) < 0.5
        for count in spec.action.nvec:
            mask[np.arange(rows), first + rng.integers(0, count, rows)] = True
            first += count
        inputs["action_mask"] = mask
    if actor.state_size:
        inputs["rnn_state"] = rng.uniform(-1, 1, (rows, actor.state_size)).astype(np.float32)
        inputs["is_first"] = rng.random(rows) < 0.2
    return inputs


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
