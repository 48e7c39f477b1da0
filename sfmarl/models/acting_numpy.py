"""The fast path: a categorical MLP policy, with a GRU or without, in plain NumPy, without allocation per call.

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
from sfmarl.models.folded import FoldedWeights
from sfmarl.models.gru_numpy import gru_step
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
        self.buffers = Buffers()
        """Its work arrays."""
        self.categorical = CategoricalDraw(spec.action.nvec, self.generator, self.buffers)
        """What chooses actions."""
        self.weights = FoldedWeights(actor)
        """What it acts with; others of the same shapes may be put in their place."""
        self.state_size: int = actor.state_size
        self._tanh = network.activation == "tanh"
        self._num_sets, self._sets = network.num_sets, np.array(network.parameter_set)

    def load(self, flat: np.ndarray) -> None:
        """See `Acting.load`."""
        self.weights.load(flat)

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
            self.categorical.forbid(logits, mask)
        action = self.buffers("action", b, a, len(self._spec.action.nvec), dtype=np.int32)
        log_prob = self.buffers("log_prob", b, a)
        # the same buffers seen as the logits' rows [G, M]
        action_rows = action.transpose(1, 0, 2) if by_agent else action.reshape(1, b * a, -1)
        log_prob_rows = log_prob.T if by_agent else log_prob.reshape(1, b * a)
        self.categorical.draw(logits, greedy, action_rows, log_prob_rows)
        return (action[..., 0] if self._spec.action.kind == "discrete" else action), log_prob

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """See `Acting.new_state`."""
        return torch.zeros((rows, agents, self.state_size)) if self.state_size else None

    def _inputs(self, obs: np.ndarray) -> np.ndarray:
        """Return the network's input float32 [B, A, F]."""
        b, a = obs.shape[:2]
        if self.weights.mean is None:
            if obs.dtype == np.float32 and obs.flags.carray:
                return obs.reshape(b, a, -1)
            x = self.buffers("x", *obs.shape)
            np.copyto(x, obs, casting="unsafe")
        else:
            x = self.buffers("x", *obs.shape)
            np.subtract(obs, self.weights.mean, out=x, casting="unsafe", dtype=np.float32)
            np.multiply(x, self.weights.inv_std, out=x)
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
        own = self.weights
        weights, biases = (own.weights, own.biases) if every_set else (own.group_weights, own.group_biases)
        last = len(weights) - 1
        for i in range(last):
            h = self.buffers(f"h{i}", groups, rows, weights[i].shape[-1])
            np.matmul(x, weights[i], out=h)
            if i == 0 and own.ids is not None:
                self._add_first_bias(h, b, a, agent_index)
            else:
                np.add(h, biases[i][:, None], out=h)
            if self._tanh:
                torch.from_numpy(h).sigmoid_()
            else:
                np.maximum(h, 0.0, out=h)
            x = h
        if own.gru is not None:
            # a view, which the step overwrites
            state = rnn_state.view(rows, self.state_size).numpy()
            gru_step(own.gru, self.buffers, x[0], state, is_first.reshape(rows))
            x = state[None]
        logits = self.buffers("logits", groups, weights[last].shape[-1], rows)
        np.matmul(weights[last].transpose(0, 2, 1), x.transpose(0, 2, 1), out=logits)
        if last == 0 and own.ids is not None:
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
        own = self.weights
        if self._num_sets > 1:
            if agent_index is None:
                np.add(h, own.agent_bias[:, None], out=h)
            else:
                np.add(h, own.biases[0][:, None], out=h)
                np.add(h, own.ids[agent_index.reshape(-1)], out=h)
        elif agent_index is not None:
            np.add(h, own.agent_bias[agent_index.reshape(-1)], out=h)
        else:
            by_agent = h.reshape(b, a, -1) if h.flags.c_contiguous else None
            if by_agent is None:
                np.add(h, np.tile(own.agent_bias, (b, 1)), out=h)
            else:
                np.add(by_agent, own.agent_bias, out=by_agent)
