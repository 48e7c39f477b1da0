"""Many policies at once in NumPy: rows sorted by policy, each layer's products one after the other, the rest together.

NumPy's batched matmul is itself a loop over matrices, so rows of different policies need neither blocks of equal
height nor weights that lie side by side: every policy's rows are a segment of one array and its weights are used where
they are. What costs per call rather than per row - normalisation, activations, masks, drawing - is done once.
"""

from __future__ import annotations

import numpy as np
import torch

from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.actor import Actor
from sfmarl.models.bank_slots import NumpySlots, in_order, take_rows
from sfmarl.models.normaliser import CLIP
from sfmarl.specs import PolicySpec


class Segments:
    """Acts for K feed-forward categorical policies with R parameter sets each."""

    def __init__(self, actor: Actor, spec: PolicySpec, slots: NumpySlots) -> None:
        """`slots` hold the weights; work arrays and generator are those of their `acting`."""
        network, acting, own = actor.network, slots.acting, slots.weights
        self._spec = spec
        self._buffers, self._categorical = acting.buffers, acting.categorical
        self._tanh = network.activation == "tanh"
        self._num_sets, self._num_agents = network.num_sets, network.num_agents
        self._sets = np.array(network.parameter_set)
        self._slots = own
        first = own[0]
        # by layer, then by slot * R + set
        self._weights = [
            [weights.weights[i][r] for weights in own for r in range(self._num_sets)] for i in range(len(first.weights))
        ]
        # what is added to rows of many policies at once lies together: a row of each array is one policy's
        self._biases = [np.zeros((len(own), *bias.shape), np.float32) for bias in first.biases]
        if first.agent_bias is not None:
            self._biases[0] = np.zeros((len(own), *first.agent_bias.shape), np.float32)
        self._has_ids = first.agent_bias is not None
        self._mean = None if first.mean is None else np.zeros((len(own), first.mean.size), np.float32)
        self._inv_std = None if first.mean is None else np.zeros_like(self._mean)

    @staticmethod
    def supports(actor: Actor) -> bool:
        """Whether this implementation covers `actor`."""
        return NumpyActing.supports(actor) and not actor.state_size

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays beside the weights."""
        statistics = [] if self._mean is None else [self._mean, self._inv_std]
        return sum(array.nbytes for array in (*self._biases, *statistics))

    def loaded(self, slot: int) -> None:
        """Take note that the weights of `slot` have changed."""
        own = self._slots[slot]
        for together, bias in zip(self._biases, own.biases, strict=True):
            together[slot] = bias if together is not self._biases[0] or not self._has_ids else own.agent_bias
        if self._mean is not None:
            self._mean[slot], self._inv_std[slot] = own.mean.reshape(-1), own.inv_std.reshape(-1)

    def act(
        self,
        obs: np.ndarray,
        slot: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `WeightBank.act`."""
        b, a = obs.shape[:2]
        agents = agent_index
        if agents is None and (self._num_sets > 1 or self._has_ids):
            agents = np.broadcast_to(np.arange(a), (b, a))
        # what is sorted are rows, or with several sets the agents of rows: U units of W agents each
        if self._num_sets == 1:
            units, width, keys = b, a, slot
        else:
            units, width, keys = b * a, 1, (slot[:, None] * self._num_sets + self._sets[agents]).reshape(-1)
        order = in_order(keys)
        rows, key = order.rows, np.repeat(order.keys, order.counts)
        slot_of_unit = key if self._num_sets == 1 else key // self._num_sets
        x = self._inputs(obs.reshape(units, width, -1), rows, slot_of_unit)
        biases = [key if width == 1 else np.repeat(key, width)] * len(self._weights)
        if self._has_ids:
            # the first layer's differ by agent
            unit_agents = agents.reshape(units, width)[rows]
            biases[0] = (slot_of_unit[:, None] * self._num_agents + unit_agents).reshape(-1)
        segments = [
            (which, slice(part.start * width, part.stop * width))
            for which, part in zip(order.keys.tolist(), order.parts(), strict=True)
        ]
        logits = self._logits(x, segments, biases)
        if action_mask is not None:
            mask = take_rows(self._buffers, "mask", action_mask.reshape(units, width, -1), rows)
            self._categorical.forbid(logits, mask.reshape(b * a, -1).T[None])
        components = len(self._spec.action.nvec)
        chosen = self._buffers("sorted_action", units, width, components, dtype=np.int32)
        said = self._buffers("sorted_log_prob", units, width)
        self._categorical.draw(logits, greedy, chosen.reshape(1, b * a, components), said.reshape(1, b * a))
        action, log_prob = self._buffers("action", b, a, components, dtype=np.int32), self._buffers("log_prob", b, a)
        action.reshape(units, width, components)[rows] = chosen
        log_prob.reshape(units, width)[rows] = said
        return (action[..., 0] if self._spec.action.kind == "discrete" else action), log_prob

    def _inputs(self, obs: np.ndarray, rows: np.ndarray, slot_of_unit: np.ndarray) -> np.ndarray:
        """Return the network's inputs float32 [U * W, F] of obs [U, W, F], sorted."""
        x = take_rows(self._buffers, "obs", obs, rows)
        if self._mean is None:
            if x.dtype != np.float32:
                raw, x = x, self._buffers("x", *x.shape)
                np.copyto(x, raw, casting="unsafe")
        else:
            raw, x = x, self._buffers("x", *x.shape)
            mean = take_rows(self._buffers, "mean", self._mean, slot_of_unit)
            np.subtract(raw, mean[:, None], out=x, casting="unsafe", dtype=np.float32)
            np.multiply(x, take_rows(self._buffers, "mean", self._inv_std, slot_of_unit)[:, None], out=x)
            np.clip(x, -CLIP, CLIP, out=x)
        return x.reshape(-1, x.shape[-1])

    def _logits(self, x: np.ndarray, segments: list[tuple[int, slice]], biases: list[np.ndarray]) -> np.ndarray:
        """Return logits [1, P, M] of inputs [M, F]; segments are (key, rows), biases each row's, by layer."""
        last = len(self._weights) - 1
        for i in range(last):
            weights = self._weights[i]
            h = self._buffers(f"h{i}", len(x), weights[0].shape[-1])
            for key, part in segments:
                # of a few rows this is up to 1.5 times as fast as np.matmul
                np.dot(x[part], weights[key], out=h[part])
            np.add(h, self._bias(i, biases[i]), out=h)
            if self._tanh:
                torch.from_numpy(h).sigmoid_()
            else:
                np.maximum(h, 0.0, out=h)
            x = h
        weights = self._weights[last]
        logits = self._buffers("logits", weights[0].shape[-1], len(x))
        for key, part in segments:
            np.matmul(weights[key].T, x[part].T, out=logits[:, part])
        np.add(logits, self._bias(last, biases[last]).T, out=logits)
        return logits[None]

    def _bias(self, layer: int, which: np.ndarray) -> np.ndarray:
        """Return each row's bias [M, out] of a layer."""
        together = self._biases[layer]
        return take_rows(self._buffers, "bias", together.reshape(-1, together.shape[-1]), which)
