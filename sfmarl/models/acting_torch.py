"""Acting in torch: images, continuous actions, layer norm, memory, and every policy on CUDA.

On CUDA a call is: rows to the device (large pieces straight from where they lie, small ones through page-locked
staging), replay of a graph captured for the bucket of batch sizes, one asynchronous copy back, one synchronisation.
What a graph touches never moves: inputs, noise, rnn states and outputs are buffers of their own, and parameters are
views into one flat tensor that `load` overwrites in place, so captured graphs see new weights. Random numbers are drawn
outside. Graphs are captured when a bucket is first needed; all of a policy's share one pool of memory, which is sound
because they run one after the other and leave nothing in it that is read later.

On the CPU the rows of one array are read where they lie; only pieces that must be joined are copied, once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfmarl.models import distributions
from sfmarl.models.actor import Actor
from sfmarl.models.custom import CustomEncoder
from sfmarl.models.recurrence import Memory
from sfmarl.specs import PolicySpec
from sfmarl.transfers import DIRECT_BYTES, Transfers

_SMALLEST_BUCKET = 32
"""Rows of the smallest captured graph; larger ones double."""
_WARM_UP = 3
"""Passes before a capture: lazily created workspaces and autotuning must not fall into it."""


def _bucket(rows: int) -> int:
    return max(_SMALLEST_BUCKET, 1 << (rows - 1).bit_length())


class TorchActing:
    """`Acting` for every policy and device."""

    takes_parts = True

    def __init__(self, actor: Actor, spec: PolicySpec, device: torch.device, seed: int) -> None:
        self.device = device
        # a copy: weights that act must not alias weights that learn
        self.actor = copy.deepcopy(actor).to(device).eval().requires_grad_(False)
        self._spec = spec
        self.state_size: int = actor.state_size
        self.generator = torch.Generator(device).manual_seed(seed)
        tensors = list(self.actor.state_dict(keep_vars=True).values())
        self.flat = torch.zeros(sum(t.numel() for t in tensors), device=device)
        """Every weight and statistic, float32 [flat_size] on the device; writing into it is what `load` does."""
        start = 0
        for tensor in tensors:
            tensor.data = self.flat[start : start + tensor.numel()].view_as(tensor)
            start += tensor.numel()
        self.transfers = Transfers(device)
        self._staging = self.transfers.host((len(self.flat),), torch.float32) if self.transfers.separate else self.flat
        self._plans: dict[tuple[int, int, bool, bool], _Plan] = {}
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        """Memory that all captured graphs share."""

    @torch.inference_mode()
    def load(self, flat: np.ndarray) -> None:
        """See `Acting.load`."""
        self._staging.copy_(torch.from_numpy(flat))
        if self._staging is not self.flat:
            self.transfers.copy(self.flat, self._staging)
            # the staging buffer may be overwritten as soon as this returns
            self.transfers.wait()

    @torch.inference_mode()
    def act(
        self,
        obs: np.ndarray | Sequence[np.ndarray],
        action_mask: np.ndarray | Sequence[np.ndarray] | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Acting.act`."""
        if self.state_size and (rnn_state is None or is_first is None):
            raise ValueError("a recurrent policy needs rnn_state (see new_state) and is_first")
        parts = [obs] if isinstance(obs, np.ndarray) else obs
        rows, agents = sum(map(len, parts)), parts[0].shape[1]
        key = (_bucket(rows), agents, agent_index is not None, greedy)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan(self, self._spec, *key)
        return plan.run(rows, parts, action_mask, agent_index, rnn_state, is_first)

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """See `Acting.new_state`; the tensor lies on the policy's device."""
        return torch.zeros((rows, agents, self.state_size), device=self.device) if self.state_size else None


class Input:
    """Where one input of a forward pass lies on the device, and how its rows get there."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        transfers: Transfers,
        views: bool = True,
        direct_bytes: int = DIRECT_BYTES,
    ) -> None:
        """`shape` [B, ...] with room for B rows; `views` allows to read rows where the caller keeps them."""
        self._shape, self._dtype, self._transfers = shape, dtype, transfers
        self._views, self._direct_bytes = views and not transfers.separate, direct_bytes
        self._numpy_dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self._host: Tensor | None = None
        self._device: Tensor | None = None

    @property
    def device(self) -> Tensor:
        """The buffer [B, ...] on the device; it never moves."""
        if self._device is None:
            self._device = torch.zeros(self._shape, dtype=self._dtype, device=self._transfers.device)
        return self._device

    @property
    def host(self) -> Tensor:
        """The buffer [B, ...] on the host, made when it is first needed; without a separate device the same one."""
        if not self._transfers.separate:
            return self.device
        if self._host is None:
            self._host = self._transfers.host(self._shape, self._dtype)
        return self._host

    def put(self, parts: Sequence[np.ndarray]) -> Tensor:
        """Return the rows of all `parts`, in their order, on the device; without a separate one they may be a view."""
        if self._views and len(parts) == 1 and self._as_is(parts[0]):
            return torch.from_numpy(parts[0])
        first = staged = 0
        for part in parts:
            last = first + len(part)
            if self._transfers.separate and part.nbytes >= self._direct_bytes and self._as_is(part):
                self._send(staged, first)
                self._transfers.copy(self.device[first:last], torch.from_numpy(part))
                staged = last
            else:
                np.copyto(self.host[first:last].numpy(), part, casting="same_kind")
            first = last
        self._send(staged, first)
        return self.device[:first]

    def fill(self, rows: int, value: bool) -> Tensor:
        """Return `rows` rows of one value."""
        return self.device[:rows].fill_(value)

    def _send(self, first: int, last: int) -> None:
        """Bring the staged rows [first, last) to the device."""
        if self._transfers.separate and last > first:
            self._transfers.copy(self.device[first:last], self.host[first:last])

    def _as_is(self, part: np.ndarray) -> bool:
        return part.dtype == self._numpy_dtype and part.flags.c_contiguous and part.flags.writeable


class _Plan:
    """Fixed buffers and, on CUDA, the captured graph for one bucket of batch sizes."""

    def __init__(
        self, acting: TorchActing, spec: PolicySpec, rows: int, agents: int, indexed: bool, greedy: bool
    ) -> None:
        self._acting, self._spec, self._greedy = acting, spec, greedy
        self._separate = acting.transfers.separate
        obs_dtype = torch.from_numpy(np.empty(0, spec.obs.dtype)).dtype
        act_dtype = torch.float32 if spec.action.kind == "continuous" else torch.int32
        lead = (rows, agents)

        def an_input(shape: tuple[int, ...], dtype: torch.dtype) -> Input:
            # nobody knows what a user's encoder does to its input
            views = not isinstance(acting.actor.network.conv, CustomEncoder)
            return Input((*lead, *shape), dtype, acting.transfers, views)

        self._obs = an_input(spec.obs.shape, obs_dtype)
        # rows beyond the batch keep an all-False mask, which means that everything is legal
        self._mask = an_input((spec.action.mask_size,), torch.bool) if spec.has_mask else None
        self._index = an_input((), torch.int64) if indexed else None
        self._first = an_input((), torch.bool) if acting.state_size else None
        self._state = torch.zeros((*lead, acting.state_size), device=acting.device) if acting.state_size else None
        self._noise = torch.zeros((*lead, spec.action.param_size), device=acting.device)
        self._action = self._output((*lead, *spec.action.shape), act_dtype)
        self._log_prob = self._output(lead, torch.float32)
        self._graph = self._capture(rows) if self._separate else None

    def _output(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (host, device) buffers: page-locked and on the device, or twice the same on the CPU."""
        device = torch.zeros(shape, dtype=dtype, device=self._acting.device)
        return (self._acting.transfers.host(shape, dtype) if self._separate else device), device

    def run(
        self,
        rows: int,
        obs: Sequence[np.ndarray],
        mask: np.ndarray | Sequence[np.ndarray] | None,
        index: np.ndarray | None,
        state: Tensor | None,
        first: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = (self._obs.put(obs), *(_put(*pair, rows) for pair in ((self._mask, mask), (self._index, index),
                                                                       (self._first, first))))  # fmt: skip
        if self._state is not None:
            self._state[:rows].copy_(state)
        if not self._greedy:
            distributions.draw_noise(self._spec.action, self._noise, self._acting.generator)
        if self._graph is None:
            self._compute(rows, *inputs)
        else:
            self._graph.replay()
        if self._state is not None:
            state.copy_(self._state[:rows])
        if self._separate:
            for host, device in (self._action, self._log_prob):
                host[:rows].copy_(device[:rows], non_blocking=True)
            # also the point from which on the rows may be written again
            self._acting.transfers.wait()
        return self._action[0][:rows].numpy(), self._log_prob[0][:rows].numpy()

    def _compute(self, rows: int, obs: Tensor, mask: Tensor | None, index: Tensor | None, first: Tensor | None) -> None:
        """Act on `rows` rows; the answer and what is remembered go to the plan's buffers."""
        spec, actor = self._spec.action, self._acting.actor
        log_std = actor.log_std_of(index)
        if self._state is None:
            params = actor(obs, index)
        else:
            memory = Memory(self._state[:rows], first[None])
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
        inputs = [None if x is None else x.device for x in (self._obs, self._mask, self._index, self._first)]
        # torch's own stream for captures belongs to whichever device was current when it was made
        with torch.cuda.device(device):
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self._compute(rows, *inputs)
            torch.cuda.current_stream(device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # other threads of an evaluating program may use CUDA meanwhile
            with torch.cuda.graph(graph, self._acting.pool, stream, capture_error_mode="thread_local"):
                self._compute(rows, *inputs)
        return graph


def _put(target: Input | None, values: np.ndarray | Sequence[np.ndarray] | None, rows: int) -> Tensor | None:
    """Return an optional input on the device: None when the policy has none, all True when nobody gave any."""
    if target is None:
        return None
    if values is None:
        return target.fill(rows, True)
    return target.put([values] if isinstance(values, np.ndarray) else values)
