"""Acting in torch: images, continuous actions, layer norm, and every policy on CUDA.

On CUDA a call is: copy into reused pinned staging, one asynchronous copy to the device, replay of a graph captured
for the bucket of batch sizes, one asynchronous copy back, one synchronisation. Parameters are views into one flat
tensor that `load` overwrites in place, so captured graphs see new weights.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from sfmarl.models import distributions
from sfmarl.models.actor import Actor
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec

_SMALLEST_BUCKET = 32
"""Rows of the smallest captured graph; larger ones double."""


def _bucket(rows: int) -> int:
    return max(_SMALLEST_BUCKET, 1 << (rows - 1).bit_length())


class TorchActing:
    """`Acting` for every policy and device."""

    def __init__(self, actor: Actor, spec: PolicySpec, device: torch.device, seed: int) -> None:
        self.device = device
        # a copy: weights that act must not alias weights that learn
        self.actor = copy.deepcopy(actor).to(device).eval().requires_grad_(False)
        self._spec = spec
        self.state_size: int = actor.state_size
        self.generator = torch.Generator(device).manual_seed(seed)
        tensors = list(self.actor.state_dict(keep_vars=True).values())
        self._flat = torch.zeros(sum(t.numel() for t in tensors), device=device)
        start = 0
        for tensor in tensors:
            tensor.data = self._flat[start : start + tensor.numel()].view_as(tensor)
            start += tensor.numel()
        self._staging = torch.zeros(len(self._flat), pin_memory=True) if device.type == "cuda" else self._flat
        self._plans: dict[tuple[int, int, bool, bool], _Plan] = {}

    @torch.inference_mode()
    def load(self, flat: np.ndarray) -> None:
        """See `Acting.load`."""
        self._staging.copy_(torch.from_numpy(flat))
        if self._staging is not self._flat:
            self._flat.copy_(self._staging, non_blocking=True)
            # the staging buffer may be overwritten as soon as this returns
            torch.cuda.current_stream(self.device).synchronize()

    @torch.inference_mode()
    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Acting.act`."""
        if self.state_size and (rnn_state is None or is_first is None):
            raise ValueError("a recurrent policy needs rnn_state (see new_state) and is_first")
        rows, agents = obs.shape[:2]
        key = (_bucket(rows), agents, agent_index is not None, greedy)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan(self, self._spec, *key)
        return plan.run(obs, action_mask, agent_index, rnn_state, is_first)

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """See `Acting.new_state`; the tensor lies on the policy's device."""
        return torch.zeros((rows, agents, self.state_size), device=self.device) if self.state_size else None


class _Plan:
    """Fixed buffers and, on CUDA, the captured graph for one bucket of batch sizes."""

    def __init__(
        self, acting: TorchActing, spec: PolicySpec, rows: int, agents: int, indexed: bool, greedy: bool
    ) -> None:
        self._acting, self._spec, self._greedy = acting, spec, greedy
        self._cuda = acting.device.type == "cuda"
        obs_dtype = torch.from_numpy(np.empty(0, spec.obs.dtype)).dtype
        act_dtype = torch.float32 if spec.action.kind == "continuous" else torch.int32
        lead = (rows, agents)
        self._obs = self._pair((*lead, *spec.obs.shape), obs_dtype)
        # rows beyond the batch keep an all-False mask, which means that everything is legal
        self._mask = self._pair((*lead, spec.action.mask_size), torch.bool) if spec.has_mask else None
        self._index = self._pair(lead, torch.int64) if indexed else None
        self._first = self._pair(lead, torch.bool) if acting.state_size else None
        self._state = torch.zeros((*lead, acting.state_size), device=acting.device) if acting.state_size else None
        self._noise = torch.zeros((*lead, spec.action.param_size), device=acting.device)
        self._action = self._pair((*lead, *spec.action.shape), act_dtype)
        self._log_prob = self._pair(lead, torch.float32)
        self._graph = self._capture(rows) if self._cuda else None

    def _pair(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (host, device) buffers: pinned and on the device, or twice the same on the CPU."""
        device = torch.zeros(shape, dtype=dtype, device=self._acting.device)
        return (torch.zeros(shape, dtype=dtype, pin_memory=True) if self._cuda else device), device

    def run(
        self,
        obs: np.ndarray,
        mask: np.ndarray | None,
        index: np.ndarray | None,
        state: Tensor | None,
        first: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = len(obs)
        for pair, values in ((self._obs, obs), (self._mask, mask), (self._index, index), (self._first, first)):
            if pair is None:
                continue
            host, device = pair
            if values is None:
                host[:rows].fill_(True)
            else:
                np.copyto(host[:rows].numpy(), values, casting="same_kind")
            if self._cuda:
                device[:rows].copy_(host[:rows], non_blocking=True)
        if self._state is not None:
            self._state[:rows].copy_(state)
        if not self._greedy:
            distributions.draw_noise(self._spec.action, self._noise, self._acting.generator)
        if self._graph is None:
            self._compute(rows)
        else:
            self._graph.replay()
        if self._state is not None:
            state.copy_(self._state[:rows])
        outputs = (self._action, self._log_prob)
        if self._cuda:
            for host, device in outputs:
                host[:rows].copy_(device[:rows], non_blocking=True)
            torch.cuda.current_stream(self._acting.device).synchronize()
        return self._action[0][:rows].numpy(), self._log_prob[0][:rows].numpy()

    def _compute(self, rows: int) -> None:
        """Act on the first `rows` rows of the device buffers."""
        spec, actor = self._spec.action, self._acting.actor
        mask = None if self._mask is None else self._mask[1][:rows]
        index = None if self._index is None else self._index[1][:rows]
        obs, log_std = self._obs[1][:rows], actor.log_std_of(index)
        if self._state is None:
            params = actor(obs, index)
        else:
            memory = Memory(self._state[:rows], self._first[1][:rows][None])
            params, state = actor.unroll(actor.prepare(obs)[None], memory, index)
            self._state[:rows].copy_(state)
            params = params[0]
        if self._greedy:
            action = distributions.mode(spec, params, mask)
            log_prob = distributions.log_prob(spec, params, action, mask, log_std)
        else:
            action, log_prob = distributions.sample(spec, params, self._noise[:rows], mask, log_std)
        self._action[1][:rows].copy_(action)
        self._log_prob[1][:rows].copy_(log_prob)

    def _capture(self, rows: int) -> torch.cuda.CUDAGraph:
        device = self._acting.device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            # lazily created workspaces and autotuning must happen before the capture
            for _ in range(3):
                self._compute(rows)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute(rows)
        return graph
