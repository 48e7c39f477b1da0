"""The fast path: a categorical MLP policy in plain NumPy, without allocation per call.

A tanh network is computed as the sigmoid network that equals it, tanh(x) = 2 sigmoid(2 x) - 1, with the factors and the
shift moved into the weights once per load; the sigmoid is torch's, which is faster than NumPy's tanh.

Logits are laid out [G, P, M], actions before rows, so that every reduction of the softmax runs along contiguous rows.
G = 1 with one parameter set, else one group per agent, or per set when `agent_index` is given (as in
`sfmarl.models.sharing`).
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import numpy as np
import torch

from sfmarl.models.actor import Actor
from sfmarl.models.distributions import ILLEGAL
from sfmarl.models.normaliser import CLIP
from sfmarl.specs import PolicySpec


class NumpyActing:
    """`Acting` for discrete and multi-discrete MLP policies on the CPU."""

    state_size = 0
    takes_parts = False

    @staticmethod
    def supports(actor: Actor) -> bool:
        """Whether this implementation covers `actor`."""
        network = actor.network
        plain = network.conv is None and network.recurrence is None and not network.layer_norm
        return plain and network.precision == "float32" and actor.spec.action.kind != "continuous"

    def __init__(self, actor: Actor, spec: PolicySpec, seed: int) -> None:
        network = actor.network
        self._spec = spec
        self.generator = np.random.Generator(np.random.SFC64(seed))
        self._work: dict[str, np.ndarray] = {}
        self._tanh = network.activation == "tanh"
        self._num_sets, self._sets = network.num_sets, np.array(network.parameter_set)
        offsets = (0, *accumulate(spec.action.nvec))
        self._components = [slice(a, b) for a, b in pairwise(offsets)]

        state = actor.state_dict()
        self._flat = np.zeros(sum(tensor.numel() for tensor in state.values()), np.float32)
        views, start = {}, 0
        for name, tensor in state.items():
            views[name] = self._flat[start : start + tensor.numel()].reshape(tensor.shape)
            start += tensor.numel()
        self._mean, self._inv_std = views.get("normaliser.mean"), views.get("normaliser.inv_std")
        count = len(network.layers)
        self._set_weights = [views[f"network.layers.{i}.weight"] for i in range(count)]
        self._set_biases = [views[f"network.layers.{i}.bias"] for i in range(count)]
        self._ids = views.get("network.ids.weight")
        # per-group parameters: the views themselves when group g uses set g, else gathered at each load
        self._gathered = self._num_sets > 1 and not network.identity
        groups = len(self._sets) if self._gathered else self._num_sets
        self._weights, self._biases = self._set_weights, self._set_biases
        if self._gathered:
            self._weights = [np.empty((groups, *w.shape[1:]), np.float32) for w in self._set_weights]
            self._biases = [np.empty((groups, *b.shape[1:]), np.float32) for b in self._set_biases]
        self._agent_bias = None if self._ids is None else np.empty_like(self._ids)

    def load(self, flat: np.ndarray) -> None:
        """See `Acting.load`."""
        np.copyto(self._flat, flat)
        if self._tanh:
            self._to_sigmoid()
        if self._gathered:
            for i in range(len(self._weights)):
                np.take(self._set_weights[i], self._sets, axis=0, out=self._weights[i])
                np.take(self._set_biases[i], self._sets, axis=0, out=self._biases[i])
        if self._agent_bias is not None:
            np.add(self._set_biases[0][self._sets], self._ids, out=self._agent_bias)

    def _to_sigmoid(self) -> None:
        """Rewrite the weights so that each hidden layer ends in a sigmoid s, whose 2 s - 1 is the layer's tanh."""
        last = len(self._set_weights) - 1
        for i, (weights, biases) in enumerate(zip(self._set_weights, self._set_biases, strict=True)):
            if i > 0:
                biases -= weights.sum(axis=1)
                weights *= 2.0
            if i < last:
                weights *= 2.0
                biases *= 2.0
        if self._ids is not None and last > 0:
            self._ids *= 2.0

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Acting.act`."""
        b, a = obs.shape[:2]
        by_agent = self._num_sets > 1 and agent_index is None
        logits = self._logits(self._inputs(obs), agent_index)
        if action_mask is not None:
            # [B, A, n] -> [G, n, M]
            mask = action_mask.transpose(1, 2, 0) if by_agent else action_mask.reshape(b * a, -1).T[None]
            self._mask(logits, mask)
        action = self._buffer("action", b, a, len(self._components), dtype=np.int32)
        log_prob = self._buffer("log_prob", b, a)
        # the same buffers seen as the logits' rows [G, M]
        action_rows = action.transpose(1, 0, 2) if by_agent else action.reshape(1, b * a, -1)
        log_prob_rows = log_prob.T if by_agent else log_prob.reshape(1, b * a)
        self._draw(logits, greedy, action_rows, log_prob_rows)
        return (action[..., 0] if self._spec.action.kind == "discrete" else action), log_prob

    def new_state(self, rows: int, agents: int) -> None:
        """See `Acting.new_state`."""

    def _buffer(self, name: str, *shape: int, dtype: type = np.float32) -> np.ndarray:
        """Return a contiguous work array of `shape`; its memory grows and is never freed."""
        size = math.prod(shape)
        memory = self._work.get(name)
        if memory is None or memory.size < size:
            memory = self._work[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)

    def _inputs(self, obs: np.ndarray) -> np.ndarray:
        """Return the network's input float32 [B, A, F]."""
        b, a = obs.shape[:2]
        if self._mean is None:
            if obs.dtype == np.float32 and obs.flags.c_contiguous:
                return obs.reshape(b, a, -1)
            x = self._buffer("x", *obs.shape)
            np.copyto(x, obs, casting="unsafe")
        else:
            x = self._buffer("x", *obs.shape)
            np.subtract(obs, self._mean, out=x, casting="unsafe", dtype=np.float32)
            np.multiply(x, self._inv_std, out=x)
            np.clip(x, -CLIP, CLIP, out=x)
        return x.reshape(b, a, -1)

    def _logits(self, x: np.ndarray, agent_index: np.ndarray | None) -> np.ndarray:
        """Return logits [G, P, M] of inputs [B, A, F]; a row's place in M is its place in (B, A), or B if G = A."""
        b, a, width = x.shape
        if self._num_sets == 1:
            groups, rows, x = 1, b * a, x.reshape(1, b * a, width)
        elif agent_index is None:
            groups, rows, x = a, b, x.transpose(1, 0, 2)
        else:
            groups, rows = self._num_sets, b * a
            x = np.broadcast_to(x.reshape(1, rows, width), (groups, rows, width))
        every_set = self._num_sets > 1 and agent_index is not None
        weights, biases = (self._set_weights, self._set_biases) if every_set else (self._weights, self._biases)
        last = len(weights) - 1
        for i in range(last):
            h = self._buffer(f"h{i}", groups, rows, weights[i].shape[-1])
            np.matmul(x, weights[i], out=h)
            if i == 0 and self._ids is not None:
                self._add_first_bias(h, b, a, agent_index)
            else:
                np.add(h, biases[i][:, None], out=h)
            if self._tanh:
                torch.from_numpy(h).sigmoid_()
            else:
                np.maximum(h, 0.0, out=h)
            x = h
        logits = self._buffer("logits", groups, weights[last].shape[-1], rows)
        np.matmul(weights[last].transpose(0, 2, 1), x.transpose(0, 2, 1), out=logits)
        if last == 0 and self._ids is not None:
            # a policy without hidden layers: its only layer is the first one
            self._add_first_bias(logits.transpose(0, 2, 1), b, a, agent_index)
        else:
            np.add(logits, biases[last][:, :, None], out=logits)
        if every_set:
            row_set = self._sets[agent_index.reshape(-1)]
            return np.ascontiguousarray(logits[row_set, :, np.arange(rows)].T)[None]
        return logits

    def _add_first_bias(self, h: np.ndarray, b: int, a: int, agent_index: np.ndarray | None) -> None:
        """Add bias plus agent-id bias to the first layer's outputs h [G, M, H]."""
        if self._num_sets > 1:
            if agent_index is None:
                np.add(h, self._agent_bias[:, None], out=h)
            else:
                np.add(h, self._set_biases[0][:, None], out=h)
                np.add(h, self._ids[agent_index.reshape(-1)], out=h)
        elif agent_index is not None:
            np.add(h, self._agent_bias[agent_index.reshape(-1)], out=h)
        else:
            by_agent = h.reshape(b, a, -1) if h.flags.c_contiguous else None
            if by_agent is None:
                np.add(h, np.tile(self._agent_bias, (b, 1)), out=h)
            else:
                np.add(by_agent, self._agent_bias, out=by_agent)

    def _mask(self, logits: np.ndarray, mask: np.ndarray) -> None:
        """Write ILLEGAL where `mask` [G, P, M] is False, unless a component has no legal action at all."""
        illegal = self._buffer("illegal", *logits.shape, dtype=np.bool_)
        for part in self._components:
            bad = illegal[:, part]
            legal = mask[:, part]
            np.logical_not(legal, out=bad)
            np.logical_and(bad, legal.any(axis=1, keepdims=True), out=bad)
        np.copyto(logits, ILLEGAL, where=illegal)

    def _draw(self, logits: np.ndarray, greedy: bool, action: np.ndarray, log_prob: np.ndarray) -> None:
        """Write actions [G, M, K] and log-probabilities [G, M] of logits [G, P, M], which are overwritten."""
        groups, width, rows = logits.shape
        place = np.arange(rows) + np.arange(groups)[:, None] * (width * rows)
        uniform = self._buffer("uniform", len(self._components), groups, rows)
        if not greedy:
            self.generator.random(out=uniform, dtype=np.float32)
        chosen = self._buffer("chosen", groups, rows)
        for k, part in enumerate(self._components):
            p = logits[:, part]
            np.subtract(p, p.max(axis=1, keepdims=True), out=p)
            np.exp(p, out=p)
            cdf = np.cumsum(p, axis=1, out=self._buffer("cdf", *p.shape))
            total = cdf[:, -1]
            if greedy:
                index = p.argmax(axis=1)
            else:
                # strictly below the total, so that the first cdf above it belongs to an action of positive probability
                level = np.minimum(uniform[k] * total, np.nextafter(total, np.float32(0.0)))
                index = (cdf <= level[:, None]).sum(axis=1)
            action[:, :, k] = index
            np.take(logits.reshape(-1), place + (index + part.start) * rows, out=chosen, mode="clip")
            np.divide(chosen, total, out=chosen)
            np.log(chosen, out=chosen)
            if k == 0:
                log_prob[...] = chosen
            else:
                log_prob += chosen
