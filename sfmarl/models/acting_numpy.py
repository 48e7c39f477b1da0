"""The fast path: a categorical MLP policy, with a GRU or without, in plain NumPy, without allocation per call.

A tanh network is computed as the sigmoid network that equals it, tanh(x) = 2 sigmoid(2 x) - 1, with the factors and the
shift moved into the weights once per load; the sigmoid is torch's, which is faster than NumPy's tanh.

Logits are laid out [G, P, M], actions before rows, so that every reduction of the softmax runs along contiguous rows.
G = 1 with one parameter set, else one group per agent, or per set when `agent_index` is given (as in
`sfmarl.models.sharing`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfmarl.models.actor import Actor
from sfmarl.models.buffers import Buffers
from sfmarl.models.drawing_numpy import CategoricalDraw
from sfmarl.models.gru_numpy import GruStep
from sfmarl.models.normaliser import CLIP
from sfmarl.specs import PolicySpec


class NumpyActing:
    """`Acting` for discrete and multi-discrete MLP policies on the CPU; with one parameter set also with a GRU."""

    takes_parts = False

    @staticmethod
    def supports(actor: Actor) -> bool:
        """Whether this implementation covers `actor`."""
        network, memory = actor.network, actor.network.recurrence
        plain = network.conv is None and not network.layer_norm and network.precision == "float32"
        remembers = memory is None or (memory.kind == "gru" and network.num_sets == 1)
        return plain and remembers and actor.spec.action.kind != "continuous"

    def __init__(self, actor: Actor, spec: PolicySpec, seed: int) -> None:
        network = actor.network
        self._spec = spec
        self.generator = np.random.Generator(np.random.SFC64(seed))
        self._buffers = Buffers()
        self._draw = CategoricalDraw(spec.action.nvec, self.generator, self._buffers)
        self._tanh = network.activation == "tanh"
        self._num_sets, self._sets = network.num_sets, np.array(network.parameter_set)

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
        self.state_size = actor.state_size
        self._gru = GruStep(views, "network.recurrence", self._buffers) if actor.state_size else None

    def load(self, flat: np.ndarray) -> None:
        """See `Acting.load`."""
        np.copyto(self._flat, flat)
        if self._tanh:
            self._to_sigmoid()
        if self._gru is not None:
            self._gru.fold(from_sigmoid=self._tanh and len(self._set_weights) > 1)
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
            # what a GRU remembers is no sigmoid: the head takes it as it is
            if i > 0 and (i < last or self._gru is None):
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
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Acting.act`."""
        if self.state_size and (rnn_state is None or is_first is None):
            raise ValueError("a recurrent policy needs rnn_state (see new_state) and is_first")
        b, a = obs.shape[:2]
        by_agent = self._num_sets > 1 and agent_index is None
        logits = self._logits(self._inputs(obs), agent_index, rnn_state, is_first)
        if action_mask is not None:
            # [B, A, n] -> [G, n, M]
            mask = action_mask.transpose(1, 2, 0) if by_agent else action_mask.reshape(b * a, -1).T[None]
            self._draw.forbid(logits, mask)
        action = self._buffers("action", b, a, len(self._spec.action.nvec), dtype=np.int32)
        log_prob = self._buffers("log_prob", b, a)
        # the same buffers seen as the logits' rows [G, M]
        action_rows = action.transpose(1, 0, 2) if by_agent else action.reshape(1, b * a, -1)
        log_prob_rows = log_prob.T if by_agent else log_prob.reshape(1, b * a)
        self._draw.draw(logits, greedy, action_rows, log_prob_rows)
        return (action[..., 0] if self._spec.action.kind == "discrete" else action), log_prob

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """See `Acting.new_state`."""
        return torch.zeros((rows, agents, self.state_size)) if self.state_size else None

    def _inputs(self, obs: np.ndarray) -> np.ndarray:
        """Return the network's input float32 [B, A, F]."""
        b, a = obs.shape[:2]
        if self._mean is None:
            if obs.dtype == np.float32 and obs.flags.carray:
                return obs.reshape(b, a, -1)
            x = self._buffers("x", *obs.shape)
            np.copyto(x, obs, casting="unsafe")
        else:
            x = self._buffers("x", *obs.shape)
            np.subtract(obs, self._mean, out=x, casting="unsafe", dtype=np.float32)
            np.multiply(x, self._inv_std, out=x)
            np.clip(x, -CLIP, CLIP, out=x)
        return x.reshape(b, a, -1)

    def _logits(
        self,
        x: np.ndarray,
        agent_index: np.ndarray | None,
        rnn_state: Tensor | None,
        is_first: np.ndarray | None,
    ) -> np.ndarray:
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
            h = self._buffers(f"h{i}", groups, rows, weights[i].shape[-1])
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
        if self._gru is not None:
            # a view, which the step overwrites
            state = rnn_state.view(rows, self.state_size).numpy()
            self._gru(x[0], state, is_first.reshape(rows))
            x = state[None]
        logits = self._buffers("logits", groups, weights[last].shape[-1], rows)
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
